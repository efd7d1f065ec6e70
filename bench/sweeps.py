"""Whether two sweeps of one study agree, point by point: the results of a serial sweep and of one on several GPUs.

    python -m bench.sweeps samples.json
    python -m bench.sweeps samples.json serial.results.json ray.results.json [serial.results.json ray.results.json ...]

The second form reads pairs of results, each of one sitting, and writes their samples to the first file.

The ratio of the second sweep to the first is given for each metric, with an interval such that those of all points of a
metric hold together with 95 % (Bonferroni). For one pair it is Welch's, on logarithms of the iterations (B. L. Welch,
Biometrika 34, 1947): each point has one engine then, so what engines differ by is not in it. For several pairs it is
Student's, on the logarithms of the ratios of the engines' medians, with the standard deviation that all points have
together: what engines differ by is in it, and what sittings differ by cancels out.
"""

from __future__ import annotations

import json
import sys
from math import exp, log, sqrt
from pathlib import Path
from statistics import mean, median, variance
from typing import Any

from scipy.stats import t
from tabulate import tabulate

from pytest_vllmperf.stats.log_ratio import LogRatio, log_ratio

METRICS = ("output_throughput", "ttft.p50", "tpot.p50")
CONFIDENCE = 0.95

Samples = dict[str, dict[str, list[float]]]
Pair = tuple[Samples, Samples]
"""The serial sweep's, and the other's."""


def samples(file: str) -> Samples:
    """The samples of the first engine of each point: point -> metric -> iterations."""
    points: list[dict[str, Any]] = json.loads(Path(file).read_text())["points"]
    return {
        ", ".join(f"{name}={value}" for name, value in point["settings"].items()): {
            metric: point["engines"][0]["samples"][metric] for metric in METRICS
        }
        for point in points
    }


def read(file: str) -> list[Pair]:
    """The pairs of sweeps in a file that was written here."""
    return [(one, other) for one, other in json.loads(Path(file).read_text())]


def ratios(pairs: list[Pair], metric: str) -> dict[str, LogRatio]:
    """The ratio of each point, by its name."""
    points = list(pairs[0][0])
    if len(pairs) == 1:
        ((one, other),) = pairs
        return {point: log_ratio(one[point][metric], other[point][metric], CONFIDENCE, len(points)) for point in points}
    logs = {
        point: [log(median(other[point][metric]) / median(one[point][metric])) for one, other in pairs]
        for point in points
    }
    freedom = len(points) * (len(pairs) - 1)
    deviation = sqrt(mean(variance(values) for values in logs.values()))
    half = float(t.ppf(1 - (1 - CONFIDENCE) / 2 / len(points), freedom)) * deviation / sqrt(len(pairs))
    means = {point: mean(values) for point, values in logs.items()}
    return {point: LogRatio(exp(value), exp(value - half), exp(value + half)) for point, value in means.items()}


def table(pairs: list[Pair]) -> str:
    """A row for each point: the ratio of each metric, and whether its interval leaves 1 out."""
    by_metric = [ratios(pairs, metric) for metric in METRICS]
    rows = [[point, *(_words(of_points[point]) for of_points in by_metric)] for point in by_metric[0]]
    return tabulate(rows, headers=["point", *METRICS], tablefmt="github")


def _words(ratio: LogRatio) -> str:
    value, low, high = ratio
    return f"{value:.3f} [{low:.3f}, {high:.3f}]{'' if low <= 1 <= high else ' differs'}"


def main() -> None:
    kept, *results = sys.argv[1:]
    if results:
        pairs = [(samples(one), samples(other)) for one, other in zip(results[::2], results[1::2], strict=True)]
        Path(kept).write_text(json.dumps(pairs, indent=1) + "\n")
    else:
        pairs = read(kept)
    if len(pairs) > 1:
        for number, pair in enumerate(pairs, start=1):
            print(f"\npair {number} alone\n\n{table([pair])}")
        print("\nall pairs\n")
    print(table(pairs))


if __name__ == "__main__":
    main()

"""Whether two sweeps of one study agree, point by point: the results of a serial sweep and of one on several GPUs.

    python -m bench.sweeps serial.results.json ray.results.json [samples.json]
    python -m bench.sweeps samples.json

The ratio of each metric is given with its interval: Welch's on logarithms of the iterations (B. L. Welch, Biometrika
34, 1947), such that those of all points of a metric hold together with 95 %, after Bonferroni. Each point has one
engine, so that what engines differ by is not in the intervals. With a third argument the samples are written there;
alone, such a file is read.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_vllmperf.stats.log_ratio import log_ratio

METRICS = ("output_throughput", "ttft.p50", "tpot.p50")
CONFIDENCE = 0.95

Samples = dict[str, dict[str, list[float]]]


def samples(file: str) -> Samples:
    """The samples of the first engine of each point: point -> metric -> iterations."""
    points: list[dict[str, Any]] = json.loads(Path(file).read_text())["points"]
    return {
        ", ".join(f"{name}={value}" for name, value in point["settings"].items()): {
            metric: point["engines"][0]["samples"][metric] for metric in METRICS
        }
        for point in points
    }


def both(files: list[str]) -> dict[str, Samples]:
    """The samples of both sweeps: of their results, or of the one file that holds them."""
    if len(files) > 1:
        return {file: samples(file) for file in files}
    found: dict[str, Samples] = json.loads(Path(files[0]).read_text())
    return found


def table(one: Samples, other: Samples) -> str:
    """A row for each point: the ratio of each metric, and whether its interval leaves 1 out."""
    rows = []
    for point in one:
        row: list[str] = [point]
        for metric in METRICS:
            value, low, high = log_ratio(one[point][metric], other[point][metric], CONFIDENCE, len(one))
            row.append(f"{value:.3f} [{low:.3f}, {high:.3f}]{'' if low <= 1 <= high else ' differs'}")
        rows.append(row)
    return tabulate(rows, headers=["point", *METRICS], tablefmt="github")


def main() -> None:
    found = both(sys.argv[1:3])
    print(table(*found.values()))
    for path in sys.argv[3:]:
        Path(path).write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Time and peak memory of judging many metrics of 20 sessions x 3 engines x 10 iterations.

python bench/judging.py [--sizes 1000 3000 10000]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from typing import Final

import numpy as np

from pytest_vllmperf.stats import Direction
from pytest_vllmperf.verdict import Case, judge_cases

SESSIONS: Final = 20
ENGINES: Final = 3
ITERATIONS: Final = 10


def cases(count: int) -> list[Case]:
    """Metrics as plain nested lists, the way they come out of a file."""
    rng = np.random.default_rng(0)
    made = []
    for index in range(count):
        stored = 4000 * np.exp(rng.normal(0, 0.02, (SESSIONS, ENGINES, ITERATIONS)))
        new = 4000 * np.exp(rng.normal(0, 0.02, (ENGINES, ITERATIONS)))
        made.append(Case(f"metric {index}", Direction.HIGHER, stored.tolist(), new.tolist()))
    return made


def measure(count: int) -> tuple[float, float, float, float]:
    """Wall and CPU seconds for judging, and the process's peak memory in MB before and after."""
    made = cases(count)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started, started_cpu = time.perf_counter(), time.process_time()
    judge_cases(made)
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    return wall, cpu, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


LIMIT_S: Final = 3.0
LIMIT_MB: Final = 500.0


def main() -> int:
    """Print one row per size, each from a process of its own; 1 where the largest goes over a limit."""
    parser = argparse.ArgumentParser(description="Cost of judging many metrics.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 3000, 10_000])
    options = parser.parse_args()
    print("| metrics | seconds | CPU seconds | against linear growth | peak MB | of it samples and imports |")
    print("|---|---|---|---|---|---|")
    first = wall = peak = 0.0
    spawn = multiprocessing.get_context("spawn")
    for size in options.sizes:
        with spawn.Pool(1) as pool:
            wall, cpu, before, peak = pool.apply(measure, (size,))
        first = first or cpu / size
        print(f"| {size:,} | {wall:.2f} | {cpu:.2f} | {cpu / size / first:.2f} | {peak:.0f} | {before:.0f} |")
    return 0 if wall <= LIMIT_S and peak <= LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())

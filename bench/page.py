"""Size of a page of 50 tests, each with every metric, 8 stored sessions, 1,200 single requests and trends; its time.

python -m bench.page [--tests 50]
"""

from __future__ import annotations

import argparse
import random
import time
from dataclasses import replace
from typing import Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.trends import RunOfHistory, RunTrends, SeriesId, Trend, Trends
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import pages
from tests.report.pages.material import rich_check, rich_test
from tests.report.test_trends import THROUGHPUT, shift
from tests.reporting import one_test, run_of

LIMIT_S: Final = 3.0
LIMIT_MB: Final = 3.0
_FAILED: Final = 5


def run(tests: int) -> RunReport:
    """A run in which some tests fail."""
    failed = [rich_test(f"model-{number}", number) for number in range(min(_FAILED, tests))]
    passed = [
        one_test(f"tests/test_a.py::test_{number}", rich_check(status=Status.OK, seed=number))
        for number in range(len(failed), tests)
    ]
    return run_of(*failed, *passed)


def trends(report: RunReport) -> RunTrends:
    """Trends of the gated metrics of its checks over 400 runs; one test of five got slower."""
    noise = random.Random(17)
    runs = [RunOfHistory(at, f"2026-01-01T00:{at // 60:02}:{at % 60:02}+00:00", f"{at:040x}", False, True)
            for at in range(400)]  # fmt: skip
    found = []
    for number, test in enumerate(report.tests):
        for name in list(METRICS)[:10]:
            values = tuple(100 * noise.gauss(1.0, 0.01) for _ in runs)
            shifts = (
                (replace(shift(), at=200, last_before=runs[199], first_after=runs[200]),) if number % 5 == 0 else ()
            )
            series = SeriesId(test.nodeid, "", 0, "h200", name)
            found.append(Trend(series, THROUGHPUT, tuple(map(float, range(400))), values, tuple(runs), shifts))
    return RunTrends("history.db", Trends(tuple(found), len(runs)), len(runs))


def main() -> int:
    """Print both figures; 1 where one is over its limit. The first page is not counted: it imports what it needs."""
    parser = argparse.ArgumentParser(description="Size of a page, and time to make it.")
    parser.add_argument("--tests", type=int, default=50)
    made = run(parser.parse_args().tests)
    told = trends(made)
    pages.render(made, pages.PAGE, (), told)
    started, started_cpu = time.perf_counter(), time.process_time()
    size = len(pages.render(made, pages.PAGE, (), told).encode()) / 1e6
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    print("| tests | metrics each | MB | seconds | CPU seconds |")
    print("|---|---|---|---|---|")
    print(f"| {len(made.tests)} | {len(METRICS)} | {size:.2f} | {wall:.2f} | {cpu:.2f} |")
    return int(cpu > LIMIT_S or size > LIMIT_MB)


if __name__ == "__main__":
    raise SystemExit(main())

"""Size of a page of 50 tests, each with every metric, 8 stored sessions and 1,200 single requests; time to make it.

python -m bench.page [--tests 50]
"""

from __future__ import annotations

import argparse
import time
from typing import Final

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import pages
from tests.report.pages.material import rich_check, rich_test
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


def main() -> int:
    """Print both figures; 1 where one is over its limit. The first page is not counted: it imports what it needs."""
    parser = argparse.ArgumentParser(description="Size of a page, and time to make it.")
    parser.add_argument("--tests", type=int, default=50)
    made = run(parser.parse_args().tests)
    pages.render(made, pages.PAGE)
    started, started_cpu = time.perf_counter(), time.process_time()
    size = len(pages.render(made, pages.PAGE).encode()) / 1e6
    wall, cpu = time.perf_counter() - started, time.process_time() - started_cpu
    print("| tests | metrics each | MB | seconds | CPU seconds |")
    print("|---|---|---|---|---|")
    print(f"| {len(made.tests)} | {len(METRICS)} | {size:.2f} | {wall:.2f} | {cpu:.2f} |")
    return int(cpu > LIMIT_S or size > LIMIT_MB)


if __name__ == "__main__":
    raise SystemExit(main())

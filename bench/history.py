"""What a history of 100,000 values costs: one more run, the list of changes, the page; in two shapes.

    python bench/history.py [URL]

Each command is a process of its own, as a user starts it. Some levels change, so that there is something to find.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pytest_vllmperf.history.adding import add
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.taking import of_run
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.storage import runs
from tests.history.material import SOFT, checked, of_test, run_on
from tests.reporting import metric

COMMAND = [sys.executable, "-c", "import sys; from pytest_vllmperf import cli; sys.exit(cli.main())", "history"]
SHAPES = ((40, 50, 50), (1000, 10, 10))
"""Runs, tests, metrics of each."""


def report(day: int, tests: int, metrics: int, noise: random.Random) -> RunReport:
    """A run on a day; every seventh test got slower on the day 25, with another vLLM."""
    names = list(METRICS)[:metrics]
    soft = {**SOFT, "version of vllm": "0.33.0" if day >= 25 else "0.32.0"}
    made = []
    for number in range(tests):
        level = 100.0 * (1.08 if day >= 25 and number % 7 == 0 else 1.0)
        found = [metric(name, (level * noise.gauss(1, 0.005),) * 3, gated=at < 8) for at, name in enumerate(names)]
        made.append(of_test(checked(day, *found, soft=soft), nodeid=f"tests/test_bench.py::test_{number}"))
    return run_on(day, *made)


def timed(*arguments: str) -> str:
    """Seconds that a command takes, and seconds of a processor, which hardly depend on what else the machine does."""
    before, began = os.times(), time.perf_counter()
    subprocess.run([*COMMAND, *arguments], check=True, stdout=subprocess.DEVNULL)
    took, after = time.perf_counter() - began, os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return f"{took:.2f} s (CPU {used:.2f} s)"


def main() -> None:
    url = sys.argv[1] if len(sys.argv) > 1 else ""
    for days, tests, metrics in SHAPES:
        noise = random.Random(17)
        with tempfile.TemporaryDirectory() as folder:
            where = url or str(Path(folder, "history.db"))
            began = time.perf_counter()
            add(Database(where), [of_run(report(day, tests, metrics, noise)) for day in range(days)])
            made = time.perf_counter() - began
            one = Path(folder, "run.json")
            runs.write(one, report(days, tests, metrics, noise))
            added = timed("add", str(one), "--database", where)
            shown = timed("show", "--database", where)
            page = Path(folder, "page.html")
            plotted = timed("plot", "--metrics", "all", "--output", str(page), "--database", where)
            size = page.stat().st_size / 2**20
            print(f"{days} runs x {tests} tests x {metrics} metrics, added together: {made:.1f} s")
            print(f"  one more run {added}, show {shown}, page of {size:.1f} MiB {plotted}")


if __name__ == "__main__":
    main()

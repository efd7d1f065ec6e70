"""Files that an earlier run has written are removed, so that they are never taken for those of this run."""

from __future__ import annotations

from contextlib import suppress

import pytest

from pytest_vllmperf.errors import VllmPerfError
from pytest_vllmperf.harness import options
from pytest_vllmperf.report import pages as report_pages
from pytest_vllmperf.storage import pages, runs


def forget(config: pytest.Config) -> None:
    """Remove the files that `--vllmperf-json` and `--vllmperf-report` name, if earlier runs have written them.

    A file that is no run's stays, and so does one that cannot be removed. Nothing is removed by a worker of xdist, or
    where no test function will run.
    """
    if options.is_worker(config) or options.only_looks(config):
        return
    for file in options.files(config, "json"):
        with suppress(OSError, VllmPerfError):
            runs.forget(file)
    for file in options.files(config, "report"):
        with suppress(OSError, VllmPerfError):
            pages.forget(file, report_pages.MARK)

"""The one place that decides a run's exit status, and what is written when something cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.harness.ending import CUT_SHORT, Ending, exit_status
from pytest_vllmperf.harness.results import Results
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.storage.baselines import BaselineStore

OK, FAILED, USAGE, NO_TESTS = (
    pytest.ExitCode.OK,
    pytest.ExitCode.TESTS_FAILED,
    pytest.ExitCode.USAGE_ERROR,
    pytest.ExitCode.NO_TESTS_COLLECTED,
)


@pytest.mark.parametrize(
    ("current", "write_failed", "nothing_judged", "leaked", "status"),
    [
        (OK, False, False, False, OK),
        (OK, True, False, False, USAGE),
        (OK, False, True, False, FAILED),
        (OK, False, False, True, FAILED),
        (OK, True, True, True, USAGE),
        (FAILED, False, True, True, FAILED),
        (FAILED, True, False, False, USAGE),
        (NO_TESTS, False, True, True, NO_TESTS),
        (NO_TESTS, True, False, False, USAGE),
        *((cut, True, True, True, cut) for cut in CUT_SHORT),
    ],
)
def test_the_status(current: int, write_failed: bool, nothing_judged: bool, leaked: bool, status: int) -> None:
    found = exit_status(current, write_failed=write_failed, nothing_judged=nothing_judged, leaked=leaked)
    assert found == status


class Refusing(Results):
    def write(self, store: BaselineStore, *, prune: bool) -> None:
        raise BaselineError("a.json: not written: No space left on device")


@pytest.mark.parametrize(("whole", "failed"), [(True, True), (False, False)])
def test_what_cannot_be_written_is_a_note_and_a_failure(tmp_path: Path, whole: bool, failed: bool) -> None:
    settings = Settings(Update.ALL, tmp_path / "baselines", DEFAULTS, 1.0, 1.0)
    end = Ending()
    end.write(Refusing(), BaselineStore(settings.baselines), settings, tmp_path, whole=whole)
    assert end.write_failed is failed
    assert end.notes == [
        "ERROR: a.json: not written: No space left on device"
        if whole
        else "nothing was recorded: the run did not come to its end"
    ]

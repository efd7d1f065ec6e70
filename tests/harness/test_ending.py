"""The one place that decides a run's exit status, and what is written when something cannot be."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.harness.ending import CUT_SHORT, Ending, Run, exit_status
from pytest_vllmperf.harness.results import Results
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from tests.storage.test_scorecards import row

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


MODULE = "tests/test_chat.py"
ENTRY = Entry(
    engine="llama",
    workload={"count": 1},
    judging=Judging(gate=["ttft.p50"], margin=0.05),
    sessions=[
        Session(
            recorded="now",
            environment=Environment(hard={"gpu": "H200"}, soft={}),
            engines=[EngineSamples(discarded=0, iterations=1, samples={"ttft.p50": [0.25]})],
        )
    ],
)


class Refusing(Results):
    def write(self, store: BaselineStore, *, prune: bool) -> None:
        self.problems.append("a.json: not written: No space left on device")
        self.unwritten["h200", MODULE] = Changes(entries={"test_a": ENTRY}, appended={"test_b": ENTRY})


class Breaking(Results):
    def write(self, store: BaselineStore, *, prune: bool) -> None:
        raise RecursionError("too deep")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(Update.ALL, tmp_path / "baselines", DEFAULTS, 1.0, 1.0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    started_in = tmp_path / "started in"
    started_in.mkdir()
    return Run(rootdir=tmp_path, started_in=started_in, whole=True)


def test_what_cannot_be_written_is_kept_and_can_be_put_back(settings: Settings, run: Run) -> None:
    store, end = BaselineStore(settings.baselines), Ending()
    end.write(Refusing(), store, settings, run)
    assert end.write_failed
    (file,) = run.started_in.iterdir()
    assert end.notes == [
        "ERROR: a.json: not written: No space left on device",
        f"what could not be written was saved to {file}; restore it with:",
        f"    vllmperf baseline restore '{file}' --baselines ../baselines",
    ]
    store.write("h200", MODULE, Changes(entries={"test_b": ENTRY, "test_c": ENTRY}))
    assert cli.main([*shlex.split(end.notes[2])[1:-1], str(store.root)]) == 0
    tests = store.read("h200", MODULE).tests
    assert {name: len(entry.sessions) for name, entry in tests.items()} == {"test_a": 1, "test_b": 2, "test_c": 1}
    assert not file.exists()


def test_where_the_run_started_may_not_be_writable(
    settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run.started_in.rmdir()
    end = Ending()
    end.write(Refusing(), BaselineStore(settings.baselines), settings, run)
    (file,) = tmp_path.glob("vllmperf-rescue-*.json")
    assert f"what could not be written was saved to {file}; restore it with:" in end.notes


def test_nor_may_any_other_folder(
    settings: Settings, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    run.started_in.rmdir()
    end = Ending()
    end.write(Refusing(), BaselineStore(settings.baselines), settings, run)
    assert end.write_failed
    assert [note.partition(":")[0] for note in end.notes] == ["ERROR", "ERROR"]
    assert end.notes[1].startswith("ERROR: the measurements could not be saved: ")


def test_an_error_that_nobody_foresaw_keeps_nothing_else_from_being_written(
    settings: Settings, run: Run, tmp_path: Path
) -> None:
    end = Ending()
    results = Breaking(rows=[row("bf16")])
    end.write(results, BaselineStore(settings.baselines), replace(settings, scorecards=tmp_path / "cards"), run)
    assert (end.write_failed, end.notes) == (True, ["ERROR: internal error: RecursionError: too deep"])
    assert len(end.card_files) == 2


def test_a_run_that_was_cut_short_writes_no_baseline(settings: Settings, run: Run) -> None:
    end = Ending()
    end.write(Refusing(), BaselineStore(settings.baselines), settings, replace(run, whole=False))
    assert (end.write_failed, end.notes) == (False, ["nothing was recorded because the run did not finish"])


def test_scorecards_that_cannot_be_written_are_kept(settings: Settings, run: Run, tmp_path: Path) -> None:
    (tmp_path / "cards").write_text("in the way")
    end = Ending()
    where = replace(settings, scorecards=tmp_path / "cards")
    end.write(Results(rows=[row("bf16")]), BaselineStore(settings.baselines), where, run)
    (folder,) = run.started_in.iterdir()
    assert end.write_failed
    assert end.notes == [
        f"ERROR: {tmp_path / 'cards'}: the scorecard could not be written: File exists",
        f"the scorecards were saved to {folder}",
    ]
    assert len(list(folder.iterdir())) == 2

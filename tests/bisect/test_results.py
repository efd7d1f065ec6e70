"""The file of a bisection: whose answer it is, and what becomes of it when it cannot be read or written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf.bisect.results import Question, Results, opened
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.attribution import Attribution, Change, KernelChange
from pytest_vllmperf.records.bisect import Final, Judgement, Point, Result, Step
from pytest_vllmperf.records.kernels import KernelTime

from .conftest import FOLLOWED, attempt

QUESTION = Question(test="test_a.py::test_a", points=(Point(id="0"), Point(id="1"), Point(id="2")))
KERNELS = Attribution(
    gpu_time=Change(1.0, 1.2),
    kernels=(KernelChange("gemm", KernelTime("gemm", 4, 1.0), KernelTime("gemm", 4, 1.2)),),
    ranks=1,
    others=KernelChange("others", KernelTime("others", 0, 0.0), KernelTime("others", 0, 0.0)),
)
BAD = Step(
    version="2",
    result=Result.BAD,
    attempts=(attempt(Judgement.BAD).model_copy(update={"attribution": KERNELS}),),
    seconds=3.0,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with one step."""
    path = tmp_path / "found.json"
    with opened(path, QUESTION) as stored:
        stored.put(BAD, FOLLOWED)
    return path


def test_what_is_written_is_read(path: Path) -> None:
    skipped = Step(version="1", result=Result.SKIPPED, reason="no wheel")
    with opened(path, QUESTION) as stored:
        stored.put(skipped, FOLLOWED)
        stored.end(Final(before="0", after="2", reason="gone"))
    found = Results(path, QUESTION).content
    assert found.steps == (BAD, skipped)
    assert found.followed == FOLLOWED
    assert found.final == Final(before="0", after="2", reason="gone")
    assert json.loads(path.read_text())["schema"] == "pytest-vllmperf/bisect"


def test_retry_forgets_what_was_skipped_and_the_end(path: Path) -> None:
    with opened(path, QUESTION) as stored:
        stored.put(Step(version="1", result=Result.SKIPPED, reason="no wheel"), FOLLOWED)
        stored.end(Final(before="0", after="2"))
        stored.retry()
        assert (stored.content.steps, stored.content.final) == ((BAD,), None)


def test_retry_of_nothing_changes_nothing(path: Path) -> None:
    with opened(path, QUESTION) as stored:
        stored.end(Final(before="0", after="2"))
        stored.retry()
        assert stored.content.final is not None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"test": "test_b.py::test_b"}, "test differ"),
        ({"points": (Point(id="0"), Point(id="2"))}, "versions differ"),
        ({"metric": "tpot.p50"}, "--metric differ"),
        ({"tree": "/vllm"}, "--git differ"),
        ({"arguments": ("--vllmperf-margin=1%",)}, "arguments of pytest differ"),
    ],
)
def test_another_question_is_refused_in_one_line(path: Path, change: dict[str, object], words: str) -> None:
    before = path.read_bytes()
    with pytest.raises(BaselineError) as one, opened(path, QUESTION.model_copy(update=change)):
        pass
    assert str(one.value).startswith(f"{path}: results of another bisection (test_a.py::test_a, 0 to 2; {words})")
    assert "\n" not in str(one.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"version": 1', '"version": 2', "written by a newer pytest-vllmperf"),
        ("pytest-vllmperf/bisect", "pytest-vllmperf/sweep", "not a file of a bisection"),
        ('"bad"', '"worse"', "steps.0.result"),
        ('"tpot.p50"', '"tpot.p5"', "there is no metric tpot.p5"),
        ("{", "", "not JSON"),
    ],
)
def test_a_file_that_cannot_be_used(path: Path, old: str, new: str, words: str) -> None:
    path.write_text(path.read_text().replace(old, new, 1 if old == "{" else -1))
    with pytest.raises(BaselineError) as one:
        Results(path, QUESTION)
    assert words in str(one.value)
    assert "\n" not in str(one.value)


def test_a_step_of_another_version(path: Path) -> None:
    content = json.loads(path.read_text())
    content["steps"][0]["version"] = "7"
    path.write_text(json.dumps(content))
    with pytest.raises(BaselineError, match="the step 7 is none of its versions"):
        Results(path, QUESTION)


def test_one_process_at_a_time(path: Path) -> None:
    with (
        opened(path, QUESTION),
        pytest.raises(BaselineError, match="another bisection writes into it"),
        opened(path, QUESTION),
    ):
        pass


def test_a_disk_that_is_full_keeps_the_steps_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with opened(path, QUESTION) as stored:
        monkeypatch.setattr("pytest_vllmperf.storage.resumable.atomic.write_text", full)
        with pytest.raises(BaselineError, match="cannot be written: No space left on device; the steps in it are safe"):
            stored.put(Step(version="1", result=Result.GOOD), FOLLOWED)
    assert path.read_bytes() == before


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match="cannot be written"), opened(tmp_path / "no" / "x.json", QUESTION):
        pass

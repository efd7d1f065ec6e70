"""`vllmperf baseline prune`."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.storage.baselines import BaselineStore, Changes, load
from tests.cli.conftest import Write, entry


@pytest.fixture
def kept(write: Write, tmp_path: Path) -> Path:
    """The file of a module that exists, beside that of one that does not."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text("")
    write("baselines/h200/tests/test_gone.json", test_x=entry())
    return write("baselines/h200/tests/test_a.json", long=entry(sessions=9), short=entry(sessions=2))


def prune(tmp_path: Path, *arguments: str) -> int:
    folders = ["--baselines", str(tmp_path / "baselines"), "--rootdir", str(tmp_path)]
    return cli.main(["baseline", "prune", *folders, *arguments])


def sessions(path: Path) -> dict[str, list[str]]:
    return {name: [one.recorded[:10] for one in e.sessions] for name, e in load(path).tests.items()}


def test_the_first_and_the_newest_sessions_stay_and_files_of_no_module_go(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(tmp_path, "--keep", "7", "--yes") == 0
    assert sessions(kept) == {
        "long": [f"2026-01-0{day}" for day in (1, 2, 3, 4, 5, 8, 9)],
        "short": ["2026-01-01", "2026-01-02"],
    }
    assert [one.dropped for one in load(kept).tests["long"].sessions] == [0] * 5 + [2, 0]
    gone = kept.with_name("test_gone.json")
    assert not gone.exists()
    assert capsys.readouterr().out.splitlines() == [
        f"{kept}: long: 2 of 9 sessions removed, between the first 5 and the newest 2",
        f"{gone}: its test module tests/test_gone.py does not exist below {tmp_path.name}/: deleted",
    ]
    assert prune(tmp_path, "--keep", "7") == 0
    assert capsys.readouterr().out == "nothing to prune\n"


def test_a_dry_run_changes_nothing(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(tmp_path)
    assert prune(tmp_path, "--keep", "6", "--dry-run", "--yes", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["changed"], len(found["steps"]), found["left"]) == (False, 2, [])
    assert prune(tmp_path, "--keep", "6", "--dry-run") == 0
    assert capsys.readouterr().out.splitlines()[2:] == ["nothing was changed"]
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_without_a_terminal_it_does_nothing_unasked(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(tmp_path)
    for stdin in (io.StringIO("y\n"), None):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", stdin)
            assert prune(tmp_path, "--keep", "6") == 2
        line = (
            "vllmperf: nothing was changed: there is no terminal to confirm on; add --yes to make the "
            "changes, or --dry-run to only show them\n"
        )
        assert capsys.readouterr().err == line
    assert contents(tmp_path) == before


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False)]
)
def test_on_a_terminal_it_asks(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    answer: str, agreed: bool,
) -> None:  # fmt: skip
    before = contents(tmp_path)
    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    assert prune(tmp_path, "--keep", "6") == 0
    out, err = capsys.readouterr()
    assert (err, len(out.splitlines())) == (
        f"make these changes to {tmp_path / 'baselines'}? [y/N] ",
        2 if agreed else 3,
    )
    assert (contents(tmp_path) != before) is agreed
    assert kept.with_name("test_gone.json").exists() is not agreed


FOREIGN = ("package.json", ".vscode/settings.json", ".git/x/y.json", "web/node_modules/a/package.json")


def test_files_of_other_programs_are_never_touched(kept: Path, tmp_path: Path) -> None:
    others = [tmp_path / "baselines" / "h200" / name for name in FOREIGN]
    others += [tmp_path / "baselines" / name for name in FOREIGN[1:]]
    for other in others:
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text('{"name": "mine"}')
    others[0].write_text("// no JSON")
    assert prune(tmp_path, "--yes") == 0
    assert all(other.exists() for other in others)
    assert not kept.with_name("test_gone.json").exists()


def test_from_a_wrong_folder_nothing_is_deleted(kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(tmp_path)
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    for arguments in (["--rootdir", str(wrong)], ["--baselines", str(tmp_path)]):
        assert prune(tmp_path, "--yes", *arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "no test module of these baselines exists below" in err
        assert "--rootdir" in err
    assert contents(tmp_path) == before


def test_a_damaged_baseline_is_reported_and_left(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = kept.with_name("test_cut.json")
    text = kept.read_text()
    damaged.write_text(text[: len(text) // 2])
    assert prune(tmp_path, "--yes") == 2
    assert f"unchanged: {damaged}: not JSON, or truncated" in capsys.readouterr().out
    assert damaged.exists()
    assert not kept.with_name("test_gone.json").exists()


def test_sessions_that_were_added_after_the_question_count(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Slow(Terminal):
        def readline(self, *_: object) -> str:  # type: ignore[override]
            store = BaselineStore(tmp_path / "baselines")
            store.write("h200", "tests/test_a.py", Changes(appended={"long": entry(sessions=5)}))
            return "y\n"

    monkeypatch.setattr(sys, "stdin", Slow())
    assert prune(tmp_path, "--keep", "6") == 0
    assert [len(dates) for dates in sessions(kept).values()] == [6, 2]
    assert sessions(kept)["long"][-1] == "2026-01-05"
    assert load(kept).tests["long"].sessions[-1].dropped == 9 + 5 - 6


def test_a_file_that_is_too_large_to_be_read_can_be_shortened(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.write_text(kept.read_text() + " " * (65 * 1024 * 1024))
    assert cli.main(["baseline", "show", str(kept)]) == 2
    line = "it is 66 MiB; the limit is 64 MiB; shorten it with: vllmperf baseline prune --keep N"
    assert capsys.readouterr().err == f"vllmperf: {kept}: {line}\n"
    assert prune(tmp_path, "--keep", "6", "--yes") == 0
    assert [len(dates) for dates in sessions(kept).values()] == [6, 2]


def test_by_default_twenty_stay(kept: Path, tmp_path: Path) -> None:
    assert prune(tmp_path, "--yes") == 0
    assert [len(dates) for dates in sessions(kept).values()] == [9, 2]


@pytest.mark.parametrize("keep", ["5", "0", "-2"])
def test_the_anchor_and_the_newest_cannot_be_taken_out(
    keep: str, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prune(tmp_path, "--keep", keep) == 2
    assert capsys.readouterr().err == (
        f"vllmperf: --keep: {keep} is too few: the first 5 sessions anchor the level, and the newest is needed "
        f"too. Keep at least 6, or start a new baseline: pytest --vllmperf-update\n"
    )
    assert sessions(kept)["long"][0] == "2026-01-01"


def test_a_folder_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prune(tmp_path) == 2
    assert "no such folder" in capsys.readouterr().err

"""`vllmperf baseline merge`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.records.samples import Entry, Judging, Session
from pytest_vllmperf.storage.baselines import load
from tests.cli.conftest import HARD, Write, entry

NINE = entry(sessions=9).sessions
OTHER = entry(990.0, sessions=4).sessions
"""Of another machine, 1 % slower."""


def of(*sessions: Session, judging: Judging | None = None, reason: str = "") -> Entry:
    return entry(judging=judging).model_copy(update={"sessions": list(sessions), "reason": reason})


def later(session: Session, days: int) -> Session:
    day = int(session.recorded[8:10]) + days
    return session.model_copy(update={"recorded": f"2026-01-{day:02}{session.recorded[10:]}"})


def merge(*arguments: object) -> int:
    return cli.main(["baseline", "merge", *map(str, arguments)])


def sessions(path: Path, name: str = "test_x") -> list[Session]:
    return list(load(path).tests[name].sessions)


def test_two_branches_come_together_in_order_of_time(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What both had before they parted is kept once."""
    a = write("a.json", test_x=of(*NINE[:5], NINE[6]), only_a=of(*NINE))
    b = write("b.json", test_x=of(*NINE[:6], NINE[7]), only_b=of(*NINE[:3]))
    assert merge(a, b, "--output", tmp_path / "c.json") == 0
    assert sessions(tmp_path / "c.json") == NINE[:8]
    assert (sessions(tmp_path / "c.json", "only_a"), sessions(tmp_path / "c.json", "only_b")) == (NINE, NINE[:3])
    text = " ".join(capsys.readouterr().out.split())
    assert f"test_x: 8 sessions (6 of {a}, 7 of {b}; 5 in more than one file; level from 5 of {a}, 5 of {b})" in text
    assert "slowdown" not in text


def test_a_file_may_be_both_input_and_output(write: Write) -> None:
    a, b = write("a.json", test_x=of(*NINE[:5])), write("b.json", test_x=of(*NINE[:5], NINE[5]))
    assert merge(a, b, "--output", a) == 0
    assert sessions(a) == NINE[:6]


def test_a_name_without_a_suffix_is_written_as_it_is(write: Write, tmp_path: Path) -> None:
    """As git hands files to a merge driver."""
    a, b = write(".merge_file_1", test_x=of(*NINE[:5])), write(".merge_file_2", test_x=of(*NINE[:6]))
    assert merge(a, b, "--output", a) == 0
    assert sessions(a) == NINE[:6]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".merge_file_1", ".merge_file_2"]


def test_folders_are_merged_file_by_file(write: Write, tmp_path: Path) -> None:
    write("a/h200/tests/test_a.json", test_x=of(*NINE[:5]))
    write("a/4090/tests/test_a.json", test_x=of(*NINE[:3]))
    write("b/h200/tests/test_a.json", test_x=of(*NINE[3:7]))
    write("b/h200/test_b.json", test_x=of(*NINE[:4]))
    assert merge(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "a") == 0
    assert sessions(tmp_path / "a/h200/tests/test_a.json") == NINE[:7]
    assert sessions(tmp_path / "a/4090/tests/test_a.json") == NINE[:3]
    assert sessions(tmp_path / "a/h200/test_b.json") == NINE[:4]
    assert merge(tmp_path / "a", tmp_path / "b", "--output", tmp_path / "new") == 0
    assert sessions(tmp_path / "new/h200/tests/test_a.json") == NINE[:7]


def test_a_level_that_moves_for_the_worse_is_told(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other machine's sessions are older, so that they anchor the level now."""
    a, b = write("a.json", test_x=of(*(later(one, 9) for one in NINE[:5]))), write("b.json", test_x=of(*OTHER))
    assert merge(a, b, "--output", tmp_path / "c.json") == 0
    assert sessions(tmp_path / "c.json")[:4] == OTHER
    out = " ".join(capsys.readouterr().out.split())
    assert f"level from 1 of {a}, 4 of {b}" in out
    assert "output throughput: level" in out.lower()
    assert "more than before now passes" in out


def test_files_of_different_levels_are_not_merged(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recorded anew after a speedup on one branch: with the old sessions first, losing it again would pass."""
    a, b = write("a.json", test_x=of(*NINE[:5])), write("b.json", test_x=of(later(entry(1100.0).sessions[0], 20)))
    output = tmp_path / "c.json"
    assert merge(a, b, "--output", output) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert "The files differ by more than the margin of 5 %" in out
    assert "nothing was written: the files differ in the level of a gated metric" in out
    assert not output.exists()
    assert merge(a, b, "--output", output, "--json") == 1
    assert json.loads(capsys.readouterr().out)["written"] is False
    assert merge(a, b, "--output", output, "--different-levels") == 0
    assert len(sessions(output)) == 6


def test_an_exact_metric_may_not_differ_at_all(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judging = Judging(gate=["engine_steps"], margin=0.05)
    a = write("a.json", test_x=of(*entry(sessions=2, steps=17).sessions, judging=judging))
    b = write("b.json", test_x=of(*(later(one, 5) for one in entry(sessions=2, steps=18).sessions), judging=judging))
    assert merge(a, b, "--output", tmp_path / "c.json") == 1
    assert "more than before now passes" in " ".join(capsys.readouterr().out.split())


def test_what_cannot_be_compared_is_refused_with_the_difference(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write("a.json", fine=of(*NINE[:3]), test_x=of(*NINE[:3]))
    b = write("b.json", fine=of(*NINE[:3]), test_x=entry(hard={**HARD, "gpu": "NVIDIA H100"}))
    assert merge(a, b, "--output", tmp_path / "c.json") == 2
    assert capsys.readouterr().err == (
        f"vllmperf: test_x: cannot be merged: the sessions differ in gpu (NVIDIA H200 / NVIDIA H100), in {a}, {b}; "
        f"nothing was written\n"
    )
    assert not (tmp_path / "c.json").exists()


def test_a_merged_entry_keeps_its_first_sessions_and_the_newest(write: Write, tmp_path: Path) -> None:
    many = entry(sessions=14).sessions
    a, b = write("a.json", test_x=of(*many)), write("b.json", test_x=of(*(later(one, 14) for one in many)))
    assert merge(a, b, "--output", tmp_path / "c.json") == 0
    kept = sessions(tmp_path / "c.json")
    assert ([one.recorded[8:10] for one in kept[3:7]], len(kept)) == (["04", "05", "14", "15"], 20)
    assert [one.dropped for one in kept[4:7]] == [0, 8, 0]


def test_a_session_that_one_file_has_with_its_neighbours_is_kept_so(write: Write, tmp_path: Path) -> None:
    cut = NINE[7].model_copy(update={"dropped": 2})
    a, b = write("a.json", test_x=of(*NINE[:5], cut)), write("b.json", test_x=of(*NINE[:8]))
    assert merge(a, b, "--output", tmp_path / "c.json") == 0
    assert sessions(tmp_path / "c.json") == NINE[:8]


def test_gate_and_margins_are_those_of_the_newest_session(write: Write, tmp_path: Path) -> None:
    new, old = Judging(gate=["ttft.p50"], margin=0.2), Judging(gate=["tpot.p50"], margin=0.05)
    a = write("a.json", test_x=of(*NINE[5:], judging=new, reason="a newer driver"))
    b = write("b.json", test_x=of(*NINE[:5], judging=old, reason="first"))
    assert merge(a, b, "--output", tmp_path / "c.json") == 0
    found = load(tmp_path / "c.json").tests["test_x"]
    assert (found.judging, found.reason) == (new, "a newer driver; first")


def test_a_dry_run_writes_nothing(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=of(*NINE[:5])), write("b.json", test_x=of(*NINE[:7]))
    assert merge(a, b, "--output", tmp_path / "c.json", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("nothing was written\n")
    assert not (tmp_path / "c.json").exists()


def test_bad_input_is_one_line(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=of(*NINE[:5])), write("b.json", test_x=of(*NINE[:7]))
    taken = write("c.json", test_x=of(*NINE[:2]))
    undated = write("d.json", test_x=of(NINE[0].model_copy(update={"recorded": "yesterday"})))
    cases = [
        ([a, "--output", a], "name two or more files"),
        ([a, tmp_path, "--output", a], "some of the inputs are files and others folders"),
        ([a, b, "--output", tmp_path], "is a folder, but the inputs are files"),
        ([a, b, "--output", taken], "exists and would be overwritten; name it among the inputs too"),
        ([a, tmp_path / "none.json", "--output", a], "none.json: no such file"),
        ([a, undated, "--output", a], "'yesterday' is no date"),
    ]
    for arguments, words in cases:
        assert merge(*arguments) == 2
        err = capsys.readouterr().err
        assert (words in err, err.count("\n")) == (True, 1), err
    assert (sessions(a), sessions(taken)) == (NINE[:5], NINE[:2])


RUN = "import sys; from pytest_vllmperf import cli; sys.exit(cli.main())"


class Repository:
    """A repository of git with one baseline, merged as docs/fleets.md has it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "baselines" / "h200" / "test_a.json"
        self.git("init", "-q", "-b", "main")
        driver = f"{shlex.join([sys.executable, '-c', RUN])} baseline merge %A %B --output %A"
        self.git("config", "merge.vllmperf.driver", driver)
        (root / ".gitattributes").write_text("baselines/**/*.json merge=vllmperf\n")

    def git(self, *arguments: str) -> int:
        author = {f"GIT_{who}_{what}": "a@b" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        nothing = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        env = {**os.environ, **author, **nothing}
        return subprocess.run(["git", *arguments], cwd=self.root, env=env, check=False, capture_output=True).returncode

    def commit(self, write: Write, found: Entry) -> None:
        write(str(self.path.relative_to(self.root)), test_x=found)
        self.git("add", "-A")
        assert self.git("commit", "-q", "-m", "sessions") == 0


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
@pytest.mark.parametrize("same", [True, False], ids=["same level", "another level"])
def test_git_merges_two_branches_with_it(write: Write, tmp_path: Path, same: bool) -> None:
    """Where the levels differ it is a conflict, and the file stays as it is on this branch."""
    repository = Repository(tmp_path)
    repository.commit(write, of(*NINE[:5]))
    repository.git("checkout", "-q", "-b", "other")
    theirs = NINE[6] if same else later(entry(1200.0).sessions[0], 20)
    repository.commit(write, of(*NINE[:5], theirs) if same else of(theirs))
    repository.git("checkout", "-q", "main")
    repository.commit(write, of(*NINE[:6]))
    assert (repository.git("merge", "-q", "other") == 0) is same
    assert sessions(repository.path) == (NINE[:7] if same else NINE[:6])

"""Whatever happens, the command ends with one line and with 2: 1 is a regression's code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.cli import check
from tests.cli.conftest import Write, entry

COMMAND = [sys.executable, "-c", "import sys; from pytest_vllmperf import cli; sys.exit(cli.main())"]


def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    return subprocess.run([*COMMAND, *map(str, arguments)], env=environment, capture_output=True, check=False)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RecursionError("maximum recursion depth exceeded"), "RecursionError: maximum recursion depth exceeded"),
        (MemoryError(), "MemoryError"),
        (OverflowError("math range\nerror"), "OverflowError: math range error"),
    ],
)
def test_an_error_that_nobody_foresaw(
    error: Exception, words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(check, "check", fail)
    assert cli.main(["check", "a.json", "b.json"]) == 2
    line = f"vllmperf: internal error: {words}; please report it, with the traceback that VLLMPERF_DEBUG=1 shows\n"
    assert capsys.readouterr() == ("", line)
    monkeypatch.setenv("VLLMPERF_DEBUG", "1")
    assert cli.main(["check", "a.json", "b.json"]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.endswith(line)


def test_ctrl_c_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "check", interrupt)
    assert cli.main(["check", "a.json", "b.json"]) == 130
    assert capsys.readouterr() == ("", "vllmperf: interrupted\n")


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1:strict"},
                                       {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])  # fmt: skip
def test_an_output_that_does_not_know_a_character(write: Write, variables: dict[str, str]) -> None:
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry(), test_好=entry())
    done = run("check", a, b, **variables)
    assert (done.returncode, done.stderr) == (3, b"")
    assert b"99 % CI" in done.stdout
    assert b"test_\\u597d: only in the second file" in done.stdout or "test_好".encode() in done.stdout


def test_a_full_disk_for_the_output(write: Write) -> None:
    a = write("a.json", test_x=entry())
    command = [*COMMAND, "check", str(a), str(a)]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    line = b"vllmperf: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, line)


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    done = run("check", os.fsdecode(b"\xff.json"), os.fsdecode(b"\xff.json"))
    assert (done.returncode, done.stderr) == (2, b"vllmperf: \\udcff.json: no such file\n")


def test_a_name_that_is_too_long(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = tmp_path / ("x" * 300)
    for arguments in (["check", long, long], ["baseline", "show", long], ["scorecard", long],
                      ["baseline", "list", "--baselines", long], ["baseline", "prune", "--baselines", long],
                      ["scorecard", long, "--output", long]):  # fmt: skip
        assert cli.main(list(map(str, arguments))) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "internal error" not in err


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"schema": ' * 100_000, '{"version": ' + "9" * 5000 + "}", '"\\ud800"', "\ufeff{}"]
)
def test_hostile_files(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    for arguments in (
        ["check", path, path],
        ["baseline", "show", path],
        ["baseline", "diff", path, path],
        ["scorecard", path],
    ):
        assert cli.main(list(map(str, arguments))) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith(f"vllmperf: {path}: ")


@pytest.mark.parametrize("command", ["check", "scorecard"])
def test_a_pipe_is_never_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    path = tmp_path / "a.json"
    os.mkfifo(path)
    assert cli.main([command, *[str(path)] * (2 if command == "check" else 1)]) == 2
    assert capsys.readouterr().err == f"vllmperf: {path}: cannot be read: it is not a regular file\n"

"""A reader that ends before the output does, as `| head` may: no regression, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Write, entry

COMMAND = [sys.executable, "-c", "import sys; from pytest_vllmperf import cli; sys.exit(cli.main())"]


def into_a_pipe_that_nobody_reads(*arguments: object) -> subprocess.CompletedProcess[str]:
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        return subprocess.run(
            [*COMMAND, *map(str, arguments)], stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(write_end)


@pytest.fixture
def files(write: Write) -> tuple[Path, Path]:
    return write("folder/a.json", test_x=entry()), write("folder/b.json", test_x=entry())


def test_it_is_no_regression(files: tuple[Path, Path]) -> None:
    for more in ([], ["--json"]):
        done = into_a_pipe_that_nobody_reads("check", *files, *more)
        assert (done.returncode, done.stderr) == (141, "")


def test_every_command_that_prints_ends_alike(files: tuple[Path, Path]) -> None:
    a, b = files
    for arguments in (
        ["baseline", "list", "--baselines", a.parent],
        ["baseline", "show", a],
        ["baseline", "diff", a, b, "--json"],
        ["baseline", "prune", "--baselines", a.parent, "--dry-run"],
    ):
        done = into_a_pipe_that_nobody_reads(*arguments)
        assert (done.returncode, done.stderr) == (141, ""), arguments


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_what_the_parser_prints_ends_without_a_traceback(option: str) -> None:
    done = into_a_pipe_that_nobody_reads(option)
    assert done.returncode in (0, 141)  # argparse itself may ignore that nobody reads
    assert done.stderr == ""


def test_so_do_errors_into_the_same_pipe(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    missing = tmp_path / "a.json"
    command = [*COMMAND, "check", str(missing), str(missing)]
    done = subprocess.run(command, stdout=write_end, stderr=write_end, check=False)
    os.close(write_end)
    assert done.returncode == 141


def test_a_reader_that_takes_the_first_line_gets_it(files: tuple[Path, Path]) -> None:
    with subprocess.Popen(
        [*COMMAND, "check", *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "test_x: OK\n"
        assert "1 OK" in command.stdout.read()
    assert command.returncode == 0

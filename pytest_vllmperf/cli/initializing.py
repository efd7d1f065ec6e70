"""The arguments of `vllmperf init`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vllmperf.cli.output import show

if TYPE_CHECKING:
    from pytest_vllmperf.cli.first_test import FirstTest


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "init",
        help="write a first test, its configuration and a CI file",
        description="Writes a first performance test that runs on this machine without a network, pytest.ini and a CI "
        "file. Files that exist are never changed: it says what to add to them. Exit code 2, and nothing is written, "
        "where one of its own files exists.",
    )
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path(), help="folder of the project (default: this folder)"
    )
    parser.add_argument(
        "--ci", choices=("github", "gitlab", "none"), default="github", help="CI to write a file for (default: github)"
    )
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "gpu"),
        default="auto",
        help="where the tests will run; auto is this machine (default: auto)",
    )
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import init

    files = init.plan(chosen.folder, chosen.ci, chosen.device, _here)
    files.write()
    show("\n".join(files.lines()))
    return 0


def _here() -> FirstTest:
    """The first test for this machine."""
    from pytest_vllmperf.cli.doctor import report

    return report.of_this_machine()

"""The arguments of `vllmperf doctor`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
import shutil

from pytest_vllmperf.cli.common_arguments import add_json
from pytest_vllmperf.cli.output import show

_WIDEST = 120


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="what this machine has, what is missing, and what a first test should say",
        description="Looks at Python, vLLM, torch, GPUs, leases, memory and the model hub; starts no engine. Exit "
        "code: 0 a test can run here, 1 it cannot, with the one thing to do first.",
    )
    parser.add_argument("--offline", action="store_true", help="do not ask whether the model hub answers")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli.doctor import report

    found = report.diagnose(ask_hub=not chosen.offline)
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    show(found.as_json() if chosen.json else "\n".join(found.lines(width)), as_json=chosen.json)
    return found.exit_code

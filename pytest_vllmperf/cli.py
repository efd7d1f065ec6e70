"""The command `vllmperf`: what happens outside a test run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_vllmperf import __version__
from pytest_vllmperf.errors import VllmPerfError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 with one line on standard error."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except VllmPerfError as error:
        print(f"vllmperf: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vllmperf", description="Performance tests for vLLM, outside a test run.")
    parser.add_argument("--version", action="version", version=f"pytest-vllmperf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("make-model", help="make a tiny model with random weights, without network")
    make.add_argument("folder", nargs="?", type=Path, help="where to; by default the user's cache folder")
    make.add_argument("--shape", choices=("tiny",), default="tiny", help="its dimensions (tiny)")
    make.set_defaults(run=_make_model)
    return parser


def _make_model(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf import models

    if chosen.folder is None:
        print(models.resolve(models.PREFIX + chosen.shape))
    else:
        print(models.make_model(chosen.folder, models.SHAPES[chosen.shape]))
    return 0

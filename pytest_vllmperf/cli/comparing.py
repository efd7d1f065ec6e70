"""The arguments of `vllmperf check`, `kernels` and `scorecard`; what they need is imported when they run."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.cli.common_arguments import add_judging
from pytest_vllmperf.cli.output import show


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `check`, `kernels` and `scorecard`."""
    _add_check(commands)
    _add_kernels(commands)
    _add_scorecard(commands)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="compare one baseline file or folder with another, without starting an engine",
        description="Judge the newest session of each check in B against all sessions in A. Of two folders, each file "
        "is compared with the file of the same path in the other. Exit code: 0 no regression, 1 a regression, a drift "
        "or a broken limit, 2 bad input, 3 a check could not be compared, or a check or file has no counterpart.",
    )
    check.add_argument("a", type=Path, metavar="A", help="the baseline: a file or a folder")
    check.add_argument("b", type=Path, metavar="B", help="what is judged: a file or a folder")
    add_judging(check)
    check.add_argument(
        "--limit",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="absolute limit in the unit of the metric, such as ttft.p99=0.5; NAME=off takes away a recorded one; may "
        "be given several times (default: as recorded in B)",
    )
    check.add_argument(
        "--explain",
        action="store_true",
        help="explain each verdict with its numbers: noise model, hyperparameters, error budget, each look, and "
        "the inequality that decided; add --json to get it as data for a bug report",
    )
    check.set_defaults(run=_check)


def _add_kernels(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    table = commands.add_parser("kernels", help="GPU time of an iteration by kernel, for one file or for two")
    table.add_argument(
        "a", type=Path, metavar="A.json", help="a baseline file; the newest session of each check is shown"
    )
    table.add_argument(
        "b", type=Path, metavar="B.json", nargs="?", help="a second file, compared with A by kernel name"
    )
    table.add_argument("--test", metavar="NAME", help="only this check")
    table.add_argument("--top", type=int, default=20, metavar="N", help="number of kernels to list (default: 20)")
    table.add_argument("--json", action="store_true", help="print JSON with all stored kernels")
    table.set_defaults(run=_kernels)


def _add_scorecard(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    card = commands.add_parser(
        "scorecard",
        help="merge the scorecards of several runs",
        description="Merges the rows of several files written by --vllmperf-scorecards. If two files have the "
        "same configuration, the later file wins.",
    )
    card.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    card.add_argument(
        "--baseline",
        metavar="CONFIGURATION",
        help="configuration to compare with (default: the one named in the files)",
    )
    card.add_argument(
        "--output", type=Path, metavar="FOLDER", help="folder to write NAME-PROFILE.md and NAME-PROFILE.json to"
    )
    card.set_defaults(run=_scorecard)


def _check(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import check, check_folders, judging

    asked = judging.Asked(chosen.gate, chosen.margin, tuple(chosen.limit))
    result: check.CheckResult | check_folders.FoldersResult
    if chosen.a.is_dir() and chosen.b.is_dir():
        result = check_folders.check_folders(chosen.a, chosen.b, asked, explained=chosen.explain)
    else:
        result = check.check(chosen.a, chosen.b, asked, explained=chosen.explain)
    show(result.as_json() if chosen.json else "\n".join(result.lines()), as_json=chosen.json)
    return result.exit_code


def _kernels(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import kernels
    from pytest_vllmperf.cli.width import columns

    shown = kernels.kernels(chosen.a, chosen.b, chosen.test, chosen.top, as_json=chosen.json, width=columns())
    show(shown, as_json=chosen.json)
    return 0


def _scorecard(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import scorecard

    show(scorecard.merge(chosen.files, chosen.baseline, chosen.output))
    return 0

"""The arguments of `vllmperf baseline`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pytest_vllmperf.cli import merging, renaming
from pytest_vllmperf.cli.common_arguments import add_baselines, add_json, add_judging
from pytest_vllmperf.cli.output import show
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.report.escaping import terminal_text

WORK_LEFT = 2
"""The exit code where something could not be removed or restored."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `baseline` with its actions."""
    baseline = commands.add_parser("baseline", help="show and clean up baseline files")
    actions = baseline.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every stored check")
    _add_folder(listing)
    listing.set_defaults(run=_list)
    show = actions.add_parser(
        "show", help="levels, noise, and the smallest slowdown the baseline detects (80 %% of the time)"
    )
    show.add_argument("file", type=Path, metavar="FILE.json")
    show.add_argument("--check", help="only this check")
    add_judging(show)
    show.set_defaults(run=_show)
    diff = actions.add_parser("diff", help="show how two files differ, without a verdict")
    diff.add_argument("a", type=Path, metavar="A.json")
    diff.add_argument("b", type=Path, metavar="B.json")
    add_json(diff)
    diff.set_defaults(run=_diff)
    _add_prune(actions)
    renaming.add(actions)
    merging.add(actions)
    restore = actions.add_parser("restore", help="restore what a run could not write, from its vllmperf-rescue file")
    restore.add_argument("file", type=Path, metavar="FILE.json")
    add_baselines(restore)
    restore.set_defaults(run=_restore)


def _add_prune(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prune = actions.add_parser(
        "prune",
        help="remove sessions between the first and the newest, and files whose test module no longer exists",
        description="Lists the changes and asks before it makes them. Changes baseline files only.",
    )
    _add_folder(prune)
    prune.add_argument(
        "--keep",
        type=int,
        default=20,
        metavar="N",
        help="number of sessions to keep for each check: the first 5, which anchor its level, and the newest N "
        "- 5; at least 6 (default: 20)",
    )
    prune.add_argument(
        "--rootdir", type=Path, default=Path(), help="folder of the test modules (default: the current folder)"
    )
    prune.add_argument("--dry-run", action="store_true", help="show the changes without making them")
    prune.add_argument("--yes", action="store_true", help="do not ask")
    prune.set_defaults(run=_prune)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    add_baselines(parser)
    add_json(parser)


def _list(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import baselines

    show(baselines.listing(chosen.baselines, as_json=chosen.json), as_json=chosen.json)
    return 0


def _show(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import baselines, judging

    asked = judging.Asked(chosen.gate, chosen.margin)
    show(baselines.show(chosen.file, chosen.check, asked, as_json=chosen.json), as_json=chosen.json)
    return 0


def _diff(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import baselines

    show(baselines.diff(chosen.a, chosen.b, as_json=chosen.json), as_json=chosen.json)
    return 0


def _prune(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import prune

    found = prune.plan(chosen.baselines, chosen.keep, chosen.rootdir)
    if not chosen.json:
        show(found.as_text())
    done = (
        bool(found.steps)
        and not chosen.dry_run
        and (chosen.yes or _agreed(f"make these changes to {chosen.baselines}?"))
    )
    if done:
        found.do()
    if chosen.json:
        show(found.as_json(changed=done), as_json=True)
    elif found.steps and not done:
        print("nothing was changed")
    return WORK_LEFT if found.left else 0


def _agreed(question: str) -> bool:
    """Ask on the terminal; no answer is no.

    Raises:
        SpecError: where there is no terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise SpecError(
            "nothing was changed: there is no terminal to confirm on; add --yes to make the "
            "changes, or --dry-run to only show them"
        )
    sys.stdout.flush()
    print(terminal_text(question), "[y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _restore(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import restore

    text, whole = restore.restore(chosen.file, chosen.baselines)
    show(text)
    return 0 if whole else WORK_LEFT

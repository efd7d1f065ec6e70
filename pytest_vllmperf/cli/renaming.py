"""The arguments of `vllmperf baseline rename`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.cli.common_arguments import add_baselines, add_json
from pytest_vllmperf.cli.output import show


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action to those of `vllmperf baseline`."""
    parser = actions.add_parser(
        "rename",
        help="keep the baselines of a test, class or module that was renamed",
        description="Renames stored checks in the baselines of all profiles: of a test with all its parameters, of one "
        "parametrised test, of a class or of a whole module. It changes all files or none, and never overwrites a "
        "baseline.",
    )
    parser.add_argument("old", metavar="OLD", help="node id as it was, such as tests/test_a.py::test_chat")
    parser.add_argument("new", metavar="NEW", help="its new node id")
    add_baselines(parser)
    parser.add_argument(
        "--rootdir", type=Path, default=Path(), help="folder of the test modules (default: the current folder)"
    )
    parser.add_argument("--dry-run", action="store_true", help="show the changes without making them")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import rename

    found = rename.plan(chosen.baselines, chosen.old, chosen.new, chosen.rootdir)
    if not chosen.dry_run:
        found.do()
    if chosen.json:
        show(found.as_json(changed=not chosen.dry_run), as_json=True)
    else:
        show("\n".join([found.as_text(), *(["nothing was changed"] if chosen.dry_run else [])]))
    return 0

"""The arguments of `vllmperf baseline merge`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.cli.common_arguments import add_json
from pytest_vllmperf.cli.output import show


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action to those of `vllmperf baseline`."""
    parser = actions.add_parser(
        "merge",
        help="bring sessions of several machines or branches into one baseline",
        description="Puts the sessions of each check in order of time; a session that is in several files is kept "
        "once. The first 5 sessions set the level that later ones are judged by, so a merge may change it: the output "
        "says by how much. docs/fleets.md. Exit code: 0 merged, 1 not merged because the files differ in the level of "
        "a gated metric, 2 bad input or sessions that cannot be compared.",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="FILE", help="baseline files, or folders of baselines")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="PATH", help="a file, or a folder; it may be one of the inputs"
    )
    parser.add_argument(
        "--different-levels",
        action="store_true",
        help="merge files that differ by more than the margin too; a change of that size then passes",
    )
    parser.add_argument("--dry-run", action="store_true", help="show what it comes to without writing")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import merge

    files = merge.plan(chosen.inputs, chosen.output)
    refused = any(file.apart for file in files) and not chosen.different_levels
    written = not (refused or chosen.dry_run)
    if written:
        for file in files:
            file.write()
    if chosen.json:
        show(merge.as_json(files, written=written), as_json=True)
    else:
        show("\n".join([*merge.lines(files), *_end(refused, written)]))
    return merge.DIFFERENT_LEVELS if refused else merge.MERGED


def _end(refused: bool, written: bool) -> list[str]:
    if refused:
        return [
            "nothing was written: the files differ in the level of a gated metric, and judged by both a change of that",
            "size would pass. Take one of them, record again, or add --different-levels",
        ]
    return [] if written else ["nothing was written"]

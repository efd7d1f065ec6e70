"""The arguments of `vllmperf history`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_vllmperf.cli.argument_types import positive
from pytest_vllmperf.cli.common_arguments import add_json
from pytest_vllmperf.cli.output import show, tell
from pytest_vllmperf.history.opening import DEFAULT, TIMEOUT_S, VARIABLE

if TYPE_CHECKING:
    from pytest_vllmperf.cli.history import Asked, Where


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "history",
        help="keep the results of runs over time, and find where they changed",
        description="A database of results: where each metric changed, with the commits and the difference in the "
        "environment that came with the change. docs/history.md.",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    adding = actions.add_parser(
        "add",
        help="add runs to the history",
        description="Adds files that --vllmperf-json wrote, or baseline files: all of them, or none. What the history "
        "has already is not added again. Exit code: 0, or 2 for bad input.",
    )
    adding.add_argument("files", nargs="+", type=Path, metavar="FILE.json", help="a run, or a baseline file")
    _add_database(adding)
    adding.set_defaults(run=_add)
    showing = actions.add_parser("show", help="list the changes, the newest first")
    _add_choice(showing)
    showing.add_argument("--all", action="store_true", dest="every", help="list every series, too")
    add_json(showing)
    showing.set_defaults(run=_show)
    plotting = actions.add_parser("plot", help="write one page of HTML with the changes and a chart for each series")
    _add_choice(plotting)
    plotting.add_argument(
        "--output",
        type=Path,
        default=Path("vllmperf-history.html"),
        metavar="FILE.html",
        help="the file to write (default: vllmperf-history.html)",
    )
    plotting.set_defaults(run=_plot)
    _add_runs(actions)


def _add_runs(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The actions that are about runs, and not about what they measured."""
    listing = actions.add_parser("runs", help="list the runs, the newest first, with their ids")
    _add_database(listing)
    add_json(listing)
    listing.set_defaults(run=_runs)
    removing = actions.add_parser(
        "remove",
        help="take runs out of the history",
        description="Takes away the named runs with their values: all of them, or none. A commit that several runs "
        "have names none of them. The file of a run can be added again. Exit code: 0, or 2 for a name that is not "
        "clear and for a database that cannot be written.",
    )
    removing.add_argument(
        "names",
        nargs="+",
        metavar="ID|COMMIT",
        help="a run: at least seven digits of its id (vllmperf history runs), or of its commit as show names it, such "
        "as 1a2b3c4 or 1a2b3c4+changes",
    )
    removing.add_argument("--dry-run", action="store_true", help="only say what would be removed")
    _add_database(removing)
    removing.set_defaults(run=_remove)


def _add_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        metavar="FILE|URL",
        help=f"a SQLite file, or a URL of SQLAlchemy such as postgresql+psycopg://HOST/NAME (default: ${VARIABLE}, "
        f"or else {DEFAULT})",
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=TIMEOUT_S,
        metavar="SECONDS",
        help=f"how long to wait for a database that another process has locked (default: {TIMEOUT_S:g})",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    _add_database(parser)
    parser.add_argument("--test", default="", metavar="TEXT", help="only tests and checks with this text in their name")
    parser.add_argument("--profile", default="", metavar="NAME", help="only this kind of hardware")
    parser.add_argument(
        "--metrics",
        default="gated clock own",
        metavar="NAMES",
        help="names of metrics, or the sets gated, own (those of your tests), all, clock, exact, cpu, vram, device, "
        "energy (default: 'gated clock own')",
    )
    parser.add_argument(
        "--min-change",
        default="1%",
        metavar="FRACTION",
        help="smallest change to list, such as 0.02 or 2%%; of an exact metric, every change is listed (default: 1%%)",
    )
    parser.add_argument(
        "--p-value", type=float, default=0.001, metavar="P", help="chance allowed for a false change (default: 0.001)"
    )
    parser.add_argument(
        "--window", type=positive, default=50, metavar="N", help="number of runs to look at together (default: 50)"
    )


def _add(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import history

    done = history.add(_where(chosen), chosen.files)
    for note in done.notes:
        tell(f"note: {note}")
    show("\n".join(done.lines))
    return 0


def _show(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import history

    text = history.show(_where(chosen), _asked(chosen), every=chosen.every, as_json=chosen.json)
    show(text, as_json=chosen.json)
    return 0


def _plot(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import history

    show(history.plot(_where(chosen), _asked(chosen), chosen.output))
    return 0


def _runs(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import history_runs

    show(history_runs.listed(_where(chosen).opened(), as_json=chosen.json), as_json=chosen.json)
    return 0


def _remove(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import history_runs

    show(history_runs.remove(_where(chosen).opened(), chosen.names, dry_run=chosen.dry_run))
    return 0


def _where(chosen: argparse.Namespace) -> Where:
    from pytest_vllmperf.cli import history

    return history.Where(chosen.database, chosen.timeout)


def _asked(chosen: argparse.Namespace) -> Asked:
    from pytest_vllmperf.cli import history

    return history.Asked(chosen.test, chosen.profile, chosen.metrics, chosen.min_change, chosen.p_value, chosen.window)

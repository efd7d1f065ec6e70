"""The arguments of `vllmperf bisect`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.cli.argument_types import positive
from pytest_vllmperf.cli.common_arguments import add_json
from pytest_vllmperf.cli.output import show

NOT_CERTAIN = 1
"""The exit code where the first bad version is one of several, or is not bad against the last good one alone."""


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bisect",
        help="find the first version of vLLM in which a test regresses",
        description="Measures a test on versions between a good one and a bad one, each in turns with the good one "
        "until it is decided. A search that was ended goes on with the same command. docs/bisect.md. Exit code: 0 the "
        "first bad version is known, 1 it is one of several or not confirmed, 2 bad input or no regression.",
    )
    parser.add_argument("test", metavar="TEST", help="node id of one test, such as tests/test_chat.py::test_chat")
    parser.add_argument("--good", required=True, metavar="VERSION", help="a release or revision without the regression")
    parser.add_argument("--bad", required=True, metavar="VERSION", help="a later one that has it")
    _add_versions(parser)
    _add_search(parser)
    parser.set_defaults(run=_run)


def _add_versions(parser: argparse.ArgumentParser) -> None:
    """Which versions there are, and how each is made."""
    releases = parser.add_argument_group("releases")
    releases.add_argument("--versions", metavar="LIST", help="the releases that may be tried, separated by commas")
    releases.add_argument(
        "--versions-from",
        metavar="COMMAND",
        help="prints them, such as 'pip index versions vllm --json'; pre-releases do not count",
    )
    releases.add_argument(
        "--python-for",
        metavar="COMMAND",
        default="",
        help="installs {version}; the last line that it prints is the path of the interpreter",
    )
    parser.add_argument(
        "--python",
        metavar="PATH",
        default="",
        help="the interpreter, with {version} in it; for a commit from its work tree, such as .venv/bin/python",
    )
    commits = parser.add_argument_group("commits")
    commits.add_argument(
        "--git", type=Path, metavar="TREE", help="a work tree of vLLM's repository, which is only read"
    )
    commits.add_argument(
        "--build", metavar="COMMAND", default="", help="builds a commit; run in a work tree of its own, {tree}"
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    """How a version is judged, and where it is written down."""
    parser.add_argument(
        "--metric", metavar="NAME", help="gate and follow this metric (default: the largest regression)"
    )
    parser.add_argument(
        "--rounds",
        type=positive,
        default=3,
        metavar="N",
        help="most runs of the test on a version that is undecided, before it is skipped (default: 3)",
    )
    parser.add_argument(
        "--pytest",
        default="",
        metavar="ARGUMENTS",
        help="more arguments of pytest in one text: --pytest='--vllmperf-margin=2%%'",
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path("vllmperf-bisect.json"),
        metavar="FILE.json",
        help="file of what is known; the log stands beside it (default: vllmperf-bisect.json)",
    )
    parser.add_argument("--retry", action="store_true", help="try versions again that were skipped")
    add_json(parser)


def _run(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import bisect
    from pytest_vllmperf.cli.width import columns
    from pytest_vllmperf.report import bisects

    found = bisect.bisect(
        bisect.Wanted(
            test=chosen.test,
            good=chosen.good,
            bad=chosen.bad,
            versions=chosen.versions,
            versions_from=chosen.versions_from,
            python_for=chosen.python_for,
            python=chosen.python,
            git=chosen.git,
            build=chosen.build,
            metric=chosen.metric,
            rounds=chosen.rounds,
            pytest=chosen.pytest,
            results=chosen.results,
            retry=chosen.retry,
        )
    )
    text = found.model_dump_json(indent=1) if chosen.json else "\n".join(bisects.lines(found, columns()))
    show(text, as_json=chosen.json)
    return 0 if found.confirmed else NOT_CERTAIN

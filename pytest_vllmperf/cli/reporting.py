"""`vllmperf report`: a report of what runs and sweeps have written; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pytest_vllmperf.cli.output import show
from pytest_vllmperf.errors import ReportError

if TYPE_CHECKING:
    from pytest_vllmperf.records.sweep import Findings

_STUDY: Final = ".toml"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="write a report of a run, and of sweeps, for people",
        description="Writes a page that needs no other file (.html) or a Markdown document (.md) of the file that "
        "--vllmperf-json has written. A page can hold sweeps, too: name their studies. docs/report.md.",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="a run (.json), and studies of sweeps (.toml) with results"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="FILE", help="the report, .html or .md; only a report is replaced"
    )
    parser.set_defaults(run=_run)


def _run(chosen: argparse.Namespace) -> int:
    write(chosen.files, chosen.output)
    show(f"a report is written to {chosen.output}")
    return 0


def write(files: Sequence[Path], output: Path) -> None:
    """Write the report.

    Args:
        files: one run at most, and any number of studies.
        output: the report.

    Raises:
        ReportError: for more than one run, for sweeps in a Markdown document, for an output that is not a report or
            cannot be written, and where a page needs what is not installed.
        SpecError: for a study that is not valid.
        BaselineError: for results of a sweep that are missing or cannot be read.
    """
    from pytest_vllmperf.report import pages
    from pytest_vllmperf.storage import pages as stored
    from pytest_vllmperf.storage import runs

    suffixes = " or ".join(pages.SUFFIXES)
    if output.suffix not in pages.SUFFIXES:
        raise ReportError(f"--output: {str(output)!r} is not a report's name; it has to end in {suffixes}")
    studies = [file for file in files if file.suffix == _STUDY]
    measured = [file for file in files if file.suffix != _STUDY]
    if len(measured) > 1:
        raise ReportError(f"{measured[1]}: a report is of one run, and {measured[0]} is one; write a report for each")
    if not measured and output.suffix != pages.PAGE:
        raise ReportError(f"{output}: a Markdown report is of a run; name one, or write a page ({pages.PAGE})")
    if studies and output.suffix != pages.PAGE:
        raise ReportError(f"{output}: a Markdown report holds no sweeps; write a page ({pages.PAGE})")
    report = runs.load(measured[0]) if measured else None
    text = pages.render(report, output.suffix, [_findings(file) for file in studies])
    try:
        stored.write(output, text, pages.MARK)
    except OSError as error:
        raise ReportError(f"{output}: cannot be written: {error.strerror or error}") from None


def _findings(file: Path) -> Findings:
    from pytest_vllmperf.cli import sweep

    return sweep.sweep(file, None, many=True, retry=False, show=True)

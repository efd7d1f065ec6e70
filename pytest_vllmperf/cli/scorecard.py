"""`vllmperf scorecard`: one card out of the files of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.report.scorecards import markdown, terminal
from pytest_vllmperf.storage.scorecards import check_folder, read_rows, write_scorecards


def merge(files: Sequence[Path], baseline: str | None, output: Path | None) -> str:
    """Put the rows of several files side by side.

    A configuration that stands in more than one file is taken from the last, so that a row measured again replaces
    the old one. Rows of another card or kind of hardware make a card of their own.

    Args:
        files: JSON files as `--vllmperf-scorecards` writes them.
        baseline: the configuration to compare with; None for the one that the files name.
        output: folder to write the cards to; None to write nothing.

    Returns:
        The cards, for a terminal.

    Raises:
        BaselineError: for a file that is no scorecard, or a folder that cannot be written.
    """
    check_folder(output)
    rows: dict[tuple[str, str, str], Row] = {}
    for file in files:
        for row in read_rows(file):
            chosen = row if baseline is None else row.model_copy(update={"baseline": baseline})
            rows[row.card, row.profile, row.configuration] = chosen
    cards = scorecards(list(rows.values()))
    lines = [line for card in cards for line in (f"{card.name}: {card.profile}", *terminal(card), "")]
    lines += [f"written: {path}" for path in write_scorecards(cards, output, markdown)]
    return "\n".join(lines).rstrip()

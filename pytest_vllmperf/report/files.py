"""Scorecards as files: Markdown for people, JSON for programs. The one place of `report` that writes."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from pytest_vllmperf.environment import slug
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.report.scorecards import markdown
from pytest_vllmperf.scorecard import Scorecard


def write_scorecards(cards: Sequence[Scorecard], folder: Path | None) -> list[Path]:
    """Write each card as `NAME-PROFILE.md` and `.json`, whole or not at all.

    Args:
        cards: what was measured.
        folder: where to; None to write nothing.

    Returns:
        The files written.

    Raises:
        BaselineError: for a folder that cannot be written.
    """
    if folder is None or not cards:
        return []
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for card in cards:
            stem = _stem(card, cards)
            rows = [line.row.model_dump(mode="json") for line in card.lines]
            content = {"name": card.name, "profile": card.profile, "baseline": card.baseline, "rows": rows}
            written += [
                _replace(folder / f"{stem}.md", markdown(card)),
                _replace(folder / f"{stem}.json", json.dumps(content, indent=1) + "\n"),
            ]
    except OSError as error:
        raise BaselineError(f"{folder}: the scorecard could not be written: {error.strerror or error}") from None
    return written


def _stem(card: Scorecard, cards: Sequence[Scorecard]) -> str:
    """The card's file name; two cards whose names come to the same get a number."""
    same = [other for other in cards if (slug(other.name), other.profile) == (slug(card.name), card.profile)]
    number = f"-{same.index(card) + 1}" if same.index(card) else ""
    return f"{slug(card.name)}{number}-{card.profile}"


def check_folder(folder: Path | None) -> None:
    """See that a folder can be written before hours are spent on what goes into it.

    Raises:
        BaselineError: when it cannot.
    """
    if folder is None:
        return
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BaselineError(f"{folder}: scorecards cannot be written: {there} is no folder that can be written")


def _replace(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        return temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

"""Scorecards as files: Markdown for people, JSON for programs; each written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from pytest_vllmperf.errors import BaselineError, SampleError
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.scorecard import Row, Scorecard
from pytest_vllmperf.storage.names import slug


class CardFile(BaseModel):
    """A scorecard's JSON file.

    Attributes:
        name: the card's.
        profile: the kind of hardware.
        baseline: the configuration that the others are compared with.
        rows: as measured; all else follows from them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    profile: str
    baseline: str
    rows: tuple[Row, ...]


def write_scorecards(
    cards: Sequence[Scorecard], folder: Path | None, markdown: Callable[[Scorecard], str]
) -> list[Path]:
    """Write each card as `NAME-PROFILE.md` and `.json`, whole or not at all.

    Args:
        cards: what was measured.
        folder: where to; None to write nothing.
        markdown: a card as text for people.

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
            rows = tuple(line.row for line in card.lines)
            content = CardFile(name=card.name, profile=card.profile, baseline=card.baseline, rows=rows)
            written += [
                _replace(folder / f"{stem}.md", markdown(card)),
                _replace(folder / f"{stem}.json", content.model_dump_json(indent=1) + "\n"),
            ]
    except OSError as error:
        raise BaselineError(f"{folder}: the scorecard could not be written: {error.strerror or error}") from None
    return written


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a card's JSON file.

    Raises:
        BaselineError: naming the file and what is wrong with it: not there, not JSON, no scorecard, or a sample that
            cannot be one.
    """
    try:
        rows = CardFile.model_validate_json(path.read_bytes()).rows
        for row in rows:
            for engine in row.engines:
                check_engine(engine)
    except OSError as error:
        raise BaselineError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BaselineError(
            f"{path}: no scorecard's JSON file: {f'{where}: ' if where else ''}{first['msg']}"
        ) from None
    except SampleError as error:
        raise BaselineError(f"{path}: {error}") from None
    return rows


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

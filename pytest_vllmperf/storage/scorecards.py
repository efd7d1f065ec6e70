"""Scorecards as files: Markdown for people, JSON for programs; each written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.scorecard import Row, Scorecard
from pytest_vllmperf.storage import atomic
from pytest_vllmperf.storage.names import slug
from pytest_vllmperf.storage.versioned import Format, dumps

SCHEMA: Literal["pytest-vllmperf/scorecard"] = "pytest-vllmperf/scorecard"
VERSION: Literal[1] = 1

_LONGEST_STEM = 200


class CardFile(BaseModel):
    """A scorecard's JSON file.

    Attributes:
        schema_name: what kind of file it is.
        version: of the schema.
        name: the card's.
        profile: the kind of hardware.
        baseline: the configuration that the others are compared with.
        rows: as measured; all else follows from them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/scorecard"] = Field(default=SCHEMA, alias="schema")
    version: Literal[1] = VERSION
    name: str
    profile: str
    baseline: str
    rows: tuple[Row, ...]


FORMAT = Format(
    noun="scorecard",
    schema=SCHEMA,
    version=VERSION,
    content=CardFile,
    foreign="name a JSON file that --vllmperf-scorecards has written",
    older="measure it again with --vllmperf-scorecards",
    damaged="restore it from version control, or measure it again with --vllmperf-scorecards",
    too_large="write fewer rows to it",
)


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
    texts: dict[Path, str] = {}
    for card in cards:
        stem = _stem(card, cards)
        texts |= {folder / f"{stem}.md": markdown(card), folder / f"{stem}.json": dumps(_file(card))}
    place = folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        atomic.sweep(folder)
        for place, text in texts.items():
            atomic.write_text(place, text)
    except OSError as error:
        raise BaselineError(f"{place}: the scorecard could not be written: {error.strerror or error}") from None
    except ValueError as error:  # a name with a null byte, out of a file that somebody has changed
        raise BaselineError(f"{folder}: the scorecard could not be written: {error}") from None
    return list(texts)


def _file(card: Scorecard) -> CardFile:
    rows = tuple(line.row for line in card.lines)
    return CardFile(name=card.name, profile=card.profile, baseline=card.baseline, rows=rows)


def read_rows(path: Path) -> tuple[Row, ...]:
    """The rows of a card's JSON file.

    Raises:
        BaselineError: naming the file and what is wrong with it: not there, not JSON, of another schema or version,
            or its content does not fit.
    """
    content = FORMAT.read(path)
    if content is None:
        raise BaselineError(f"{path}: no such file")
    for row in content.rows:
        for number, engine in enumerate(row.engines, start=1):
            FORMAT.check_samples(path, row.configuration, f"engine {number}", engine)
    return content.rows


def _stem(card: Scorecard, cards: Sequence[Scorecard]) -> str:
    """The card's file name without its suffix; two cards whose names come to the same get a number."""
    same = [other for other in cards if (slug(other.name), other.profile) == (slug(card.name), card.profile)]
    number = f"-{same.index(card) + 1}" if same.index(card) else ""
    return _of_any_length(f"{slug(card.name)}{number}-{card.profile}")


def _of_any_length(stem: str) -> str:
    """A name that a file system takes: a long one is cut, and a hash of all of it added."""
    if len(stem) <= _LONGEST_STEM:
        return stem
    return f"{stem[:_LONGEST_STEM]}-{hashlib.sha256(stem.encode()).hexdigest()[:8]}"


def check_folder(folder: Path | None, what: str = "scorecards") -> None:
    """See that a folder can be written before hours are spent on what goes into it.

    Args:
        folder: which; None for none.
        what: goes into it.

    Raises:
        BaselineError: when it cannot.
    """
    if folder is None:
        return
    try:
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    except OSError as error:
        raise BaselineError(f"{folder}: {what} cannot be written: {error.strerror}") from None
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise BaselineError(f"{folder}: {what} cannot be written: {there} is not a writable folder")

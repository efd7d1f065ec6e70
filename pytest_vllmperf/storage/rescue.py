"""What a run could not write to its baselines: kept in one file, until `vllmperf baseline restore` puts it back."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.storage import atomic
from pytest_vllmperf.storage.baselines import PRUNED_LIMIT, BaselineStore, Changes, Written
from pytest_vllmperf.storage.versioned import Format, dumps

SCHEMA: Literal["pytest-vllmperf/rescue"] = "pytest-vllmperf/rescue"
VERSION: Literal[1] = 1

Place = tuple[str, str]
"""Whose baseline: the profile, and the test module's path as in a node id."""


class RescuedModule(BaseModel):
    """What was to be written to one baseline file.

    Attributes:
        profile: whose file.
        module: the test module's path, as in a node id.
        entries: checks that start their baseline anew.
        appended: checks whose session joins its baseline.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile: str
    module: str
    entries: dict[str, Entry]
    appended: dict[str, Entry]


class RescueFile(BaseModel):
    """A rescue file."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/rescue"] = Field(default=SCHEMA, alias="schema")
    version: Literal[1] = VERSION
    modules: tuple[RescuedModule, ...]


FORMAT = Format(
    noun="rescue file",
    schema=SCHEMA,
    version=VERSION,
    content=RescueFile,
    foreign="name a vllmperf-rescue file",
    older="measure again",
    damaged="measure again",
    too_large="measure again",
)


def folders(started_in: Path) -> tuple[Path, ...]:
    """Where a run may keep what it could not write: where it was started, else the temporary folder."""
    return started_in, Path(tempfile.gettempdir())


def new_path(folder: Path, suffix: str) -> Path:
    """A path in a folder that is not taken."""
    stem = f"vllmperf-rescue-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
    names = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
    return next(path for name in names if not os.path.lexists(path := folder / f"{name}{suffix}"))


def keep(unwritten: Mapping[Place, Changes], places: Sequence[Path]) -> Path:
    """Write a rescue file into the first folder that can be written.

    Raises:
        BaselineError: when there is none.
    """
    text = dumps(RescueFile(modules=tuple(_rescued(place, changes) for place, changes in unwritten.items())))
    reasons = []
    for folder in places:
        path = new_path(folder, ".json")
        try:
            atomic.write_text(path, text)
        except OSError as error:
            reasons.append(f"{path}: {error.strerror or error}")
        else:
            return path
    raise BaselineError(f"the measurements could not be saved: {'; '.join(reasons)}")


def _rescued(place: Place, changes: Changes) -> RescuedModule:
    profile, module = place
    return RescuedModule(profile=profile, module=module, entries=dict(changes.entries), appended=dict(changes.appended))


def restore(path: Path, store: BaselineStore) -> tuple[list[Written], list[str]]:
    """Put what a rescue file holds into the baselines; it is deleted, or what could not be written stays in it.

    Returns:
        The files written, and what is wrong with the others.

    Raises:
        BaselineError: for a file that is no rescue file, or cannot be changed.
    """
    found = FORMAT.read(path, PRUNED_LIMIT)
    if found is None:
        raise BaselineError(f"{path}: no such file")
    written, left, problems = [], [], []
    for one in found.modules:
        try:
            written.append(store.write(one.profile, one.module, Changes(one.entries, one.appended)))
        except BaselineError as error:
            left.append(one)
            problems.append(str(error))
    try:
        if left:
            atomic.write_text(path, dumps(found.model_copy(update={"modules": tuple(left)})))
        else:
            path.unlink()
    except OSError as error:
        raise BaselineError(f"{path} was restored but cannot be deleted ({error.strerror}); delete it") from None
    return written, problems

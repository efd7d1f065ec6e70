"""The baseline store: versioned JSON under `baselines/<profile>/`, replaced whole and under a lock."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.storage import atomic
from pytest_vllmperf.storage.versioned import Format, dumps

SCHEMA: Literal["pytest-vllmperf/baseline"] = "pytest-vllmperf/baseline"
VERSION: Literal[3] = 3
LOCK_TIMEOUT_S = 60
MOST_SESSIONS = 20
"""How many sessions an entry keeps: the newest."""


class BaselineFile(BaseModel):
    """One file: all checks of one test module on one kind of hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/baseline"] = Field(default=SCHEMA, alias="schema")
    version: Literal[3] = VERSION
    tests: dict[str, Entry] = Field(default_factory=dict)


FORMAT = Format(
    noun="baseline",
    schema=SCHEMA,
    version=VERSION,
    content=BaselineFile,
    foreign="move it elsewhere",
    older="record it again",
    damaged="restore it from version control",
)


@dataclass(frozen=True)
class Changes:
    """The changes to one file.

    Attributes:
        entries: to be started anew.
        appended: entries whose sessions are added to those of the same name; where there is none, nothing is added.
            The gate and margins become the appended ones: they are what the newest session was judged by.
        removed: names to take out.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    appended: Mapping[str, Entry] = field(default_factory=dict)
    removed: Sequence[str] = ()

    def apply(self, tests: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entries as they are after it; the newest `MOST_SESSIONS` of each stay."""
        kept = {name: entry for name, entry in tests.items() if name not in self.removed}
        longer = {name: _appended(entry, self.appended[name]) for name, entry in kept.items() if name in self.appended}
        return {**kept, **longer, **self.entries}


def _appended(entry: Entry, new: Entry) -> Entry:
    sessions = [*entry.sessions, *new.sessions][-MOST_SESSIONS:]
    return entry.model_copy(update={"sessions": sessions, "judging": new.judging})


class BaselineStore:
    """The files below one folder.

    Args:
        root: the folder that holds the profiles; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, profile: str, module: str) -> Path:
        """Where a test module's baseline lies; `module` is its path as in a node id."""
        parts = [part for part in Path(module).with_suffix(".json").parts if part not in ("..", "/")]
        return self.root / profile / Path(*parts)  # also for a module outside the root directory

    def read(self, profile: str, module: str) -> BaselineFile:
        """The stored checks of a module; an empty file where nothing is stored.

        Raises:
            BaselineError: for a file that is not what this version writes.
        """
        return load(self.path(profile, module))

    def modules(self) -> list[tuple[str, str]]:
        """(profile, module without suffix) of every file, sorted."""
        files = sorted(self.root.glob("*/**/*.json"))
        relative = [file.relative_to(self.root).with_suffix("") for file in files]
        return [(path.parts[0], Path(*path.parts[1:]).as_posix()) for path in relative if len(path.parts) > 1]

    def validate(self) -> None:
        """Read every file.

        Raises:
            BaselineError: for the first that is not what this version writes.
        """
        for file in sorted(self.root.glob("*/**/*.json")):
            load(file)

    def check_writable(self) -> None:
        """Make sure that a later write will not fail for lack of permission.

        Raises:
            BaselineError: when the folder, or one in it or one that a link in it leads to, cannot be written.
        """
        existing = self.root
        while not existing.exists():
            existing = existing.parent
        linked = {Path(os.path.realpath(file)).parent for file in self.root.glob("*/**/*.json") if file.is_symlink()}
        for folder in [existing, *(p for p in self.root.glob("**/") if p != existing), *sorted(linked)]:
            try:
                with tempfile.TemporaryFile(dir=folder):
                    pass
            except OSError as error:
                raise BaselineError(f"{folder}: baselines cannot be written there: {error.strerror}") from None

    def write(self, profile: str, module: str, changes: Changes) -> Path:
        """Change a module's file; entries that the changes do not name stay as they are.

        Raises:
            BaselineError: when the file cannot be read, locked or written. It is then what it was before.
        """
        path = self.path(profile, module)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(_lock_path(path), timeout=LOCK_TIMEOUT_S):
                atomic.write_text(path, dumps(BaselineFile(tests=changes.apply(load(path).tests))))
        except Timeout:
            raise BaselineError(f"{path}: another run has held its lock for {LOCK_TIMEOUT_S} s") from None
        except OSError as error:
            raise BaselineError(f"{path}: not written: {error.strerror or error}") from None
        return path


def load(path: Path) -> BaselineFile:
    """Read one file; an empty `BaselineFile` where there is none.

    Raises:
        BaselineError: naming the file and what is wrong with it: it cannot be read, is not JSON (cut short, say), of
            another schema or version, or its content does not fit.
    """
    file = FORMAT.read(path) or BaselineFile()
    for name, entry in file.tests.items():
        _check_metrics(path, name, entry)
        _check_samples(path, name, entry)
    return file


def _check_metrics(path: Path, name: str, entry: Entry) -> None:
    for metric in (*entry.judging.gate, *entry.judging.margins):
        if metric not in METRICS:
            raise FORMAT.unfit(path, f"{name}: judging: no metric is called {metric!r}")


def _check_samples(path: Path, name: str, entry: Entry) -> None:
    count = entry.workload.get("count")
    requests = count if isinstance(count, int) else None
    for session_number, session in enumerate(entry.sessions, start=1):
        for engine_number, engine in enumerate(session.engines, start=1):
            FORMAT.check_samples(path, name, f"session {session_number}, engine {engine_number}", engine, requests)


def _lock_path(path: Path) -> Path:
    """In the temporary folder: a lock beside the file would end up in the repository."""
    name = hashlib.sha256(os.path.realpath(path).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vllmperf-baseline-{os.getuid()}-{name}.lock"

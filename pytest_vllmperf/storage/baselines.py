"""The baseline store: versioned JSON under `baselines/<profile>/`, replaced whole and under a lock."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records import ids
from pytest_vllmperf.records.samples import MOST_SESSIONS, Entry
from pytest_vllmperf.stats import ANCHOR_SESSIONS
from pytest_vllmperf.storage import atomic, regular
from pytest_vllmperf.storage.locks import locked
from pytest_vllmperf.storage.versioned import LIMIT, Format
from pytest_vllmperf.verdict.comparability import differences

SCHEMA: Literal["pytest-vllmperf/baseline"] = "pytest-vllmperf/baseline"
VERSION: Literal[6] = 6
READ_AS_CURRENT = (3, 4, 5)
"""Versions whose files are read as they are.

3 does not say how many sessions were dropped, 4 has no device pass, and 5 neither custom metrics nor limits.
"""
LOCK_TIMEOUT_S = 60
FEWEST_KEPT = ANCHOR_SESSIONS + 1
"""How many sessions a long entry keeps at least: those that its level is anchored to, and the newest."""


def _read_as_current(version: Any) -> Any:
    return VERSION if version in READ_AS_CURRENT and type(version) is int else version


class BaselineFile(BaseModel):
    """One file: all checks of one test module on one kind of hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/baseline"] = Field(default=SCHEMA, alias="schema")
    version: Annotated[Literal[6], BeforeValidator(_read_as_current)] = VERSION
    tests: dict[str, Entry] = Field(default_factory=dict)


FORMAT = Format(
    noun="baseline",
    schema=SCHEMA,
    version=VERSION,
    content=BaselineFile,
    foreign="move it elsewhere",
    readable=READ_AS_CURRENT,
    older="record it again with: pytest --vllmperf-update",
    damaged="restore it from version control",
    too_large="shorten it with: vllmperf baseline prune --keep N",
)

PRUNED_LIMIT = 16 * LIMIT
"""The largest file that is read in order to shorten it, in bytes."""

_ATTEMPTS = 5
"""How often a change is made again, where a writer that takes no lock replaced the file meanwhile."""


@dataclass(frozen=True)
class Changes:
    """The changes to one file.

    Attributes:
        entries: to be started anew.
        appended: entries whose sessions are added to those of the same name, if they can be compared with these.
            The gate and margins become the appended ones: they are what the newest session was judged by.
        removed: names to take out.
        keep: how many sessions of each entry stay, see `shortened`; None for `MOST_SESSIONS` of those that grow.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    appended: Mapping[str, Entry] = field(default_factory=dict)
    removed: Sequence[str] = ()
    keep: int | None = None

    def apply(self, tests: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entries as they are after it."""
        kept = {name: entry for name, entry in tests.items() if name not in self.removed}
        if self.keep is not None:
            kept = {name: shortened(entry, self.keep) for name, entry in kept.items()}
        refused = self.refused(tests)
        longer = {
            name: _appended(entry, self.appended[name])
            for name, entry in kept.items()
            if name in self.appended and name not in refused
        }
        return {**kept, **longer, **self.entries}

    def refused(self, tests: Mapping[str, Entry]) -> dict[str, str]:
        """Entries whose sessions cannot be added, and why: what they were judged by is not there any more."""
        found = {}
        for name, new in self.appended.items():
            if name in self.entries:
                continue
            if name not in tests or name in self.removed:
                found[name] = "removed"
            elif changed := _hard_differences(tests[name], new):
                found[name] = f"replaced ({'; '.join(changed)})"
        return found


def shortened(entry: Entry, keep: int) -> Entry:
    """An entry with its first `ANCHOR_SESSIONS` sessions and the newest of the others, `keep` in all.

    The first ones hold the level at the last update: were they dropped, a slow decline would take it along.

    Args:
        entry: one that has no more than `keep` stays as it is.
        keep: at least `FEWEST_KEPT`.
    """
    if len(entry.sessions) <= keep:
        return entry
    first, others = entry.sessions[:ANCHOR_SESSIONS], entry.sessions[ANCHOR_SESSIONS:]
    newest = others[ANCHOR_SESSIONS - keep :]
    gone = sum(1 + session.dropped for session in others[: -len(newest)])
    after_gap = newest[0].model_copy(update={"dropped": newest[0].dropped + gone})
    return entry.model_copy(update={"sessions": [*first, after_gap, *newest[1:]]})


def _hard_differences(entry: Entry, new: Entry) -> list[str]:
    return differences(entry.sessions[-1].environment.hard, new.sessions[-1].environment.hard)


def _appended(entry: Entry, new: Entry) -> Entry:
    longer = entry.model_copy(update={"sessions": [*entry.sessions, *new.sessions], "judging": new.judging})
    return shortened(longer, MOST_SESSIONS)


@dataclass(frozen=True)
class Written:
    """A file that was changed.

    Attributes:
        path: the file.
        refused: entries whose sessions were not added, and why.
    """

    path: Path
    refused: Mapping[str, str] = field(default_factory=dict)


class BaselineStore:
    """The files below one folder.

    Args:
        root: the folder that holds the profiles; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._last: tuple[Path, tuple[int, ...], BaselineFile] | None = None

    def path(self, profile: str, module: str) -> Path:
        """Where a test module's baseline lies; `module` is its path as in a node id.

        Raises:
            BaselineError: for a module outside the root directory: modules of two folders would share a file.
        """
        place = Path(module)
        if not place.name or place.is_absolute() or ".." in place.parts:
            raise BaselineError(f"{module!r} is outside pytest's root directory, so it cannot have a baseline")
        return self.root / profile / place.with_suffix(".json")

    def read(self, profile: str, module: str) -> BaselineFile:
        """The stored checks of a module; an empty file where nothing is stored.

        The file that was read last is not read again as long as nobody has changed it: every check asks for it.

        Raises:
            BaselineError: for a file that is not what this version writes.
        """
        path = self.path(profile, module)
        try:
            state = _state(path)
        except OSError:
            state = None
        if self._last is not None and self._last[:2] == (path, state):
            return self._last[2]
        file = load(path)
        self._last = None if state is None else (path, state, file)
        return file

    def entries(self, profile: str) -> list[Entry]:
        """Every stored check of a profile, read anew.

        Raises:
            BaselineError: for a file that is not what this version writes; files of other programs are ignored.
        """
        files = sorted((self.root / profile).glob("**/*.json"))
        return [entry for file in files if not _is_foreign(file) for entry in load(file).tests.values()]

    def modules(self) -> list[tuple[str, str]]:
        """(profile, module without suffix) of every baseline file, be it damaged, sorted.

        Files of other programs are left out.
        """
        return [self._place(file) for file in self._files() if _concerns(file)]

    def validate(self, rootdir: Path) -> None:
        """Read every baseline file.

        JSON files of other programs are ignored, unless one lies where the baseline of a test module has to be. A file
        that cannot be parsed may be a damaged baseline, and is refused: the gate must not overlook one.

        Args:
            rootdir: where the test modules are.

        Raises:
            BaselineError: for the first that is not what this version writes.
        """
        for file in self._files():
            if not _is_foreign(file) or module_exists(rootdir, self._place(file)[1]):
                load(file)

    def _files(self) -> list[Path]:
        return sorted(self.root.glob("*/**/*.json"))

    def _place(self, file: Path) -> tuple[str, str]:
        profile, *module = file.relative_to(self.root).with_suffix("").parts
        return profile, Path(*module).as_posix()

    def _folders(self) -> list[Path]:
        """The folders that a write may go to, those included that links lead to."""
        linked = {Path(os.path.realpath(file)).parent for file in self._files() if file.is_symlink()}
        return [*self.root.glob("**/"), *sorted(linked)]

    def sweep(self) -> None:
        """Remove temporary files that a killed run has left."""
        for folder in self._folders():
            atomic.sweep(folder)

    def check_writable(self) -> None:
        """Make sure that a later write will not fail for lack of permission.

        Raises:
            BaselineError: when the folder, or one in it or one that a link in it leads to, cannot be written.
        """
        folder = self.root
        try:
            while not folder.exists():
                folder = folder.parent
            for folder in [folder, *self._folders()]:  # noqa: B020 - the one that the error names
                with tempfile.TemporaryFile(dir=folder):
                    pass
        except OSError as error:
            raise BaselineError(f"{folder}: baselines cannot be written there: {error.strerror}") from None

    def write(self, profile: str, module: str, changes: Changes, limit: int = LIMIT) -> Written:
        """Change a module's file; entries that the changes do not name stay as they are.

        The changes are applied to what the file holds once it is locked, so that nothing that another run has written
        meanwhile is lost.

        Args:
            profile: whose file.
            module: the test module's path, as in a node id.
            changes: to be made.
            limit: bytes of a file that is read at most.

        Raises:
            BaselineError: when the file cannot be read, locked or written. It is then what it was before.
        """
        path = self.path(profile, module)
        with _locked(path):
            atomic.sweep(_folder(path))
            for _ in range(_ATTEMPTS):
                before = _state(path)
                tests = load(path, limit).tests
                text = FORMAT.encoded(path, BaselineFile(tests=changes.apply(tests)))
                if atomic.write_text(path, text, unless=lambda before=before: _state(path) != before):  # type: ignore[misc]
                    return Written(path, changes.refused(tests))
        raise BaselineError(f"{path}: not written, because another program keeps replacing it")

    def delete(self, path: Path) -> None:
        """Delete a file that is a baseline of this version.

        Raises:
            BaselineError: when it is none, cannot be read, locked or deleted. It is then what it was before.
        """
        with _locked(path):
            load(path, PRUNED_LIMIT)
            path.unlink()


def module_exists(rootdir: Path, module: str) -> bool:
    """Whether there is a test module of this path, which is without its suffix."""
    return os.path.lexists(rootdir / f"{ids.raw(module)}.py")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock on a file, and say in one line what went wrong with it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(_folder(path), LOCK_TIMEOUT_S):
            yield
    except TimeoutError as error:
        advice = f"; {error}" if str(error) else ""
        raise BaselineError(f"{path}: another run has locked it for {LOCK_TIMEOUT_S} s{advice}") from None
    except OSError as error:
        raise BaselineError(f"{path}: not written: {error.strerror or error}") from None


def _folder(path: Path) -> Path:
    """Where a file really lies; that is where its link leads to, so that all who write it take the same lock."""
    folder = Path(os.path.realpath(path)).parent
    return folder if folder.is_dir() else path.parent


def _state(path: Path) -> tuple[int, ...] | None:
    """Changes whenever a file is replaced or written; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def baseline_files(folder: Path) -> list[Path]:
    """Every file below a folder that is a baseline, or may be a damaged one, sorted; JSON of other programs is not."""
    return [file for file in sorted(folder.rglob("*.json")) if not _is_foreign(file)]


def _concerns(file: Path) -> bool:
    with suppress(OSError):
        return FORMAT.concerns(file)
    return False


def _is_foreign(file: Path) -> bool:
    """Whether a file certainly belongs to another program: it is valid, and no baseline."""
    try:
        return file.is_dir() or (not FORMAT.concerns(file) and FORMAT.is_json(file))
    except regular.TooLargeError:
        return True  # a baseline has its schema in its first lines
    except OSError:
        return False


def load(path: Path, limit: int = LIMIT) -> BaselineFile:
    """Read one file; an empty `BaselineFile` where there is none.

    Args:
        path: the file.
        limit: bytes at most.

    Raises:
        BaselineError: naming the file and what is wrong with it: it cannot be read, is not JSON (cut short, say), of
            another schema or version, or its content does not fit.
    """
    file = FORMAT.read(path, limit) or BaselineFile()
    for name, entry in file.tests.items():
        _check_metrics(path, name, entry)
        _check_samples(path, name, entry)
    return file


def _check_metrics(path: Path, name: str, entry: Entry) -> None:
    for metric in (*entry.judging.gate, *entry.judging.margins, *entry.judging.limits):
        if metric not in METRICS:
            raise FORMAT.unfit(path, f"{name}: judging: no metric has the name {metric!r}")


def _check_samples(path: Path, name: str, entry: Entry) -> None:
    count = entry.workload.get("count")
    requests = count if isinstance(count, int) else None
    for session_number, session in enumerate(entry.sessions, start=1):
        for engine_number, engine in enumerate(session.engines, start=1):
            FORMAT.check_samples(path, name, f"session {session_number}, engine {engine_number}", engine, requests)

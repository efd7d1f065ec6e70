"""The baseline store: versioned JSON under `baselines/<profile>/`, replaced whole and under a lock."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records import ids
from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.storage import atomic, regular
from pytest_vllmperf.storage.changes import FEWEST_KEPT, Changes, Written, shortened
from pytest_vllmperf.storage.locks import locked
from pytest_vllmperf.storage.versioned import LIMIT, Format

__all__ = [
    "FEWEST_KEPT",
    "BaselineFile",
    "BaselineStore",
    "Changes",
    "Written",
    "change",
    "load",
    "module_exists",
    "shortened",
]

SCHEMA: Literal["pytest-vllmperf/baseline"] = "pytest-vllmperf/baseline"
VERSION: Literal[6] = 6
READ_AS_CURRENT = (3, 4, 5)
"""Versions whose files are read as they are.

3 does not say how many sessions were dropped, 4 has no device pass, and 5 neither custom metrics nor limits.
"""
LOCK_TIMEOUT_S = 60


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

    def of_test(self, profile: str, test: TestId) -> dict[str, Entry]:
        """The stored checks of a test, by name.

        Raises:
            BaselineError: for a file that is not what this version writes.
        """
        found = self.read(profile, test.module).tests
        return {name: entry for name, entry in found.items() if CheckId.parse(test.module, name).test == test}

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

    def profiles_of(self, module: str, wanted: Callable[[CheckId], bool]) -> list[str]:
        """The profiles that hold a wanted check of a module, sorted.

        Args:
            module: its path, as in a node id.
            wanted: whether a check is wanted.

        Raises:
            BaselineError: for a file that is not what this version writes.
        """
        stem = ids.module_stem(module)
        profiles = [profile for profile, found in self.modules() if found == stem]
        return [
            one for one in profiles if any(wanted(CheckId.parse(module, name)) for name in self.read(one, module).tests)
        ]

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
        return change(self.path(profile, module), changes, limit)

    def delete(self, path: Path) -> None:
        """Delete a file that is a baseline of this version.

        Raises:
            BaselineError: when it is none, cannot be read, locked or deleted. It is then what it was before.
        """
        with _locked(path):
            load(path, PRUNED_LIMIT)
            path.unlink()


def change(path: Path, changes: Changes, limit: int = LIMIT) -> Written:
    """Change one file, see `BaselineStore.write`."""
    with _locked(path):
        atomic.sweep(_folder(path))
        for _ in range(_ATTEMPTS):
            before = _state(path)
            tests = load(path, limit).tests
            if _replaced(path, changes, tests, before):
                return Written(path, changes.refused(tests))
    raise BaselineError(f"{path}: not written, because another program keeps replacing it")


def _replaced(path: Path, changes: Changes, tests: Mapping[str, Entry], before: tuple[int, ...] | None) -> bool:
    """Write a file as the changes leave it; False where another program has replaced it since it was read."""
    try:
        changes.check(tests)
    except LookupError as error:
        raise BaselineError(f"{path}: not written: another program has changed {error.args[0]!r}") from None
    after = changes.apply(tests)
    if changes.or_nothing and not after:
        path.unlink(missing_ok=True)
        return True
    text = FORMAT.encoded(path, BaselineFile(tests=after))
    return atomic.write_text(path, text, unless=lambda: _state(path) != before)


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

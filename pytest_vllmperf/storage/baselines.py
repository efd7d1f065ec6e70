"""The baseline store: versioned JSON under `baselines/<profile>/`, replaced whole and under a lock."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pytest_vllmperf.errors import BaselineError, SampleError
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.samples import Entry, Session

SCHEMA: Literal["pytest-vllmperf/baseline"] = "pytest-vllmperf/baseline"
VERSION: Literal[1] = 1
LOCK_TIMEOUT_S = 60
MOST_SESSIONS = 20
"""How many sessions an entry keeps: the newest."""


class BaselineFile(BaseModel):
    """One file: all checks of one test module on one kind of hardware."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    schema_name: Literal["pytest-vllmperf/baseline"] = Field(default=SCHEMA, alias="schema")
    version: Literal[1] = VERSION
    tests: dict[str, Entry] = Field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What is to become of one file.

    Attributes:
        entries: to be started anew.
        appended: sessions to add to entries that exist; where one does not, nothing is added.
        removed: names to take out.
    """

    entries: Mapping[str, Entry] = field(default_factory=dict)
    appended: Mapping[str, Session] = field(default_factory=dict)
    removed: Sequence[str] = ()

    def apply(self, tests: Mapping[str, Entry]) -> dict[str, Entry]:
        """The entries as they are after it; the newest `MOST_SESSIONS` of each stay."""
        kept = {name: entry for name, entry in tests.items() if name not in self.removed}
        longer = {
            name: entry.model_copy(update={"sessions": [*entry.sessions, self.appended[name]][-MOST_SESSIONS:]})
            for name, entry in kept.items()
            if name in self.appended
        }
        return {**kept, **longer, **self.entries}


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
            BaselineError: when the folder, or one in it, cannot be written.
        """
        existing = self.root
        while not existing.exists():
            existing = existing.parent
        for folder in [existing, *(p for p in self.root.glob("**/") if p != existing)]:
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
                _replace(path, dumps(BaselineFile(tests=changes.apply(load(path).tests))))
        except Timeout:
            raise BaselineError(f"{path}: another run has held its lock for {LOCK_TIMEOUT_S} s") from None
        except OSError as error:
            raise BaselineError(f"{path}: not written: {error.strerror or error}") from None
        return path


def load(path: Path) -> BaselineFile:
    """Read one file; an empty `BaselineFile` where there is none.

    Raises:
        BaselineError: naming the file and what is wrong with it: not JSON (cut short, say), another schema, a newer
            version, or content that does not fit.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return BaselineFile()
    except (OSError, UnicodeDecodeError) as error:
        raise BaselineError(f"{path}: cannot be read: {error}") from None
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BaselineError(f"{path}: not JSON, or cut short ({error}); restore it from version control") from None
    _check_schema(path, content)
    try:
        file = BaselineFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BaselineError(f"{path}: {where}: {first['msg']}; restore it from version control") from None
    for name, entry in file.tests.items():
        _check_samples(path, name, entry)
    return file


def _check_samples(path: Path, name: str, entry: Entry) -> None:
    requests = entry.workload.get("count")
    for session_number, session in enumerate(entry.sessions, start=1):
        for engine_number, engine in enumerate(session.engines, start=1):
            try:
                check_engine(engine, requests if isinstance(requests, int) else None)
            except SampleError as error:
                where = f"session {session_number}, engine {engine_number}"
                where += "".join(f", sample {index + 1}" for index in error.position)
                raise BaselineError(
                    f"{path}: {name}: {error.metric}: {where}: {error.problem}; restore it from version control"
                ) from None


def _check_schema(path: Path, content: object) -> None:
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(content, dict) or schema != SCHEMA:
        raise BaselineError(f"{path}: not a baseline of pytest-vllmperf (its schema is {schema!r}); move it elsewhere")
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise BaselineError(f"{path}: written by a newer pytest-vllmperf (schema version {version}, this one reads "
                            f"{VERSION}); upgrade the plugin")  # fmt: skip
    if version != VERSION:
        raise BaselineError(f"{path}: schema version {version!r} is not {VERSION}; record it again")


def dumps(file: BaselineFile) -> str:
    """The file's text: keys sorted, one line per list of samples, a final newline."""
    return _layout(file.model_dump(mode="json", by_alias=True), 0) + "\n"


def _layout(value: object, depth: int) -> str:
    """JSON in which a container of plain values takes one line, so that a diff shows what changed."""
    inner = " " * (depth + 1)
    if isinstance(value, dict) and value:
        items = [f"{inner}{json.dumps(key)}: {_layout(value[key], depth + 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(items) + "\n" + " " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = [inner + _layout(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(items) + "\n" + " " * depth + "]"
    return json.dumps(_whole(value), ensure_ascii=False)


def _whole(value: object) -> object:
    """Counts and bytes without a decimal point."""
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _replace(path: Path, text: str) -> None:
    """Write beside, flush to the disk, then rename: a reader sees the old file or the new one, never half of one."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _lock_path(path: Path) -> Path:
    """In the temporary folder: a lock beside the file would end up in the repository."""
    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"vllmperf-baseline-{os.getuid()}-{name}.lock"

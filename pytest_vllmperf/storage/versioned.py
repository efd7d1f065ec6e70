"""JSON files with a schema and a version: how they are read, and laid out."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, Field, ValidationError

from pytest_vllmperf.errors import BaselineError, SampleError
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.storage import regular

LIMIT = 64 * regular.MIB
"""The largest file that is read or written, in bytes."""

_HEAD = 64 * 1024
"""Where a file's schema stands, as this package writes it, and far beyond."""

_EXACT = 2**53
"""Up to here a float holds every whole number."""

_LONGEST = 200
"""Characters of a text out of a file that a message shows."""

Content = TypeVar("Content", bound=BaseModel)


@dataclass(frozen=True)
class Format(Generic[Content]):
    """One kind of file.

    Attributes:
        noun: what such a file is called.
        schema: its name in the file.
        version: of the schema, as this release reads and writes it.
        content: the model of the whole file, with `schema` and `version`.
        foreign: what to do about a file of another schema.
        older: what to do about a file of an older version.
        readable: older versions that `content` takes as they are; a file is always written in `version`.
        damaged: what to do about a file whose content does not fit.
        too_large: what to do about a file of more than `LIMIT` bytes.
    """

    noun: str
    schema: str
    version: int
    content: type[Content]
    foreign: str
    older: str
    damaged: str
    too_large: str
    readable: tuple[int, ...] = ()

    def read(self, path: Path, limit: int = LIMIT) -> Content | None:
        """Read one file; None where there is none.

        Args:
            path: the file.
            limit: bytes at most.

        Raises:
            BaselineError: naming the file and what is wrong with it: it cannot be read, is not a regular file, is too
                large, is not JSON, has a key twice, is of another schema or version, or its content does not fit.
        """
        try:
            content = regular.read(path, limit)
        except FileNotFoundError:
            return None
        except regular.TooLargeError as error:
            raise BaselineError(f"{path}: {error.strerror}; {self.too_large}") from None
        except OSError as error:
            raise BaselineError(f"{path}: cannot be read: {error.strerror or error}") from None
        return self.parse(path, content)

    def parse(self, path: Path, content: bytes) -> Content:
        """The content of a file that has been read.

        Raises:
            BaselineError: as for `read`.
        """
        try:
            found = self.content.model_validate_json(content)
        except ValidationError as error:
            raise self._explained(path, content, error) from None
        if not {"schema_name", "version"} <= found.model_fields_set:
            self._check_schema(path, content)
        if twice := _key_twice(content):
            raise self.unfit(path, f"the key {twice!r} stands twice in one place, as after a merge of two versions")
        return found

    def concerns(self, path: Path) -> bool:
        """Whether a file is of this kind, be it damaged: it holds the name of the schema.

        Raises:
            OSError: when it cannot be read, or is not a regular file.
        """
        schema = self.schema.encode()
        if schema in regular.head(path, _HEAD):
            return True
        with suppress(regular.TooLargeError):
            return schema in regular.read(path, LIMIT)
        return False

    def is_json(self, path: Path) -> bool:
        """Whether a file can be parsed as JSON, whatever it holds.

        Raises:
            OSError: when it cannot be read, is too large, or is not a regular file.
        """
        try:
            _Anything.model_validate_json(regular.read(path, LIMIT))
        except ValidationError as error:
            return not _is_syntax(error)
        return True

    def check_samples(
        self, path: Path, name: str, place: str, engine: EngineSamples, requests: int | None = None
    ) -> None:
        """See that the samples of one engine can be what it showed.

        Args:
            path: the file.
            name: whose samples they are, in the file's own words.
            place: of the engine there, such as `session 2, engine 1`.
            engine: the samples.
            requests: of the workload; None where unknown.

        Raises:
            BaselineError: for the first sample that cannot be.
        """
        try:
            check_engine(engine, requests)
        except SampleError as error:
            place += "".join(f", sample {index + 1}" for index in error.position)
            raise self.unfit(path, f"{name}: {error.metric}: {place}: {error.problem}") from None

    def unfit(self, path: Path, problem: str) -> BaselineError:
        """The error for content that does not fit."""
        return BaselineError(f"{path}: {_one_line(problem)}; {self.damaged}")

    def encoded(self, path: Path, content: Content) -> str:
        """A file's text, which `read` will take.

        Raises:
            BaselineError: when it would be too large, or holds what cannot be written.
        """
        try:
            text = dumps(content)
        except (ValueError, RecursionError) as error:
            raise BaselineError(f"{path}: not written: {_one_line(str(error))}") from None
        if (size := len(text)) > LIMIT:
            mib = regular.MIB
            words = f"it would be {size // mib} MiB; the limit is {LIMIT // mib} MiB"
            raise BaselineError(f"{path}: not written: {words}; {self.too_large}")
        return text

    def _explained(self, path: Path, content: bytes, error: ValidationError) -> BaselineError:
        """Why a file is not valid: what is wrong with its text comes first, then the schema, then its content."""
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as undecodable:
            return BaselineError(f"{path}: cannot be read: {undecodable}")
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if _is_syntax(error):
            reason = first["msg"].removeprefix("Invalid JSON: ")
            return BaselineError(f"{path}: not JSON, or truncated ({reason}); {self.damaged}")
        try:
            self._check_schema(path, content)
        except BaselineError as foreign:
            return foreign
        where = ".".join(str(part) for part in first["loc"])
        return self.unfit(path, f"{_one_line(where)}: {first['msg']}")

    def _check_schema(self, path: Path, content: bytes) -> None:
        try:
            found = _Header.model_validate_json(content)
        except ValidationError:  # no object at all
            found = _Header()
        if found.schema_name != self.schema:
            named = _one_line(repr(found.schema_name))
            raise BaselineError(f"{path}: not a {self.noun} of pytest-vllmperf (its schema is {named}); {self.foreign}")
        version = found.version
        if isinstance(version, int) and version > self.version:
            raise BaselineError(
                f"{path}: written by a newer pytest-vllmperf (schema version {_one_line(repr(version))}, this one "
                f"reads {self.version}); upgrade the plugin"
            )
        if version not in (self.version, *self.readable):
            raise BaselineError(
                f"{path}: schema version {_one_line(repr(version))} is not {self.version}; {self.older}"
            )


class _Header(BaseModel):
    """What says which kind of file it is; nothing else is kept."""

    schema_name: Any = Field(default=None, alias="schema")
    version: Any = None


class _Anything(BaseModel):
    """Any object."""


def _is_syntax(error: ValidationError) -> bool:
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["type"] == "json_invalid"


def _key_twice(content: bytes) -> str:
    """A key that an object of a JSON text has twice: one of its values would be ignored; empty where there is none."""
    try:
        json.loads(content, object_pairs_hook=_distinct, parse_int=str, parse_float=str)  # numbers are not looked at
    except KeyError as error:
        return str(error.args[0])
    return ""


def _distinct(pairs: list[tuple[str, object]]) -> None:
    """An object of a JSON text, of which nothing is kept (KeyError for a key that it has twice)."""
    if len(dict(pairs)) < len(pairs):
        raise KeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])


def _one_line(text: str) -> str:
    """A text out of a file, for a message: without line breaks and control characters, and cut where it is long."""
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text[: _LONGEST + 1])
    return shown if len(text) <= _LONGEST else f"{shown[:_LONGEST]}…"


def dumps(content: BaseModel) -> str:
    """A file's text: keys sorted, one line per list of samples, a final newline."""
    return _layout(content.model_dump(mode="json", by_alias=True), 0) + "\n"


def _layout(value: object, depth: int) -> str:
    """JSON in which a list of plain values takes one line, so that a diff shows what changed."""
    inner = " " * (depth + 1)
    if isinstance(value, dict) and value:
        items = [f"{inner}{json.dumps(_plain(key))}: {_layout(value[key], depth + 1)}" for key in sorted(value)]
        return "{\n" + ",\n".join(items) + "\n" + " " * depth + "}"
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = [inner + _layout(item, depth + 1) for item in value]
        return "[\n" + ",\n".join(items) + "\n" + " " * depth + "]"
    return json.dumps(_plain(value), ensure_ascii=False)


def _plain(value: object) -> object:
    """Counts and bytes without a decimal point; texts without unpaired surrogates, which no reader takes.

    Larger whole numbers stay floats: pydantic refuses such integers where it expects a float.
    """
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return value

"""JSON files with a schema and a version: how they are read, and laid out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from pytest_vllmperf.errors import BaselineError, SampleError
from pytest_vllmperf.metrics.validation import check_engine
from pytest_vllmperf.records.samples import EngineSamples

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
        damaged: what to do about a file whose content does not fit.
    """

    noun: str
    schema: str
    version: int
    content: type[Content]
    foreign: str
    older: str
    damaged: str

    def read(self, path: Path) -> Content | None:
        """Read one file; None where there is none.

        Raises:
            BaselineError: naming the file and what is wrong with it: it cannot be read, is not JSON, of another schema
                or version, or its content does not fit.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BaselineError(f"{path}: cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError as error:
            raise BaselineError(f"{path}: cannot be read: {error}") from None
        try:
            content = json.loads(text)
        except ValueError as error:
            raise BaselineError(f"{path}: not JSON, or cut short ({error}); {self.damaged}") from None
        self._check_schema(path, content)
        try:
            return self.content.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise self.unfit(path, f"{where}: {first['msg']}") from None

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
        return BaselineError(f"{path}: {problem}; {self.damaged}")

    def _check_schema(self, path: Path, content: object) -> None:
        schema = content.get("schema") if isinstance(content, dict) else None
        if not isinstance(content, dict) or schema != self.schema:
            raise BaselineError(
                f"{path}: not a {self.noun} of pytest-vllmperf (its schema is {schema!r}); {self.foreign}"
            )
        version = content.get("version")
        if isinstance(version, int) and version > self.version:
            raise BaselineError(
                f"{path}: written by a newer pytest-vllmperf (schema version {version}, this one reads "
                f"{self.version}); upgrade the plugin"
            )
        if version != self.version:
            raise BaselineError(f"{path}: schema version {version!r} is not {self.version}; {self.older}")


def dumps(content: BaseModel) -> str:
    """A file's text: keys sorted, one line per list of samples, a final newline."""
    return _layout(content.model_dump(mode="json", by_alias=True), 0) + "\n"


def _layout(value: object, depth: int) -> str:
    """JSON in which a list of plain values takes one line, so that a diff shows what changed."""
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

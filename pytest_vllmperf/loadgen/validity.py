"""Whether answers keep to the JSON that was asked for: structured output, and arguments of tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema
import orjson
from jsonschema.validators import validator_for
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.loadgen.faults import quoted
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.workload import Asked, Request


@dataclass(frozen=True)
class Share:
    """How many answers were valid.

    Attributes:
        valid: answers that were valid.
        total: sound answers that were looked at.
        example: what was wrong with the first invalid one; empty where none was.
    """

    valid: int
    total: int
    example: str = ""

    @property
    def share(self) -> float | None:
        """0 .. 1; None where there was no answer to look at."""
        return self.valid / self.total if self.total else None


@dataclass(frozen=True)
class Validity:
    """Whether sound answers kept to what was asked for.

    Attributes:
        structured: answers to requests with a JSON schema, by their text.
        tools: answers that called a tool, by the arguments of all their calls.
        without_call: answers to requests with tools that called none.
    """

    structured: Share
    tools: Share
    without_call: int = 0

    @property
    def share(self) -> float | None:
        """Of both kinds together, 0 .. 1; None where there was nothing to look at."""
        both = Share(self.structured.valid + self.tools.valid, self.structured.total + self.tools.total)
        return both.share


class _Schema:
    """A JSON schema whose validator is built once."""

    def __init__(self, schema: Any, where: str) -> None:
        if not isinstance(schema, dict | bool):
            raise WorkloadError(f"{where} is no JSON schema: it must be an object, true or false")
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except jsonschema.SchemaError as error:
            raise WorkloadError(f"{where} is no valid JSON schema: {quoted(error.message)}") from None
        self._where = where
        self._validator = kind(schema, registry=Registry())  # a registry of its own: nothing is fetched
        self._check_references(schema, Resource.from_contents(schema, DRAFT202012))

    def _check_references(self, schema: Any, resource: Resource[Any]) -> None:
        """Refuse a reference that leads nowhere; one in a schema with names of its own is left to the validator."""
        references = list(_values(schema, "$ref"))
        if any(True for _ in _values(schema, "$id")):
            return
        resolver = Registry().with_resource("", resource).resolver()
        for reference in references:
            try:
                resolver.lookup(reference)
            except Unresolvable:
                raise WorkloadError(
                    f"{self._where} refers to {quoted(reference)}, which it does not hold; nothing is fetched"
                ) from None

    def problem(self, text: str) -> str:
        """What is wrong with a text that should be JSON by this schema; empty for nothing."""
        try:
            error = next(iter(self._validator.iter_errors(orjson.loads(text))), None)
        except orjson.JSONDecodeError as error:
            return f"not JSON: {error}"
        except RecursionError:
            return "JSON that is nested too deeply"
        except Unresolvable as error:
            raise WorkloadError(f"{self._where}: {quoted(str(error))}") from None
        return "" if error is None else f"not by its schema at {quoted(error.json_path)}: {quoted(error.message)}"


class Judge:
    """Judges answers to some requests; made before anything is sent, so that a bad schema is known by then.

    Raises:
        WorkloadError: for a schema or tools that are invalid themselves.
    """

    def __init__(self, requests: Iterable[Request]) -> None:
        self._asked: dict[int, Asked] = {}
        self._schemas: dict[str, _Schema] = {}
        self._tools: dict[str, tuple[_Schema, ...]] = {}
        for request in requests:
            asked = request.asked
            self._asked[request.index] = asked
            if asked.json_schema and asked.json_schema not in self._schemas:
                self._schemas[asked.json_schema] = _schema(asked.json_schema)
            if asked.tools and asked.tools not in self._tools:
                self._tools[asked.tools] = _parameters(asked.tools)

    def judge(self, answers: Iterable[Answer]) -> Validity:
        """Judge the sound answers; failed ones are counted elsewhere.

        Args:
            answers: to the requests, by their index, with text and calls kept.

        Raises:
            WorkloadError: for a schema whose references lead nowhere.
        """
        texts: list[str] = []
        arguments: list[str] = []
        without_call = 0
        for answer in answers:
            asked = self._asked.get(answer.index)
            if asked is None or answer.failure:
                continue
            if asked.tools and answer.tool_calls:
                arguments.append(self._problem_of_calls(asked, answer.tool_calls))
            elif asked.tools:
                without_call += 1
            if asked.json_schema and not answer.tool_calls and answer.text is not None:
                texts.append(self._schemas[asked.json_schema].problem(answer.text))
        return Validity(_share(texts), _share(arguments), without_call)

    def _problem_of_calls(self, asked: Asked, calls: Sequence[str]) -> str:
        """What is wrong with the first bad call; an answer does not tell which tool, so any of them may accept it."""
        for call in calls:
            problems = [schema.problem(call) for schema in self._tools[asked.tools]]
            if all(problems):
                return problems[0]
        return ""


def check_asked(asked: Asked) -> None:
    """See that what a request asks for can be judged; to be called when a workload is built.

    Raises:
        WorkloadError: for a JSON schema, tools or parameters of a tool that are invalid themselves.
    """
    if asked.json_schema:
        _schema(asked.json_schema)
    if asked.tools:
        _parameters(asked.tools)


def _share(problems: Sequence[str]) -> Share:
    return Share(problems.count(""), len(problems), next((problem for problem in problems if problem), ""))


def _schema(text: str) -> _Schema:
    return _Schema(_parse(text, "json_schema"), "json_schema")


def _parameters(text: str) -> tuple[_Schema, ...]:
    """A schema for each tool; of a tool without parameters one that accepts any object."""
    tools = _parse(text, "tools")
    if not isinstance(tools, list) or not tools:
        raise WorkloadError("tools must be a list of one tool or more")
    schemas = []
    for place, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise WorkloadError(f'tool {place} must be {{"type": "function", "function": {{"name": …}}}}')
        where = f"parameters of tool {quoted(function['name'])}"
        schemas.append(_Schema(function.get("parameters", {"type": "object"}), where))
    return tuple(schemas)


def _parse(text: str, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise WorkloadError(f"{name} is not JSON: {error}") from None


def _values(schema: Any, key: str) -> Iterator[str]:
    """The texts under a key, wherever in a schema it stands."""
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    if isinstance(schema, dict) and isinstance(schema.get(key), str):
        yield schema[key]
    for value in inner:
        yield from _values(value, key)

"""Makes an `Asked` of what a user asks for, checked; canonical JSON, so that equal demands have equal text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload.request import Asked


def asked(before: Asked, json_schema: object, tools: object, logprobs: object, model: object) -> Asked:
    """`before` with what is not None taken over.

    Raises:
        WorkloadError: for a schema that is no JSON object, tools that are no list of objects, a number of
            log-probabilities below 0, or a model's name that is empty.
    """
    changed: dict[str, Any] = {}
    if json_schema is not None:
        if not isinstance(json_schema, Mapping):
            raise WorkloadError(f"json_schema={json_schema!r} must be a JSON schema as a dictionary")
        changed["json_schema"] = canonical("json_schema", json_schema)
    if tools is not None:
        listed = isinstance(tools, (list, tuple)) and len(tools) > 0
        if not listed or not all(isinstance(tool, Mapping) for tool in tools):  # type: ignore[attr-defined]
            raise WorkloadError("tools must be a list of one or more dictionaries, as OpenAI's 'tools'")
        changed["tools"] = canonical("tools", tools)
    if logprobs is not None:
        if not isinstance(logprobs, int) or isinstance(logprobs, bool) or logprobs < 0:
            raise WorkloadError(f"logprobs={logprobs!r} must be a whole number of at least 0")
        changed["logprobs"] = logprobs
    if model is not None:
        if not isinstance(model, str) or not model.strip():
            raise WorkloadError(f"model={model!r} must be the served name of a model")
        changed["model"] = model
    return replace(before, **changed)


def model_names(names: Sequence[str | None]) -> tuple[str, ...]:
    """Names of models that requests are sent to in turn; the engine's own model has an empty one.

    Raises:
        WorkloadError: for an empty list, or what is no name.
    """
    if not names:
        raise WorkloadError("model=[] names no model; name one or more, or None for the engine's own model")
    for name in names:
        if name is not None and (not isinstance(name, str) or not name.strip()):
            raise WorkloadError(f"model={names!r}: {name!r} must be the name of a model, or None for the engine's own")
    return tuple(name or "" for name in names)


def canonical(name: str, value: object) -> str:
    """JSON without blanks, its keys in order.

    Args:
        name: of the parameter, for a message.
        value: mappings, lists, texts, finite numbers, booleans and None.

    Raises:
        WorkloadError: for what is no JSON, with the place.
    """
    try:
        return json.dumps(_plain(name, value), sort_keys=True, separators=(",", ":"))
    except RecursionError:
        raise WorkloadError(f"{name} is not JSON: it is nested too deeply, or contains itself") from None


def _plain(where: str, value: object) -> Any:
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise WorkloadError(f"{where} is not JSON: the key {key!r} is not a string")
        return {key: _plain(f"{where}[{key!r}]", item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(f"{where}[{number}]", item) for number, item in enumerate(value)]
    raise WorkloadError(f"{where} is not JSON: {_short(value)}")


def _short(value: object) -> str:
    shown = " ".join(repr(value).split())
    return shown if len(shown) <= 60 else f"{shown[:57]}..."

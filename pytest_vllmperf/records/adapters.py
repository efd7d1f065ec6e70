"""LoRA adapters among engine arguments: `lora_modules`, as `vllm serve` takes it, for engines in process too. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pytest_vllmperf.errors import SpecError

ARGUMENT: Final = "lora_modules"
_FORM: Final = 'a dictionary {"NAME": "PATH"}, or a list of {"name": ..., "path": ...} or "NAME=PATH"'


def adapters(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The adapters of an engine: name -> path, in the order written.

    Args:
        arguments: engine arguments.

    Raises:
        SpecError: for a value that names no adapters, an empty name or path, or a name that comes twice.
    """
    given = arguments.get(ARGUMENT)
    if given is None:
        return {}
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, (list, tuple)):
        pairs = [_pair(one) for one in given]
    else:
        raise SpecError(f"{ARGUMENT}={given!r} must be {_FORM}")
    found: dict[str, str] = {}
    for name, path in pairs:
        if not isinstance(name, str) or not name.strip() or not isinstance(path, str) or not path.strip():
            raise SpecError(f"{ARGUMENT}: {name!r}: {path!r} is no name and path; write {_FORM}")
        if name in found:
            raise SpecError(f"{ARGUMENT} has two adapters with the name {name!r}")
        found[name] = path
    return found


def base_names(model: str, arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """What the model without an adapter is called, first the name that it is served under."""
    served = arguments.get("served_model_name")
    names = served if isinstance(served, (list, tuple)) else [served]
    return (*(name for name in names if isinstance(name, str)), model)


def _pair(one: object) -> tuple[Any, Any]:
    """One adapter of a list."""
    if isinstance(one, str) and one.lstrip().startswith("{"):
        try:
            one = json.loads(one)
        except ValueError:
            raise SpecError(f"{ARGUMENT}: {one!r} is not JSON") from None
    if isinstance(one, str) and "=" in one:
        name, _, path = one.partition("=")
        return name, path
    if isinstance(one, Mapping):
        return one.get("name"), one.get("path")
    raise SpecError(f"{ARGUMENT}: {one!r} names no adapter; write {_FORM}")

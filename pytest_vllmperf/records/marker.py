"""An engine as a marker to paste above a test, and as a command of vLLM; secrets in them are masked."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_vllmperf import models
from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.masking import masked, masked_text
from pytest_vllmperf.records.spec import DEFAULT_BACKEND, EngineSpec


def marker(spec: EngineSpec) -> str:
    """The engine as `@pytest.mark.vllm(...)`."""
    beside: dict[str, Any] = {}
    if spec.backend != DEFAULT_BACKEND:
        beside["backend"] = spec.backend
    if spec.python != sys.executable:
        beside["python"] = without_home(spec.python, home())
    if spec.env:
        beside["env"] = {name: masked(name, value) for name, value in spec.env}
    return f"@pytest.mark.vllm({_quoted(masked_text(spec.model))}{_keywords({**beside, **spec.shown_args})})"


def serve_command(spec: EngineSpec) -> str:
    """The engine as `vllm serve MODEL ...`, quoted for a shell; its environment is not part of it."""
    return " ".join(["vllm", "serve", _model(spec.model), *map(shlex.quote, _options(spec.shown_args))])


def _model(model: str) -> str:
    """A model for a shell. vLLM does not know those that this package makes, so the shell asks for their folder."""
    if not model.startswith(models.PREFIX):
        return shlex.quote(masked_text(model))
    name = model.removeprefix(models.PREFIX)
    shape = max((one for one in models.SHAPES if name.startswith(one)), key=len, default=name)
    quantization = name.removeprefix(shape).removeprefix("-")
    chosen = f" --quantization {shlex.quote(quantization)}" if quantization else ""
    return f'"$(vllmperf make-model --shape {shlex.quote(shape)}{chosen})"'


def _options(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Arguments as vLLM's command line takes them: a switch for a truth value, JSON for a table."""
    for name, value in arguments.items():
        option = name.replace("_", "-")
        if isinstance(value, bool):
            yield f"--{option}" if value else f"--no-{option}"
        elif value is not None:
            yield f"--{option}"
            yield from (_word(one) for one in (value if isinstance(value, list) else [value]))


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _keywords(arguments: Mapping[str, Any]) -> str:
    return "".join(f", {name}={_literal(value)}" for name, value in arguments.items())


def _literal(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A string literal in double quotes, as formatters write them."""
    shown = repr(text)
    return shown if '"' in text or "\\" in shown else f'"{text}"'

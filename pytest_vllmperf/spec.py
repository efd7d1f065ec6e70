"""`EngineSpec`: which engine to run. Frozen and hashable; its key decides which tests share an engine."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_vllmperf.errors import SpecError

BACKENDS = ("offline", "transformers", "simulated")
DEFAULT_BACKEND = "offline"


@dataclass(frozen=True)
class EngineSpec:
    """One way to run one model.

    Attributes:
        model: a path, a hub name, or `vllmperf:NAME` for a model that the package makes itself.
        backend: which kind of engine: `offline` (vllm.LLM), `transformers` (the reference, in static batches) or
            `simulated` (scripted timings, for tests).
        python: absolute path of the interpreter that runs the engine.
        env: environment variables set for the engine alone, sorted by name.
        engine_args: vLLM's engine arguments under vLLM's names, as canonical JSON; see `args`.
    """

    model: str
    backend: str
    python: str
    env: tuple[tuple[str, str], ...]
    engine_args: str

    @classmethod
    def create(
        cls,
        model: str | os.PathLike[str],
        *,
        backend: str = DEFAULT_BACKEND,
        python: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        **engine_args: Any,
    ) -> EngineSpec:
        """Build a spec from what a marker or `vllmperf.engine()` was given.

        Engine arguments are not checked here: vLLM knows them, and its own message reaches the user.

        Raises:
            SpecError: for a backend that does not exist, an interpreter that is not there, or an argument
                that cannot be written as JSON.
        """
        if backend not in BACKENDS:
            raise SpecError(f"backend={backend!r} does not exist; choose one of {', '.join(BACKENDS)}")
        if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
            raise SpecError(f"the model must be a path or a name, not {model!r}")
        return cls(
            model=os.fspath(model),
            backend=backend,
            python=_interpreter(python),
            env=_environment(env or {}),
            engine_args=_canonical(engine_args),
        )

    @property
    def args(self) -> dict[str, Any]:
        """The engine arguments as keyword arguments; a fresh dictionary at every call."""
        parsed: dict[str, Any] = json.loads(self.engine_args)
        return parsed

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits; two specs with one key are the same engine."""
        content = json.dumps([self.model, self.backend, self.python, self.env, self.engine_args])
        return hashlib.sha256(content.encode()).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The model's own name, without the folders or the owner in front."""
        return self.model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def label(self) -> str:
        """The engine for a person, such as `Meta-Llama-3-8B quantization=awq`."""
        return " ".join([self.name, *(f"{key}={value}" for key, value in self.args.items())])

    def with_args(self, **engine_args: Any) -> EngineSpec:
        """The same engine with some arguments changed; an argument set to None is passed on as None."""
        return replace(self, engine_args=_canonical({**self.args, **engine_args}))

    def with_env(self, **env: str) -> EngineSpec:
        """The same engine with some environment variables set."""
        return replace(self, env=_environment({**dict(self.env), **env}))


def _canonical(engine_args: Mapping[str, Any]) -> str:
    """JSON with sorted keys, so that the order of keywords makes no difference."""
    return (
        "{" + ", ".join(f"{json.dumps(name)}: {_json(name, engine_args[name])}" for name in sorted(engine_args)) + "}"
    )


def _json(name: str, value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=_as_json)
    except (TypeError, ValueError) as error:
        raise SpecError(f"engine argument {name}={value!r} cannot be handed to another process: {error}") from None


def _as_json(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _environment(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(env, Mapping):
        raise SpecError(f"env must map names to values, not {env!r}")
    for name, value in env.items():
        if not isinstance(value, str):
            raise SpecError(f"env[{name!r}] must be a string, not {value!r}")
    return tuple(sorted(env.items()))


def _interpreter(python: str | os.PathLike[str] | None) -> str:
    """The interpreter's path, not resolved: the link's own place is what makes a virtual environment."""
    if python is None:
        return sys.executable
    if not isinstance(python, (str, os.PathLike)):
        raise SpecError(f"python={python!r} must be the path of an interpreter")
    wanted = os.fspath(python)
    found = shutil.which(wanted)
    if found is None:
        raise SpecError(f"python={wanted!r} is not an interpreter that can be started; give the path of one")
    return str(Path(found).absolute())

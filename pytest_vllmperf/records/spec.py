"""`EngineSpec`: which engine to run. Frozen and hashable; its key decides which tests share an engine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_vllmperf.errors import SpecError

DEFAULT_BACKEND = "offline"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# What a marker takes beside engine arguments: `create`'s own.
_NOT_ENGINE_ARGS = ("model", "backend", "python", "env", "per_gpu")


@dataclass(frozen=True)
class EngineSpec:
    """One way to run one model.

    Attributes:
        model: a path, a hub name, or `vllmperf:NAME` for a model that the package makes itself.
        backend: which kind of engine; whether it exists is checked where a spec is read, by `engines.backends`.
        python: absolute path of the interpreter that runs the engine.
        env: environment variables set for the engine alone, sorted by name.
        engine_args: vLLM's engine arguments under vLLM's names, as canonical JSON; see `args`.
        per_gpu: engine arguments by GPU: a regular expression for its name, and the arguments as canonical JSON, in
            the order written; see `on`.
    """

    model: str
    backend: str
    python: str
    env: tuple[tuple[str, str], ...]
    engine_args: str
    per_gpu: tuple[tuple[str, str], ...] = ()

    @classmethod
    def create(
        cls,
        model: str | os.PathLike[str],
        *,
        backend: str = DEFAULT_BACKEND,
        python: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        per_gpu: Mapping[str, Mapping[str, Any]] | None = None,
        **engine_args: Any,
    ) -> EngineSpec:
        """Build a spec from what a marker or `vllmperf.engine()` was given.

        Neither the backend's name nor engine arguments are checked here: the table of backends knows the one, vLLM the
        others, and its own message reaches the user.

        Raises:
            SpecError: for an interpreter that is not there, an argument that cannot be written as JSON, or a pattern
                for GPUs that is no regular expression.
        """
        if not isinstance(model, (str, os.PathLike)) or not os.fspath(model):
            raise SpecError(f"the model must be a path or a name, not {model!r}")
        return cls(
            model=os.fspath(model),
            backend=backend,
            python=_interpreter(python),
            env=_environment(env or {}),
            engine_args=_canonical(engine_args),
            per_gpu=() if per_gpu is None else _by_gpu(per_gpu),
        )

    @property
    def args(self) -> dict[str, Any]:
        """The engine arguments as keyword arguments; a fresh dictionary at every call."""
        parsed: dict[str, Any] = json.loads(self.engine_args)
        return parsed

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits; two specs with one key are the same engine."""
        content = json.dumps([self.model, self.backend, self.python, self.env, self.engine_args, self.per_gpu])
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

    def on(self, gpu_name: str | None) -> EngineSpec:
        """The engine as it runs on this GPU: with the arguments of every pattern that is found in its name.

        Patterns are searched without regard to case; where two set the same argument, the one written later counts.

        Args:
            gpu_name: as NVML gives it; None without a GPU.
        """
        arguments = self.args
        for pattern, own in self.per_gpu:
            if gpu_name is not None and re.search(pattern, gpu_name, re.IGNORECASE):
                arguments.update(json.loads(own))
        return replace(self, engine_args=_canonical(arguments), per_gpu=())


def _canonical(engine_args: Mapping[str, Any]) -> str:
    """JSON with sorted keys, so that the order of keywords makes no difference."""
    return (
        "{" + ", ".join(f"{json.dumps(name)}: {_json(name, engine_args[name])}" for name in sorted(engine_args)) + "}"
    )


def _by_gpu(per_gpu: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    if not isinstance(per_gpu, Mapping):
        raise SpecError(f"per_gpu must map patterns for GPU names to engine arguments, not {per_gpu!r}")
    return tuple((_pattern(pattern), _arguments(pattern, own)) for pattern, own in per_gpu.items())


def _pattern(pattern: object) -> str:
    if not isinstance(pattern, str):
        raise SpecError(f"per_gpu[{pattern!r}]: the pattern for GPU names must be a string")
    try:
        re.compile(pattern, re.IGNORECASE)
    except (re.error, OverflowError) as error:
        raise SpecError(f"per_gpu[{pattern!r}]: not a regular expression: {error}") from None
    return pattern


def _arguments(pattern: str, own: object) -> str:
    where = f"per_gpu[{pattern!r}]"
    if not isinstance(own, Mapping):
        raise SpecError(f"{where} must map names of engine arguments to values, not {own!r}")
    for name in own:
        if not isinstance(name, str):
            raise SpecError(f"{where}: {name!r} is not the name of an engine argument")
        if name in _NOT_ENGINE_ARGS:
            raise SpecError(f"{where}: {name!r} cannot differ by GPU; only engine arguments can")
    try:
        return _canonical(own)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


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
        if name == _VISIBLE:  # an engine on a GPU that this run has not leased, and does not look at
            raise SpecError(
                f"env[{name!r}] cannot be set for one engine; set it for the run, or mark the test with gpu()"
            )
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

"""`EngineSpec`: which engine to run. Frozen and hashable; its key decides which tests share an engine."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.masking import MASK, is_secret_name, masked, masked_text

DEFAULT_BACKEND = "offline"
_VISIBLE = "CUDA_VISIBLE_DEVICES"
# What a marker takes beside engine arguments: `create`'s own.
NOT_ENGINE_ARGS = ("model", "backend", "python", "env", "per_gpu")
# Another one in each process: secrets are part of an engine's key, and nobody is to search for them with it.
_SALT = secrets.token_bytes(16)


@dataclass(frozen=True, repr=False)
class EngineSpec:
    """One way to run one model. What is secret in it is not shown by `repr`, `name` and `label`.

    Attributes:
        model: a path, a hub name, or `vllmperf:NAME` for a model that the package makes itself. A relative path that
            was given as a path object starts with `./`, so that it is no hub name.
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

        Neither the backend's name nor engine arguments are checked here: the table of backends knows the one,
        `engines.arguments` the names of the others, and vLLM their values.

        Raises:
            SpecError: for an interpreter that is not there, an argument that cannot be written as JSON, or a pattern
                for GPUs that is no regular expression.
        """
        return cls(
            model=_model(model),
            backend=backend,
            python=sys.executable if python is None else interpreter("python=", python),
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
    def args_by_gpu(self) -> list[dict[str, Any]]:
        """The arguments of each pattern for GPUs, as keyword arguments."""
        return [json.loads(own) for _, own in self.per_gpu]

    @property
    def shown_args(self) -> dict[str, Any]:
        """The engine arguments as they may be shown and stored: no secret, and `~` for the home folder."""
        return _shown(self.args)

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits; two specs with one key are the same engine. It differs from run to run."""
        content = json.dumps([self.model, self.backend, self.python, self.env, self.engine_args, self.per_gpu])
        return hmac.new(_SALT, content.encode(), hashlib.sha256).hexdigest()[:12]

    @property
    def name(self) -> str:
        """The model's own name, without the folders or the owner in front."""
        return masked_text(self.model).rstrip("/").rsplit("/", 1)[-1]

    @property
    def label(self) -> str:
        """The engine for a person in one line, such as `Meta-Llama-3-8B quantization=awq`."""
        shown = (f"{key}={value}" for key, value in self.shown_args.items())
        return " ".join([self.name, *(" ".join(one.split()) for one in shown)])

    def __repr__(self) -> str:
        per_gpu = {pattern: _shown(own) for (pattern, _), own in zip(self.per_gpu, self.args_by_gpu, strict=True)}
        parts = {
            "model": masked_text(self.model),
            "backend": self.backend,
            "python": self.python,
            "env": [name for name, _ in self.env],
            "args": self.shown_args,
            **({"per_gpu": per_gpu} if per_gpu else {}),
        }
        return f"EngineSpec({', '.join(f'{name}={value!r}' for name, value in parts.items())})"

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


def _shown(arguments: Mapping[str, Any]) -> dict[str, Any]:
    folder = home()
    return {name: without_home(masked(name, value), folder) for name, value in arguments.items()}


def _model(model: object) -> str:
    """The model as a string that is still a path if it was one: `Path("owner/name")` never means the hub."""
    text = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text:
        raise SpecError(f"the model must be a path or a name, not {model!r}")
    if isinstance(model, str) or text.startswith(("/", "./", "../", "~")):
        return text
    return f"./{text}"


def _canonical(engine_args: Mapping[str, Any]) -> str:
    """JSON with sorted keys, so that the order of keywords makes no difference."""
    return (
        "{" + ", ".join(f"{json.dumps(name)}: {_json(name, engine_args[name])}" for name in sorted(engine_args)) + "}"
    )


def _by_gpu(per_gpu: Mapping[str, Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    if not isinstance(per_gpu, Mapping):
        raise SpecError(
            f"per_gpu must map patterns for GPU names to engine arguments, not {masked_text(repr(per_gpu))}"
        )
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
        raise SpecError(f"{where} must map names of engine arguments to values, not {masked_text(repr(own))}")
    for name in own:
        if not isinstance(name, str):
            raise SpecError(f"{where}: {name!r} is not the name of an engine argument")
        if name in NOT_ENGINE_ARGS:
            raise SpecError(f"{where}: {name!r} is not an engine argument and cannot differ by GPU")
    try:
        return _canonical(own)
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None


def _json(name: str, value: object) -> str:
    try:
        return json.dumps(value, sort_keys=True, default=_as_json)
    except (TypeError, ValueError) as error:
        shown = MASK if is_secret_name(name) else masked_text(repr(value))
        raise SpecError(f"engine argument {name}={shown} cannot be passed to another process: {error}") from None


def _as_json(value: object) -> object:
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _environment(env: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(env, Mapping):
        raise SpecError(f"env must be a mapping of names to strings, not a {type(env).__name__}")
    for name, value in env.items():
        if not isinstance(value, str):
            raise SpecError(f"env[{name!r}] must be a string, not a {type(value).__name__}")
        if name == _VISIBLE:  # an engine on a GPU that this run has not leased, and does not look at
            raise SpecError(
                f"env[{name!r}] cannot be set for a single engine; set it for the whole run, or use @pytest.mark.gpu()"
            )
    return tuple(sorted(env.items()))


def interpreter(where: str, python: object) -> str:
    """The interpreter's absolute path, not resolved: the link's own place is what makes a virtual environment.

    Args:
        where: what stands before the value in an error.
        python: a path, or the name of a program.

    Raises:
        SpecError: for something that is no program.
    """
    if not isinstance(python, (str, os.PathLike)):
        raise SpecError(f"{where}{python!r} must be the path of an interpreter")
    wanted = os.fspath(python)
    try:
        found = shutil.which(wanted)
    except ValueError:  # a null byte
        found = None
    if found is None:
        raise SpecError(f"{where}{wanted!r} is not an executable interpreter; pass the path of one")
    return str(Path(found).absolute())

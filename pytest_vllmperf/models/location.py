"""Where a model should be found: on disk, or at the hub. What is nowhere is refused before anything starts.

A library asks the hub for a folder that does not exist, which takes half a minute and ends in an error about the hub.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_vllmperf.errors import ModelError
from pytest_vllmperf.models.make import PREFIX

_PATH_STARTS = ("/", "./", "../", "~")
_FILE_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt")
# Names are resolved by somebody else: a mirror of models, or a table of vLLM's.
_OTHER_RESOLVERS = ("VLLM_USE_MODELSCOPE", "VLLM_MODEL_REDIRECT_PATH")
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
_TRUE = ("1", "ON", "YES", "TRUE")
# Engine arguments that only a model of the hub has.
_HUB_ARGUMENTS = ("revision", "hf_token", "token")
_CACHE_ARGUMENTS = ("download_dir", "cache_dir")


def check_location(model: str, arguments: Mapping[str, Any], env: Mapping[str, str]) -> None:
    """Refuse a model that is certainly nowhere; what may be the hub's is left to the library.

    Args:
        model: a path, a hub name, or a built-in name. Relative paths start at the working directory.
        arguments: the engine's.
        env: all variables of the engine's process.

    Raises:
        ModelError: for a path that does not exist, a name that looks like one and that the hub's cache does not hold,
            or any name that it does not hold where the hub may not be asked.
    """
    if model.startswith(PREFIX) or "://" in model or _exists(model):
        return
    if any(env.get(name) for name in _OTHER_RESOLVERS):
        return
    if _is_path(model):
        raise ModelError(f"the model path {model} does not exist{_start(model)}")
    if any(arguments.get(name) for name in _HUB_ARGUMENTS) or _is_cached(model, arguments, env):
        return
    nowhere = f"there is no {model} in {Path.cwd()}, and the hub's cache holds no model of this name"
    offline = offline_variable(env)
    if offline is not None:
        raise ModelError(f"{nowhere}; {offline}={env[offline]} forbids downloading it")
    if _looks_like_a_path(model):
        raise ModelError(f"{nowhere}; if it is a model of the hub, add its revision, such as revision='main'")


def offline_variable(env: Mapping[str, str]) -> str | None:
    """The variable that forbids the hub's libraries to download anything; None where none does."""
    return next((name for name in _OFFLINE if env.get(name, "").upper() in _TRUE), None)


def _exists(model: str) -> bool:
    try:
        return Path(model).expanduser().exists()
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, nobody's home
        return False


def _is_path(model: str) -> bool:
    """Whether it can be nothing but a path: a hub name is `name` or `owner/name`."""
    return model.startswith(_PATH_STARTS) or model in (".", "..") or model.endswith("/") or model.count("/") > 1


def _looks_like_a_path(model: str) -> bool:
    owner, slash, _ = model.partition("/")
    return model.endswith(_FILE_SUFFIXES) or (bool(slash) and Path(owner).is_dir())


def _start(model: str) -> str:
    return "" if model.startswith(("/", "~")) else f"; relative paths start at {Path.cwd()}"


def _is_cached(model: str, arguments: Mapping[str, Any], env: Mapping[str, str]) -> bool:
    """Whether a snapshot of it lies in a cache that the library may look into."""
    name = model.partition(":")[0].replace("/", "--")  # behind a colon stands a file of the model's, such as Q4_K_M
    caches = [*(arguments.get(name) for name in _CACHE_ARGUMENTS), *hub_caches(env)]
    try:
        return any(any(Path(cache, f"models--{name}", "snapshots").expanduser().glob("*")) for cache in caches if cache)
    except (OSError, ValueError, RuntimeError, TypeError):  # it cannot be read, so nothing is known
        return True


def hub_caches(env: Mapping[str, str]) -> Iterator[str]:
    """Where huggingface_hub may keep what it fetched, by these variables."""
    yield from (env[name] for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE") if env.get(name))
    yield f"{env.get('HF_HOME') or (env.get('XDG_CACHE_HOME') or '~/.cache') + '/huggingface'}/hub"

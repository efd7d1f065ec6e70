"""A model's `config.json`, where it lies on this disk: in its folder, or in the hub's cache. Fetches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_vllmperf.models.location import hub_caches

_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length")


def configuration(model: str, env: Mapping[str, str]) -> dict[str, Any]:
    """The text part of the configuration; empty where none lies here, or it cannot be read.

    Args:
        model: a folder or a hub name, with built-in names resolved.
        env: all variables of the engine's process, which say where the hub's cache is.
    """
    for file in _files(model, env):
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(found, dict):
            text = found.get("text_config")
            return {**found, **text} if isinstance(text, dict) else found
    return {}


def own_length(config: Mapping[str, Any]) -> int | None:
    """The longest prompt plus output, in tokens, that a configuration names; None where it names none."""
    found = (config.get(name) for name in _LENGTHS)
    return next((one for one in found if isinstance(one, int) and not isinstance(one, bool) and one > 0), None)


def _files(model: str, env: Mapping[str, str]) -> Iterator[Path]:
    yield Path(model) / "config.json"
    for cache in hub_caches(env):
        snapshots = Path(cache).expanduser() / f"models--{model.replace('/', '--')}" / "snapshots"
        try:
            yield from sorted(snapshots.glob("*/config.json"))
        except (OSError, ValueError):  # it cannot be read, or the name is none of a folder
            continue

"""How two stored workloads differ, in words: a person cannot read the hashes that decide it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_WORKLOAD: Final = "workload: "
"""How the difference of the key begins, see `comparability.differences`."""

_WORDS: Final = {"count": "requests", "send_for": "seconds of sending"}
_HASHES: Final = ("json_schema", "tools", "image contents", "audio contents", "video contents")
"""Settings of which a hash is stored."""


def with_workload_in_words(
    differences: Sequence[str], then: Mapping[str, Any], now: Mapping[str, Any]
) -> tuple[str, ...]:
    """Differences of hard keys, where that of the workload's key is replaced by what differs in the workload.

    Args:
        differences: of hard keys, in words.
        then: the stored workload, as `Workload.describe` has it.
        now: the new one.
    """
    if not any(one.startswith(_WORKLOAD) for one in differences):
        return tuple(differences)
    told = tuple(workload_changes(then, now)) or ("the workload differs in its prompts, their lengths or their times",)
    return tuple(word for one in differences for word in (told if one.startswith(_WORKLOAD) else (one,)))


def workload_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """The settings that differ: `requests 4 -> 5`. Nothing where only texts or long lists do, which are not stored."""
    before, after = _flat(then), _flat(now)
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        label = _WORDS.get(name, name.replace("_", " "))
        yield f"{label} changed" if name in _HASHES else f"{label} {_shown(old)} -> {_shown(new)}"


def _flat(workload: Mapping[str, Any]) -> dict[str, Any]:
    """All settings by name, those of arrivals and of what is asked included; tuples as the lists that a file has."""
    found: dict[str, Any] = {}
    for name, value in json.loads(json.dumps(workload)).items():
        if isinstance(value, Mapping):
            found |= value
        elif name != "key":
            found[name] = value
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value)

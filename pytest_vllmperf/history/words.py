"""How two environments differ, in the words of a person: `vLLM 0.32.0 -> 0.33.0`, and never a hash. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from pytest_vllmperf.history.reading import Place
from pytest_vllmperf.verdict.workload_changes import workload_changes

VLLM: Final = "version of vllm"
DRIVER: Final = "driver"
_TOLD_FIRST: Final = (VLLM, DRIVER)
"""What everybody asks for: told if it is the same, too."""
_HOST: Final = "host "
"""How keys begin that say what else the machine did: told last, as they change by chance."""
_NAMES: Final = {VLLM: "vLLM", "plugin": "pytest-vllmperf", "model name": "model"}
_PREFIXES: Final = ("version of ", "engine argument ", "resolved ")
_HASH: Final = re.compile(r"\b[0-9a-f]{16,}\b")
"""A value with one is never shown: a person can only see that it changed."""
_LONGEST: Final = 60
_WORKLOAD: Final = "workload"


def soft_changes(then: Place, now: Place) -> tuple[str, ...]:
    """What differs and may, the most telling first."""
    if then.soft_text == now.soft_text:
        return ()
    names = sorted(_differing(then.soft, now.soft), key=_rank)
    told = [_change(name, then.soft, now.soft) for name in names]
    return tuple(dict.fromkeys(told))  # an engine argument stands there as given and as resolved


def may_be_a_cause(change: str) -> bool:
    """Whether a difference, in words, is more than what else the machine did."""
    return not change.startswith(_HOST)


def unchanged(then: Place, now: Place) -> tuple[str, ...]:
    """What everybody asks for and is the same: `vLLM 0.33.0`, `driver 580.95`."""
    same = [name for name in _TOLD_FIRST if name in then.soft and then.soft[name] == now.soft.get(name)]
    return tuple(f"{_label(name)} {_value(now.soft[name])}" for name in same)


def hard_changes(then: Place, now: Place) -> tuple[str, ...]:
    """Why values are not compared: what differs that has to match."""
    found: list[str] = []
    for name in _differing(then.hard, now.hard):
        if name == _WORKLOAD:
            told = list(workload_changes(then.workload, now.workload))
            found += told or ["the workload differs in its prompts, their lengths or their times"]
        else:
            found.append(_change(name, then.hard, now.hard))
    return tuple(found)


def _differing(then: Mapping[str, str], now: Mapping[str, str]) -> Iterator[str]:
    return (name for name in sorted({*then, *now}) if then.get(name) != now.get(name))


def _rank(name: str) -> tuple[int, str]:
    if name in _TOLD_FIRST:
        return _TOLD_FIRST.index(name), name
    return (len(_TOLD_FIRST) + (1 if name.startswith(_HOST) else 0)), name


def _change(name: str, then: Mapping[str, str], now: Mapping[str, str]) -> str:
    before, after = (one.get(name, "none") for one in (then, now))
    if any(_HASH.search(one) for one in (before, after)) or before[:_LONGEST] == after[:_LONGEST]:
        return f"{_label(name)} changed"
    return f"{_label(name)} {_value(before)} -> {_value(after)}"


def _label(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    prefix = next((one for one in _PREFIXES if name.startswith(one)), "")
    return name.removeprefix(prefix)


def _value(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."

"""Whether two environments are the same where they have to be, and where else they differ. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from pytest_vllmperf.records.samples import ADAPTER, MACHINE, MODEL_FILES, MODEL_NAME, Environment, Session
from pytest_vllmperf.records.variables import REMEDY, Variables

OTHER_NAME = "choose another --vllmperf-profile-name here, or 'off'"
"""What to do on a machine that is not of the hardware that a named profile holds."""

_MODEL_CHANGED = "model files changed"
_DIGEST = re.compile("[0-9a-f]{16}")
_TOLD_OTHERWISE = (MACHINE, MODEL_FILES)
"""Soft keys whose values mean nothing to a person."""


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The keys that differ, each in words."""
    keys = sorted(set(then) | set(now))
    return [_in_words(key, then.get(key), now.get(key)) for key in keys if then.get(key) != now.get(key)]


def _in_words(key: str, before: str | None, after: str | None) -> str:
    """How one key differs; of a digest only that it does, as nobody can read one."""
    if before and after and key.startswith(f"{ADAPTER} "):
        return f"{key} changed"
    if before and after and key == "model" and _DIGEST.fullmatch(before) and _DIGEST.fullmatch(after):
        return _MODEL_CHANGED
    return f"{key}: {before or 'none'} -> {after or 'none'}"


def hard_differences(sessions: Sequence[Session], now: Environment) -> list[str]:
    """Why a measurement cannot be compared with stored sessions, in words; empty where it can be.

    Args:
        sessions: what the baseline holds; at least one.
        now: where and what was measured.
    """
    return mixed(sessions) or environment_differences(sessions[-1].environment, now)


def environment_differences(then: Environment, now: Environment) -> list[str]:
    """The hard keys in which two environments differ, each in words: of a local model, which files changed."""
    found = differences(then.hard, now.hard)
    return [_model_in_words(then.soft, now.soft) if one == _MODEL_CHANGED else one for one in found]


def _model_in_words(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What a changed digest of a model means."""
    before, after = then.get(MODEL_NAME), now.get(MODEL_NAME)
    if before != after:
        return f"model: {before} -> {after}"
    old, new = (_files(one.get(MODEL_FILES)) for one in (then, now))
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)] if old and new else []
    return f"{_MODEL_CHANGED}: {', '.join(changed)}" if changed else _MODEL_CHANGED


def _files(text: str | None) -> dict[str, str]:
    """The files of a model as they were stored; empty where they were not."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def mixed(sessions: Sequence[Session]) -> list[str]:
    """The hard keys in which sessions of one baseline differ, in one text; a merge by hand may have joined them.

    Such sessions have no common level: judged by all of them, a slowdown would pass as noise.
    """
    hard = [session.environment.hard for session in sessions]
    found = {
        key: dict.fromkeys(one.get(key, "none") for one in hard) for key in sorted({key for one in hard for key in one})
    }
    told = [f"{key} ({' / '.join(values)})" for key, values in found.items() if len(values) > 1]
    return [f"its stored sessions differ in {', '.join(told)}"] if told else []


def changes(then: Environment, now: Environment) -> list[str]:
    """What differs and may, each in words: soft keys, and variables of the engine by name."""
    return [*_soft_differences(then.soft, now.soft), *_changed(then.variables, now.variables)]


def _soft_differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """As `differences`; that it is another machine is said in words."""
    before, after = then.get(MACHINE), now.get(MACHINE)
    plain = [{key: value for key, value in one.items() if key not in _TOLD_OTHERWISE} for one in (then, now)]
    another = [f"measured on another machine ({before} -> {after})"] if before and after and before != after else []
    return [*another, *differences(*plain)]


def strange_machine(sessions: Sequence[Session], now: Environment) -> list[str]:
    """That none of the stored sessions was recorded on this machine of a fleet, in words; empty where one was.

    Args:
        sessions: what the baseline holds.
        now: where it was measured.
    """
    own = now.soft.get(MACHINE)
    known = {found for session in sessions if (found := session.environment.soft.get(MACHINE))}
    if not own or not sessions or own in known:
        return []
    return [
        f"no stored session was recorded on this machine ({own}): a difference between machines counts as a change here"
    ]


def not_compared(then: Environment, now: Environment) -> list[str]:
    """The variables of the engine whose values cannot be compared, each in words."""
    before, after = then.variables, now.variables
    if before.key and before.key == after.key:
        return []
    why = "recorded with another key" if before.key else "recorded without a key"
    if not after.key:
        why = "no key is set here"
    names = sorted(set(before.hashes) & set(after.hashes))
    return [f"env {name} cannot be compared: {why} ({REMEDY})" for name in names]


def _changed(then: Variables, now: Variables) -> list[str]:
    """Names that only one side has, and values that differ by hashes of one key."""
    added = [f"env {name} added" for name in now.hashes if name not in then.hashes]
    removed = [f"env {name} removed" for name in then.hashes if name not in now.hashes]
    known = then.hashes if then.key and then.key == now.key else {}
    changed = [f"env {name} changed" for name in known if now.hashes.get(name, known[name]) != known[name]]
    return sorted([*added, *removed, *changed])

"""Whether two environments are the same where they have to be, and where else they differ. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.records.samples import Environment, Session
from pytest_vllmperf.records.variables import REMEDY, Variables


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The keys that differ, each in words."""
    keys = sorted(set(then) | set(now))
    return [
        f"{key}: {then.get(key, 'none')} -> {now.get(key, 'none')}" for key in keys if then.get(key) != now.get(key)
    ]


def hard_differences(sessions: Sequence[Session], now: Environment) -> list[str]:
    """Why a measurement cannot be compared with stored sessions, in words; empty where it can be.

    Args:
        sessions: what the baseline holds; at least one.
        now: where and what was measured.
    """
    return mixed(sessions) or differences(sessions[-1].environment.hard, now.hard)


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
    return [*differences(then.soft, now.soft), *_changed(then.variables, now.variables)]


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

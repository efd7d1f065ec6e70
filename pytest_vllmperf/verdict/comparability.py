"""Whether two environments are the same where they have to be. Pure."""

from __future__ import annotations


def differences(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The keys that differ, each in words."""
    keys = sorted(set(then) | set(now))
    return [
        f"{key}: {then.get(key, 'none')} -> {now.get(key, 'none')}" for key in keys if then.get(key) != now.get(key)
    ]

"""Why a measurement is void: the broken rule's name, and the reason in words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ConfigDict

RULES = (
    "quantization",
    "kv-cache",
    "failed",
    "length",
    "usage",
    "client",
    "preemptions",
    "prefix-hits",
    "compilation",
    "throttling",
    "clocks",
    "processes",
    "lost",
)
"""What can void a measurement; each can be allowed by name."""

TRANSIENT = frozenset({"client", "compilation", "throttling", "clocks", "processes"})
"""The rules whose cause may be gone when another engine starts a minute later."""


@dataclass(frozen=True)
class Problem:
    """One reason why a measurement is void.

    Attributes:
        rule: its name in `RULES`; a stored one may name a rule of an older release.
        words: the reason, with the evidence.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    rule: str
    words: str

    @property
    def transient(self) -> bool:
        """Whether another engine may well not meet it."""
        return self.rule in TRANSIENT

    def __str__(self) -> str:
        """The reason, and the name to allow it by."""
        return f"{self.words} [{self.rule}]"


def in_words(problems: Iterable[Problem]) -> str:
    """All of them on one line."""
    return "; ".join(map(str, problems))

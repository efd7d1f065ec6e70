"""What a verdict can say."""

from __future__ import annotations

from enum import Enum


class Status(Enum):
    """One word about a metric or a check; the order is from good to bad, and the worst metric speaks for a check."""

    OK = "OK"
    IMPROVED = "IMPROVED"
    NOISY = "NOISY"
    UNDECIDED = "UNDECIDED"
    NO_BASELINE = "NO_BASELINE"
    NOT_COMPARABLE = "NOT_COMPARABLE"
    INVALID = "INVALID"
    REGRESSED = "REGRESSED"

    @property
    def final(self) -> bool:
        """Whether no further engine is wanted."""
        return self is not Status.UNDECIDED


def worst(statuses: list[Status]) -> Status:
    """The worst of at least one."""
    order = list(Status)
    return max(statuses, key=order.index)

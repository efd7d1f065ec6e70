"""What every report comes to: one run of one benchmark, in our names and units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

UNKNOWN: Final = "unknown"
"""The device and the version of a report that does not tell them."""

_SAME: Final = 1e-9
"""Relative difference below which two figures are one: a report may have been written and read again in between."""


@dataclass(frozen=True)
class Report:
    """One run of one benchmark.

    Attributes:
        tool: that made it, such as `vllm bench serve`.
        model: as the tool calls it; empty where the report does not tell.
        completed: requests that were answered.
        failed: requests that were not.
        figures: by the names of our metrics; seconds, tokens and requests per second.
        asked: requests that were to be sent; None where the run was limited otherwise.
        ttfts: seconds, for each request in the order of the workload; empty where not told, or where one failed.
        work: what the report says of the work, without time stamps and paths.
        prompt_tokens: tokens of all prompts, for a report that says nothing else of its prompts.
        basis: what figures were made of, where that changes what they mean; else empty.
        recorded: when, as an ISO date and time; empty where not told.
        facts: versions and the like, which may differ.
    """

    tool: str
    model: str
    completed: int
    failed: int
    figures: Mapping[str, float]
    asked: int | None = None
    ttfts: Sequence[float] = ()
    work: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: int | None = None
    basis: str = ""
    recorded: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """Requests that ended, one way or the other."""
        return self.completed + self.failed


@dataclass(frozen=True)
class Format:
    """One kind of report.

    Attributes:
        name: on the command line.
        about: which tool, for a person.
        recognise: whether a JSON value of a file is of this kind, also one of a version that cannot be read.
        read: the runs that the JSON values of one file, or of one folder, hold. Raises `ReportError` for what is
            wrong in them, without the name of the file.
        files: names of the files that together are one run, where the tool writes several into a folder.
    """

    name: str
    about: str
    recognise: Callable[[Any], bool]
    read: Callable[[Sequence[Any]], list[Report]]
    files: tuple[str, ...] = ()


def same_figures(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two sets of figures are of one run: two runs never agree in every figure of a clock."""
    shared = set(one) & set(other)
    return bool(shared) and all(math.isclose(one[name], other[name], rel_tol=_SAME) for name in shared)

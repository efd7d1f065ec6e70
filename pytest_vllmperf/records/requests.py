"""Single requests as columns: of one engine start as a report keeps them, of a whole measurement as a test reads them.

Times are in seconds, rounded to a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pytest_vllmperf.records import frames

MOST: Final = 10_000
"""Requests of one check that the file of a run holds, all its engine starts together."""

Seconds = tuple[float | None, ...]
Whole = tuple[int | None, ...]
Value = TypeVar("Value")


class RequestColumns(BaseModel):
    """Requests of one engine start: in all columns a row is one request of one measured iteration.

    Rows are in the order of the iterations, and within one in the order of the workload. What a request does not have
    is None.

    Attributes:
        iteration: from 1.
        index: the request's place in the workload, from 0.
        started: seconds since the first request of its iteration was queued; over HTTP, since it was due. None for a
            request of an engine in process that did not finish.
        ttft: seconds, by the definition of the metric. None for a failed request, in all columns from here on.
        tpot: seconds, by the definition of the metric; None for a request of one token, or not streamed.
        e2e: seconds until the last token.
        prompt_tokens: as the engine or server counted them.
        output_tokens: that came back.
        errors: row -> why that request failed; rows are counted from 0.
        left_out: how many requests are not among the rows. The rows are then an even choice of all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    iteration: tuple[int, ...] = ()
    index: tuple[int, ...] = ()
    started: Seconds = ()
    ttft: Seconds = ()
    tpot: Seconds = ()
    e2e: Seconds = ()
    prompt_tokens: Whole = ()
    output_tokens: Whole = ()
    errors: dict[int, str] = Field(default_factory=dict)
    left_out: int = 0

    @model_validator(mode="after")
    def _of_one_length(self) -> RequestColumns:
        """Columns of a file that somebody has cut would be read as other requests."""
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns differ in length: {lengths}")
        if any(not 0 <= row < len(self) for row in self.errors):
            raise ValueError("an error belongs to no row")
        return self

    def __len__(self) -> int:
        """How many requests."""
        return len(self.iteration)


COLUMNS: Final = ("iteration", "index", "started", "ttft", "tpot", "e2e", "prompt_tokens", "output_tokens")
"""The fields of `RequestColumns` with one value for each request."""


@dataclass(frozen=True, repr=False)
class Requests:
    """Single requests of a measurement, as columns of one length; a row is one request of one measured iteration.

    Rows are in the order of engine starts, iterations, and the workload. What a request does not have is None.

    Attributes:
        engine: the engine start, from 1.
        iteration: from 1 for each engine start.
        request: its place in the workload, from 0.
        started: seconds since the first request of its iteration was queued; over HTTP, since it was due.
        ttft: seconds until the first token.
        tpot: seconds for each token after the first.
        e2e: seconds until the last token.
        prompt_tokens: as the engine or server counted them.
        output_tokens: that came back.
        error: why it failed; empty for a request that did not.
        left_out: how many requests are not among the rows: the file of a run keeps an even choice of many.
    """

    engine: tuple[int, ...]
    iteration: tuple[int, ...]
    request: tuple[int, ...]
    started: Seconds
    ttft: Seconds
    tpot: Seconds
    e2e: Seconds
    prompt_tokens: Whole
    output_tokens: Whole
    error: tuple[str, ...]
    left_out: int = 0

    @classmethod
    def of(cls, starts: Sequence[RequestColumns | None]) -> Requests:
        """The requests of all engine starts; one whose requests nobody knows has none.

        Args:
            starts: in order.
        """
        known = [(number, one) for number, one in enumerate(starts, 1) if one is not None]
        return cls(
            engine=tuple(number for number, one in known for _ in range(len(one))),
            iteration=_joined([one.iteration for _, one in known]),
            request=_joined([one.index for _, one in known]),
            started=_joined([one.started for _, one in known]),
            ttft=_joined([one.ttft for _, one in known]),
            tpot=_joined([one.tpot for _, one in known]),
            e2e=_joined([one.e2e for _, one in known]),
            prompt_tokens=_joined([one.prompt_tokens for _, one in known]),
            output_tokens=_joined([one.output_tokens for _, one in known]),
            error=tuple(one.errors.get(row, "") for _, one in known for row in range(len(one))),
            left_out=sum(one.left_out for _, one in known),
        )

    def __len__(self) -> int:
        """How many requests."""
        return len(self.engine)

    def __repr__(self) -> str:
        """Short, as a failed assertion shows it."""
        failed = sum(map(bool, self.error))
        more = f", {self.left_out:,} left out" if self.left_out else ""
        return f"<{len(self):,} requests of {len(set(self.engine))} engine starts, {failed:,} failed{more}>"

    def rows(self) -> Iterator[dict[str, frames.Cell]]:
        """Each request by the names of `frames.REQUEST_COLUMNS`; an error that there is not is None."""
        columns = [self.error if name == "error" else getattr(self, name) for name in frames.REQUEST_COLUMNS]
        for values in zip(*columns, strict=True):
            row = dict(zip(frames.REQUEST_COLUMNS, values, strict=True))
            yield {**row, "error": row["error"] or None}

    def frame(self, *, library: frames.Library | None = None) -> Any:
        """The requests as a DataFrame, one row for each.

        Args:
            library: `pandas` or `polars`; without it pandas where it is installed, else polars.

        Raises:
            SpecError: for another library, and where the library is not installed.
        """
        return frames.table(self.rows(), frames.REQUEST_COLUMNS, library)


def _joined(parts: Sequence[Sequence[Value]]) -> tuple[Value, ...]:
    return tuple(chain.from_iterable(parts))

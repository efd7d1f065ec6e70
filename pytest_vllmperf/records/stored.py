"""What a check was judged by, cut down to what a report shows of it: one value for each stored engine start."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from pytest_vllmperf.records.samples import Environment


class StoredSession(BaseModel):
    """One stored session.

    Attributes:
        recorded: when, as an ISO date and time.
        values: for each judged metric the median of each engine start, in the unit of the table. A start that did not
            measure the metric has no value.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recorded: str
    values: dict[str, list[float]] = Field(default_factory=dict)


class StoredBaseline(BaseModel):
    """The sessions that a check was judged by.

    Attributes:
        sessions: oldest first; at least one.
        environment: of the newest session.
        ttft_by_request: seconds; for each request of the workload the median over all stored engine starts. Empty where
            the starts do not have the same number of requests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sessions: list[StoredSession] = Field(min_length=1)
    environment: Environment
    ttft_by_request: list[float] = Field(default_factory=list)

"""What of an engine start only a report of the run shows."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from pytest_vllmperf.records.requests import RequestColumns
from pytest_vllmperf.records.timeline import EngineTimeline


class StartDetails(BaseModel):
    """What of one engine start only a report of the run shows, and no baseline stores.

    Attributes:
        requests: single requests; None where nobody knows them.
        timeline: the memory of its devices; None on a CPU, or where nobody knows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests: RequestColumns | None = None
    timeline: EngineTimeline | None = None

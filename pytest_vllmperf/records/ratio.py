"""How many times better one engine is than another."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Ratio(BaseModel):
    """How many times better one engine is than another in one metric, with the 99 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    ratio: float
    low: float
    high: float
    rounds: int

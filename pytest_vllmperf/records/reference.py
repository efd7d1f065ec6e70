"""`Reference`: what a measurement was made in turns with: the same engine on another interpreter's vLLM."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import ConfigDict

from pytest_vllmperf.records.samples import EngineSamples, Environment


@dataclass(frozen=True)
class Reference:
    """The other side of a measurement in turns.

    Attributes:
        name: its vLLM and its interpreter, for a person.
        way: how both shared the device, for a person.
        environment: where it was measured.
        engines: each was measured in turns with the new engine at the same place.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    way: str
    environment: Environment
    engines: tuple[EngineSamples, ...]

    def with_engines_of(self, other: Reference) -> Reference:
        """This reference, and more engines of it."""
        return replace(self, engines=self.engines + other.engines)

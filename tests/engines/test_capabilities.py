"""What engines can do beside running requests, and what is said of those that cannot."""

from __future__ import annotations

import pytest

from pytest_vllmperf.engines import offline, reference
from pytest_vllmperf.engines.base import CachesPrefixes, Generates, Renders, Scores, Sleeps, able
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec

ALL = (Sleeps, CachesPrefixes, Generates, Scores, Renders)
EVERY_CHILD = (Generates, Scores, Renders)


class Bare:
    """An engine with the core alone."""

    spec = EngineSpec.create("org/m", backend="serve")
    facts = SimulatedEngine(EngineSpec.create("m", backend="simulated")).facts
    pid = None
    run = SimulatedEngine.run

    def close(self) -> None: ...

    def kill(self) -> None: ...


@pytest.mark.parametrize(
    ("kind", "capabilities"),
    [
        (offline.PROGRAM.engine, ALL),
        (reference.PROGRAM.engine, EVERY_CHILD),
        (SimulatedEngine, EVERY_CHILD),
        (Bare, ()),
    ],
)
def test_who_can_do_what(kind: type, capabilities: tuple[type, ...]) -> None:
    engine = kind.__new__(kind)
    assert tuple(one for one in ALL if isinstance(engine, one)) == capabilities


def test_an_engine_that_is_able_is_used_as_it_is() -> None:
    engine = SimulatedEngine(EngineSpec.create("m", backend="simulated"))
    assert able(engine, Scores) is engine


@pytest.mark.parametrize(
    ("capability", "doing"),
    [
        (Sleeps, "sleep"),
        (CachesPrefixes, "reset its prefix cache"),
        (Generates, "return the tokens that it generates"),
        (Scores, "score given tokens"),
        (Renders, "render chats"),
    ],
)
def test_one_that_is_not_is_refused_in_a_line(capability: type, doing: str) -> None:
    with pytest.raises(SpecError) as caught:
        able(Bare(), capability)
    assert str(caught.value) == f"m: an engine of backend='serve' cannot {doing}"

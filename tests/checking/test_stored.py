"""Stored sessions, cut down to what a report shows."""

from __future__ import annotations

from pytest_vllmperf.checking.stored import stored_baseline
from pytest_vllmperf.records.samples import EngineSamples, Environment, Session


def engine(ttft: list[float], by_request: list[float], **once: float) -> EngineSamples:
    samples = {"ttft.p50": ttft} if ttft else {}
    return EngineSamples(discarded=0, iterations=3, samples=samples, once=once, ttft_by_request=by_request)


def session(number: int, *engines: EngineSamples) -> Session:
    environment = Environment(hard={"model": "m"}, soft={"driver": str(number)})
    return Session(recorded=f"2026-01-0{number}", environment=environment, engines=list(engines))


def test_one_median_for_each_engine_start() -> None:
    first = session(1, engine([1.0, 3.0, 2.0], [1.0, 5.0], load_time=7.0), engine([], []))
    second = session(2, engine([4.0, 4.0, 9.0], [3.0, 6.0]), engine([5.0, 5.0, 5.0], [8.0, 7.0]))
    found = stored_baseline([first, second], ["ttft.p50", "load_time"])
    assert found is not None
    assert [(one.recorded, one.values) for one in found.sessions] == [
        ("2026-01-01", {"ttft.p50": [2.0], "load_time": [7.0]}),
        ("2026-01-02", {"ttft.p50": [4.0, 5.0], "load_time": []}),
    ]
    assert found.environment.soft == {"driver": "2"}
    assert found.ttft_by_request == [3.0, 6.0]


def test_starts_with_other_numbers_of_requests_have_no_median_by_request() -> None:
    found = stored_baseline([session(1, engine([1.0], [1.0]), engine([1.0], [1.0, 2.0]))], ["ttft.p50"])
    assert found is not None
    assert found.ttft_by_request == []


def test_without_sessions_there_is_none() -> None:
    assert stored_baseline([], ["ttft.p50"]) is None

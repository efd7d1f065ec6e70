"""Checks in the field names of `vllm bench serve`, and back."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange import formats
from pytest_vllmperf.interchange.entries import Named, Wanted, entry
from pytest_vllmperf.interchange.export import lines, vllm_results
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from tests.interchange.material import read, stored

RATES = ("request_throughput", "output_throughput", "total_token_throughput")
POINTS = ("mean", "p50", "p90", "p95", "p99")
seconds = st.floats(1e-6, 1e4)
rates = st.floats(1e-3, 1e7)


@st.composite
def engines(draw: st.DrawFn) -> EngineSamples:
    """One start of an engine, of one iteration: its rates, and any of the distributions."""
    values = {name: draw(rates) for name in RATES}
    for name in draw(st.sets(st.sampled_from(["ttft", "tpot", "itl", "e2e"]))):
        values |= {f"{name}.{point}": draw(seconds) for point in POINTS}
    requests = draw(st.one_of(st.just([]), st.lists(seconds, min_size=4, max_size=4)))
    samples = {name: [value] for name, value in values.items()}
    return EngineSamples(discarded=0, iterations=1, samples=samples, ttft_by_request=requests)


def check_of(*starts: EngineSamples, soft: dict[str, str] | None = None) -> Entry:
    environment = Environment(hard={"backend": "offline", "model": "m"}, soft=soft or {})
    session = Session(recorded="2026-01-02T03:04:05+00:00", environment=environment, engines=list(starts))
    return Entry(engine="m", workload={"count": 4}, judging=Judging(gate=["e2e.p50"], margin=0.05), sessions=[session])


@settings(max_examples=150)
@given(starts=st.lists(engines(), min_size=1, max_size=4))
def test_what_was_exported_is_imported_with_the_same_figures(starts: list[EngineSamples]) -> None:
    text = lines(vllm_results("t", check_of(*starts)))
    reports = formats.read([text.encode()])
    assert len(reports) == len(starts)
    for start, report in zip(starts, reports, strict=True):
        assert report.figures == pytest.approx({name: values[0] for name, values in start.samples.items()}, rel=1e-12)
        assert list(report.ttfts) == start.ttft_by_request
        assert (report.completed, report.failed, report.model) == (4, 0, "m")
        assert report.recorded == "2026-01-02T03:04:05"


@pytest.mark.parametrize("client", ["detailed", "rust"])
def test_an_imported_result_comes_out_as_it_came_in(client: str) -> None:
    names = [f"vllm-{client}-{number}.json" for number in (1, 2, 3)]
    made = entry([Named(name, read(name)) for name in names], Wanted(None, 0.05, {}))
    results = vllm_results("t", made)
    for name, result in zip(names, results, strict=True):
        told = stored(name)
        for field in set(result) - {"date", "label", "tokenizer_id", "backend"}:
            is_text = isinstance(told[field], str)
            assert result[field] == (told[field] if is_text else pytest.approx(told[field], rel=1e-5)), field
    again = formats.read([lines(results).encode()])
    remade = entry([Named(str(at), report) for at, report in enumerate(again)], Wanted(None, 0.05, {}))
    assert remade.sessions[0].environment.hard == made.sessions[0].environment.hard
    for one, other in zip(made.sessions[0].engines, remade.sessions[0].engines, strict=True):
        assert {name: pytest.approx(values) for name, values in one.samples.items()} == other.samples
        assert one.ttft_by_request == other.ttft_by_request


def test_failures_come_out_again() -> None:
    start = EngineSamples(discarded=0, iterations=1, samples={"request_throughput": [2.0]})
    results = vllm_results("t", check_of(start, start, soft={"failed requests": "[0, 3]"}))
    assert [(one["completed"], one["failed"], one["duration"]) for one in results] == [(4, 0, 2.0), (1, 3, 0.5)]


def test_several_iterations_are_one_median() -> None:
    samples = {"request_throughput": [1.0, 2.0, 9.0], "ttft.p50": [0.1, 0.2, 0.3], "engine_steps": [7.0] * 3}
    start = EngineSamples(discarded=1, iterations=3, samples=samples, once={"load_time": 3.0})
    (result,) = vllm_results("t", check_of(start))
    assert result["request_throughput"] == 2.0
    assert result["median_ttft_ms"] == result["p50_ttft_ms"] == 200.0
    assert "mean_ttft_ms" not in result
    assert json.loads(lines([result])) == result


def test_without_a_throughput_there_is_no_result() -> None:
    start = EngineSamples(discarded=0, iterations=1, samples={"ttft.p50": [0.1]})
    with pytest.raises(ReportError, match="t: no request throughput was measured"):
        vllm_results("t", check_of(start))

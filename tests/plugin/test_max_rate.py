"""The highest rate that keeps a promise: found, recorded and judged; what makes none of it is one line."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.service import Service

# An answer takes 40 ms; four slots make 100 a second, and nothing queues that comes more slowly.
SCRIPT = {"ttft": 0.02, "gap": 0.005}
CAPACITY = 100

SEARCH = """
SOME = Workload.synthetic(requests={requests}, input_tokens=8, output_tokens=5)

@pytest.mark.vllmperf(warmup=0, allow="client")
def test_chat(vllmperf):
    given = {{"replicates": 1, "arrivals": "constant", "endpoint": endpoint(vllmperf), **{given}}}
    run = vllmperf.find_max_rate(SOME, **given)
    {then}
    vllmperf.check(run)
"""
# The last of 16 requests that come too fast wait longer than the 50 ms that the promise leaves.
PROMISE = {"e2e": 0.09, "goodput": 0.8}
TELL = "rate, = run.rates; print('found', rate.low <= rate.rate <= rate.high, len(rate.tried), run.max_rate)"


@pytest.fixture
def slots(service: Service) -> Service:
    """A server of four slots."""
    service.conduct(SCRIPT, slots=4)
    return service


def _searches(service: Service, requests: int = 16, then: str = "pass", **given: object) -> None:
    """Write a test that searches and checks."""
    service.module(SEARCH.format(requests=requests, given={**PROMISE, **given}, then=then))


@pytest.mark.long
def test_found_recorded_and_judged(slots: Service) -> None:
    """In one test, and its judgement in a worker: a search takes seconds on each of three measurements."""
    _searches(slots, then=TELL)
    result = slots.record("-rP")
    (told,) = [line.split()[1:] for line in result.outlines if line.startswith("found ")]
    assert told[0] == "True"
    assert int(told[1]) >= 5
    stored = slots.stored()
    found = [engine["samples"]["max_rate"] for engine in stored["sessions"][0]["engines"]]
    assert len(found) == 3
    assert all(CAPACITY / 3 < rate < CAPACITY * 3 for (rate,) in found)
    assert stored["judging"]["gate"] == ["max_rate"]
    assert set(stored["sessions"][0]["engines"][0]["samples"]) == {"max_rate"}
    _searches(slots, e2e=0.1)
    assert "NOT_COMPARABLE" in _fails(slots, "--vllmperf")
    _searches(slots)
    slots.conduct(SCRIPT, slots=2)
    result = slots.project.run("--vllmperf", "-n", "1")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED highest rate -*, margin * -> * req/s*", "test_chat  REGRESSED*"])


def test_found_and_asked_for_a_baseline(slots: Service, workers: list[str]) -> None:
    """One search: what is found is a metric that check looks for in the baseline."""
    _searches(slots, then=TELL)
    result = slots.project.run("--vllmperf", "-rf", *workers)
    result.assert_outcomes(failed=1)
    told = " ".join(" ".join(line.split()) for line in result.outlines)
    assert "NO_BASELINE test_chat: nothing is recorded for endpoint-gateway. Record it with:" in told
    found = re.search(r"found True (\d+) ([\d.]+)", told)
    assert found is not None
    assert CAPACITY / 3 < float(found[2]) < CAPACITY * 3


def test_a_promise_that_no_rate_keeps(slots: Service, workers: list[str]) -> None:
    _searches(slots, requests=6, e2e=0.001)
    told = _fails(slots, "--vllmperf-update", *workers)
    assert "test_chat.py::test_chat: no rate keeps the promise (" in told
    lowest = re.search(r"even ([\d.]+) requests/s does not", told)
    assert lowest is not None
    assert float(lowest[1]) > 1, "rates were tried at which requests are alone, and no lower rate helps them"


def test_a_promise_that_every_rate_keeps(slots: Service, workers: list[str]) -> None:
    _searches(slots, requests=6, e2e=30)
    told = _fails(slots, "--vllmperf-update", *workers)
    assert "test_chat.py::test_chat: every rate that was tried keeps the promise (" in told
    assert "send more requests at each rate, or make the promise stricter" in told


def test_a_server_that_answers_nothing(slots: Service, workers: list[str]) -> None:
    slots.conduct({"fault": "500"})
    _searches(slots, requests=6)
    told = _fails(slots, "--vllmperf-update", *workers)
    assert "scripted: no request finished, so that no rate can be searched for" in told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"goodput": 0.99, "replicates": 3}, "16 requests x 3 replicates cannot tell a goodput of 0.99: a single "
         "request would decide; send at least 34"),
        ({"replicates": 0}, "replicates=0 must be a whole number of at least 1"),
        ({"replicates": 1.5}, "replicates=1.5 must be a whole number of at least 1"),
        ({"arrivals": "ramp"}, "arrivals='ramp' is none of poisson, constant"),
        ({"e2e": None}, "a promise needs at least one of ttft=, tpot= and e2e=, in seconds"),
        ({"goodput": 2}, "goodput=2 must be a share above 0 and at most 1"),
    ],
)  # fmt: skip
def test_figures_that_are_none(slots: Service, given: dict[str, object], words: str) -> None:
    _searches(slots, **given)
    assert words in _fails(slots, "--vllmperf-update")
    assert slots.server.told()["requests"] == {}


def _fails(service: Service, *args: str) -> str:
    """Run a test that fails, and give what is said in one line; nothing more is recorded."""
    before = service.project.files()
    result = service.project.run(*args)
    result.assert_outcomes(failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.no_fnmatch_line("*fixture.py*")
    result.stdout.no_fnmatch_line("*Traceback*")
    assert service.project.files() == before
    return " ".join(line.strip() for line in result.outlines)

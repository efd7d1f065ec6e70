"""`vllmperf.overload` in a user's test: against a gateway that comes through, and one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import load
from tests.serving.gateways import gateway

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# Wide figures: the gateway's own times are fixed, this machine may be busy, and so may be its client.
TEST = """\
@pytest.mark.vllmperf(allow=["client"])
def test_gateway(vllmperf):
    seen = vllmperf.overload(
        WORK.at(concurrency=2), endpoint=vllmperf.endpoint({url!r}, model="scripted"),
        seconds=4, ttft=1.0, margin=0.4, recovery=2.5,
    )
    assert seen.shed > 0
    print("shed some:", seen.shed > 0, "recovered:", seen.recovery_seconds is not None)
"""


def test_a_gateway_that_comes_through_passes(project: Project, workers: list[str]) -> None:
    with gateway() as url:
        project.module(TEST.format(url=url))
        result = project.run("--vllmperf", "-rP", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["shed some: True recovered: True"])
    # It counts as an assertion on an engine: without one, an armed run fails.
    assert result.ret == pytest.ExitCode.OK
    assert "measured nothing" not in result.stdout.str()


def test_a_gateway_that_sheds_at_any_load_fails_in_one_line(project: Project, workers: list[str]) -> None:
    with gateway("--flaw", "jumpy") as url:
        project.module(TEST.format(url=url))
        result = project.run("--vllmperf", "--vllmperf-json=run.json", *workers)
    result.assert_outcomes(failed=1)
    (told,) = load(project.root / "run.json").tests[0].overloads
    assert told.problem.startswith("test_chat.py::test_gateway: overload: fails below capacity: ")
    assert told.seen.single.due == 10
    assert told.seen.single.shed > 0
    result.stdout.fnmatch_lines(
        [
            "test_chat.py::test_gateway: overload: fails below capacity: * of 10 requests sent one at a time "
            "were not answered (* shed with 429 or 503)"
        ]
    )
    assert "Traceback" not in result.stdout.str()


@pytest.mark.long
def test_a_breaker_that_stays_open_fails_with_all_that_does_not_hold(project: Project) -> None:
    with gateway("--flaw", "never-closes") as url:
        project.module(TEST.format(url=url))
        result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["test_chat.py::test_gateway: overload at *, 3 times the capacity: *does not recover within 2.5 s*"]
    )


def test_a_client_that_was_the_limit_makes_it_invalid(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.validity.client.limit", lambda served: "scripted lag")
    with gateway("--slots", "1", "--queue", "0") as url:
        project.module(TEST.format(url=url).replace('(allow=["client"])', "(iterations=1)"))
        result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["INVALID  test_chat.py::test_gateway: the load generator was the bottleneck in the closed loop: scripted lag"]
    )


SIMULATED = '@pytest.mark.vllm("sim", backend="simulated")\ndef test_chat(vllmperf):\n    {call}\n'


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("overload(8, ttft=1)", "overload() takes a Workload, not 8; make one with Workload.synthetic(...)"),
        ("overload(WORK)", "an SLO needs at least one of ttft=, tpot= and e2e=, in seconds"),
        ("overload(WORK, ttft=0)", "ttft=0 must be seconds above zero"),
        ("overload(WORK, ttft=1, factor=1)", "factor=1 must be a number above 1 (1 is the capacity itself)"),
        ("overload(WORK, ttft=1, factor='3')", "factor='3' must be a number above 1 (1 is the capacity itself)"),
        (
            "overload(WORK, ttft=1, factor=float('inf'))",
            "factor=inf must be a number above 1 (1 is the capacity itself)",
        ),
        ("overload(WORK, ttft=1, seconds=0)", "seconds=0 must be seconds above zero"),
        ("overload(WORK, ttft=1, seconds=True)", "seconds=True must be seconds above zero"),
        ("overload(WORK, ttft=1, recovery=-1)", "recovery=-1 must be seconds above zero"),
        ("overload(WORK, ttft=1, margin=1)", "margin=1 must be at least 0 and below 1"),
        ("overload(WORK, ttft=1, margin=float('nan'))", "margin=nan must be at least 0 and below 1"),
        (
            "overload(WORK, ttft=1, seconds=595)",
            "seconds=595 plus recovery=10 exceed the timeout of one operation, 600 s;*",
        ),
        ("overload(WORK, ttft=1, engine='sim')", "overload() takes engines made by vllmperf.engine(...), not 'sim'"),
        ("overload(WORK, ttft=1, endpoint=8)", "overload() takes engines made by vllmperf.engine(...), not 8"),
        (
            "overload(WORK, ttft=1, engine=vllmperf.engine('a'), endpoint=vllmperf.engine('a'))",
            "overload() takes engine= or endpoint=, not both",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(
    project: Project, starts: Sequence[str], call: str, line: str
) -> None:
    project.module(SIMULATED.format(call=f"vllmperf.{call}"))
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([line, "test_chat.py:8: SpecError"])
    assert "Traceback" not in result.stdout.str()
    assert not starts


def test_an_engine_in_process_is_refused(project: Project) -> None:
    project.module(SIMULATED.format(call="vllmperf.overload(WORK, ttft=1)"))
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["sim: an engine of backend='simulated' cannot be sent requests over HTTP"])

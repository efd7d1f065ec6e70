"""Limits beside the baseline's verdict: the worst of both speaks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_vllmperf.checking.limits import limited
from pytest_vllmperf.checking.policy import by_limits_alone
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.verdict.settings import VerdictSettings


def engines(count: int, level: float = 0.6) -> Sequence[EngineSamples]:
    values = {"ttft.p50": [level * 0.999, level, level * 1.001]}
    return [EngineSamples(discarded=0, iterations=3, samples=values) for _ in range(count)]


def found(
    status: Status, limit: float, count: int = 3, *, last: bool = False, reasons: tuple[str, ...] = ()
) -> Verdict:
    settings = VerdictSettings(("ttft.p50",), limits={"ttft.p50": limit})
    return limited(Verdict(status, reasons=reasons), (), engines(count), settings, last=last)


@pytest.mark.parametrize("status", [Status.OK, Status.IMPROVED, Status.NOISY, Status.DRIFTED, Status.REGRESSED])
def test_a_broken_limit_speaks_over_any_verdict_and_a_kept_one_over_none(status: Status) -> None:
    assert found(status, 0.5).status is Status.BEYOND_LIMIT
    assert found(status, 0.9).status is status
    assert [one.status for one in found(status, 0.9).limits] == [Status.OK]


def test_an_open_limit_keeps_a_check_open_until_the_last_look() -> None:
    assert found(Status.OK, 0.6).status is Status.UNDECIDED
    assert found(Status.OK, 0.6, last=True).status is Status.NOISY


def test_a_recording_looks_at_its_limits_once_it_is_whole_and_stays_one_at_the_limit() -> None:
    assert found(Status.RECORDED, 0.5).limits == ()
    assert found(Status.RECORDED, 0.5, last=True).status is Status.BEYOND_LIMIT
    at = found(Status.RECORDED, 0.6, last=True)
    assert (at.status, at.limits[0].status) == (Status.RECORDED, Status.NOISY)


def test_why_nothing_else_was_judged_is_not_lost() -> None:
    verdict = found(Status.NOT_COMPARABLE, 0.5, reasons=("gpu: H100 -> H200",))
    assert (verdict.status, verdict.reasons) == (
        Status.BEYOND_LIMIT,
        ("also NOT_COMPARABLE: gpu: H100 -> H200",),
    )
    assert found(Status.NO_BASELINE, 0.9).reasons == ()


def test_without_limits_nothing_changes() -> None:
    verdict = Verdict(Status.OK)
    assert limited(verdict, (), engines(1), VerdictSettings(("ttft.p50",)), last=True) is verdict


@pytest.mark.parametrize(
    ("words", "alone"), [(("limits",), True), (("limits", "ttft.p50"), False), (("auto",), False), ((), False)]
)
def test_which_checks_limits_alone_decide(words: tuple[str, ...], alone: bool) -> None:
    assert by_limits_alone("test_a", words, {"ttft.p50": 1.0}) is alone


def test_limits_alone_without_a_limit_are_refused() -> None:
    with pytest.raises(SpecError, match="test_a: the gate names 'limits', and the test has none"):
        by_limits_alone("test_a", ("limits",), {})

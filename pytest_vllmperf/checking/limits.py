"""Absolute limits beside what the baseline says of a check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import LimitVerdict, Status, Verdict, worst
from pytest_vllmperf.verdict.limits import judge_limits
from pytest_vllmperf.verdict.settings import VerdictSettings


def limited(
    verdict: Verdict,
    previous: Sequence[LimitVerdict],
    engines: Sequence[EngineSamples],
    settings: VerdictSettings,
    *,
    last: bool,
) -> Verdict:
    """A verdict with its limits; the worst of all speaks for the check.

    What is recorded stays RECORDED unless a limit is broken, or was not measured: a level that a limit cannot be told
    from is worth recording. While a recording still lacks engines, its limits are not looked at.

    Args:
        verdict: what the baseline says.
        previous: the limits after fewer engines.
        engines: what was measured.
        settings: with the limits.
        last: no further engine will come.
    """
    if not settings.limits or (verdict.status is Status.RECORDED and not last):
        return verdict
    found = judge_limits(settings, engines, previous, last_look=last)
    statuses = [one.status for one in found]
    if verdict.status is Status.RECORDED:
        statuses = [status for status in statuses if status in (Status.INVALID, Status.BEYOND_LIMIT)]
    status = worst([verdict.status, *statuses])
    reasons = verdict.reasons
    if status is not verdict.status and verdict.status in (Status.NO_BASELINE, Status.NOT_COMPARABLE):
        reasons = (": ".join(("also " + verdict.status.value, *reasons)),)
    return replace(verdict, status=status, reasons=reasons, limits=found)

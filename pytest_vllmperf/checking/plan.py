"""What is to become of a check, decided once, when `check()` is called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pytest_vllmperf.checking import policy
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import resolve_gate
from pytest_vllmperf.records.samples import Entry, Session
from pytest_vllmperf.records.settings import CheckSettings, Settings, Update
from pytest_vllmperf.verdict import VerdictSettings
from pytest_vllmperf.verdict.check import is_thin
from pytest_vllmperf.verdict.comparability import differences
from pytest_vllmperf.verdict.rule import MIN_ENGINES


class Purpose(Enum):
    """Whether a check records a baseline, or is judged by one."""

    RECORD = "record"
    JUDGE = "judge"


@dataclass(frozen=True)
class Site:
    """Where a check stands.

    Attributes:
        module: the test module's path, as in its node id.
        name: the check's name in the module's baseline file.
        command: records the test's baseline, from where pytest was started.
        line: the user's file and line that called `check()`.
    """

    module: str
    name: str
    command: str
    line: tuple[str, int]


@dataclass(frozen=True)
class Plan:
    """What is to become of a check.

    Attributes:
        site: where it stands.
        purpose: RECORD or JUDGE; nothing asks again.
        baseline: the stored sessions; empty without one.
        settings: gate, margins and error budget.
        differences: hard keys in which the environments differ, in words.
        engines: engine starts before the first look.
        append: whether a session that agrees with its baseline joins it.
    """

    site: Site
    purpose: Purpose
    baseline: tuple[Session, ...]
    settings: VerdictSettings
    differences: tuple[str, ...] = ()
    engines: int = 1
    append: bool = False


def check_recording(settings: Settings) -> None:
    """See that a run that records may start engines enough.

    Raises:
        SpecError: for fewer than a baseline needs.
    """
    if settings.update is not Update.NONE and settings.engines < MIN_ENGINES:
        raise SpecError(
            f"--vllmperf-engines (vllmperf_engines) is {settings.engines}: a baseline needs at least {MIN_ENGINES} "
            "engine starts"
        )


def plan(
    site: Site,
    run: Measurement,
    stored: Entry | None,
    own: CheckSettings,
    settings: Settings,
    gated_in_run: Callable[[str, str], int],
) -> Plan:
    """Decide what becomes of a check.

    Args:
        site: where it stands.
        run: what was measured.
        stored: its baseline; None without one.
        own: its gate and margins; nothing in it is None.
        settings: the run's.
        gated_in_run: how many metrics the whole run gates, for a profile and a device.

    Raises:
        SpecError: for a gate that can never be judged on this measurement.
    """
    words = own.gate or ()
    if not run.problems and (reasons := policy.unjudgeable(words, run.engines, run.device)):
        raise SpecError(f"{site.name}: the gate cannot be judged: {'; '.join(reasons)}")
    sessions = tuple(stored.sessions) if stored is not None else ()
    new = settings.update is Update.NEW and is_thin(sessions)
    purpose = Purpose.RECORD if settings.update is Update.ALL or new else Purpose.JUDGE
    wanted = settings.engines if purpose is Purpose.RECORD or settings.append else 1
    gate = resolve_gate(words, run.device)
    gated = max(policy.gated_metrics([gate]), gated_in_run(run.profile, run.device))
    return Plan(
        site=site,
        purpose=purpose,
        baseline=sessions,
        settings=_judging(gate, own, policy.a_fail(gated), max(settings.max_engines, wanted)),
        differences=tuple(differences(sessions[-1].environment.hard, run.environment.hard)) if sessions else (),
        engines=wanted,
        append=settings.append and purpose is Purpose.JUDGE,
    )


def _judging(gate: tuple[str, ...], own: CheckSettings, a_fail: float, max_engines: int) -> VerdictSettings:
    return VerdictSettings(gate, own.margin or 0.0, own.margins, a_fail=a_fail, max_engines=max_engines)

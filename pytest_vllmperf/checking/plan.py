"""What is to become of a check, decided once, when `check()` is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pytest_vllmperf.checking import custom, policy
from pytest_vllmperf.checking.device_pass import unjudged, why_none
from pytest_vllmperf.checking.elsewhere import only_elsewhere
from pytest_vllmperf.checking.loosened import loosened
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab.environment import hardware
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.gates import LIMITS
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.records.samples import Entry, Environment, Session
from pytest_vllmperf.records.settings import CheckSettings, Settings, Update
from pytest_vllmperf.verdict import VerdictSettings
from pytest_vllmperf.verdict.check import is_thin
from pytest_vllmperf.verdict.comparability import OTHER_NAME, environment_differences, hard_differences
from pytest_vllmperf.verdict.limits import in_force
from pytest_vllmperf.verdict.priors import Priors
from pytest_vllmperf.verdict.rule import MIN_ENGINES
from pytest_vllmperf.verdict.workload_changes import with_workload_in_words


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
class InRun:
    """What only the whole run knows.

    Attributes:
        gated: how many metrics it gates: for a check that asks, a profile, a device, and the check's gate.
        priors: the hyperparameters of a profile, for the hard keys of a measurement.
        profiles: those that hold a check.
    """

    gated: Callable[[CheckId, str, str, Sequence[str]], int]
    priors: Callable[[str, Mapping[str, str]], Priors]
    profiles: Callable[[CheckId], Sequence[str]]


@dataclass(frozen=True)
class Plan:
    """What is to become of a check.

    Attributes:
        site: where it stands.
        purpose: RECORD or JUDGE; nothing asks again.
        baseline: the stored sessions; empty without one.
        settings: gate, margins and error budget.
        differences: hard keys in which the environment differs from that of what it is judged by, in words.
        engines: engine starts before the first look.
        append: whether a session that agrees with its baseline joins it.
        notes: what of the gate is not judged, what is judged less strictly than its baseline was, and that a run that
            records keeps nothing of the check, in words.
        missing: which other hardware has a baseline, in words; empty where none has, or where this one has.
    """

    site: Site
    purpose: Purpose
    baseline: tuple[Session, ...]
    settings: VerdictSettings
    differences: tuple[str, ...] = ()
    engines: int = 1
    append: bool = False
    notes: tuple[str, ...] = ()
    missing: str = ""


def check_recording(settings: Settings) -> None:
    """See that a run that records may start engines enough.

    Raises:
        SpecError: for fewer than a baseline needs.
    """
    if settings.update is not Update.NONE and settings.engines < MIN_ENGINES:
        raise SpecError(
            f"--vllmperf-engines (vllmperf_engines) is {settings.engines}: a baseline needs at least "
            f"{MIN_ENGINES} engine starts"
        )


def plan(
    site: Site,
    run: Measurement,
    stored: Entry | None,
    own: CheckSettings,
    settings: Settings,
    in_run: InRun,
) -> Plan:
    """Decide what becomes of a check.

    Args:
        site: where it stands.
        run: what was measured.
        stored: its baseline; None without one.
        own: its gate and margins; nothing in it is None.
        settings: the run's.
        in_run: what the whole run knows.

    Raises:
        SpecError: for a gate that can never be judged on this measurement, or of which nothing is judged in this run.
        BaselineError: for a baseline of the profile that cannot be read.
    """
    own = custom.resolved(custom.Where.of_check(site.name), own, custom.recorded_keys(run.engines))
    words = own.gate or ()
    limits = in_force(own.limits)
    sessions = tuple(stored.sessions) if stored is not None else ()
    of_others = _of_other_hardware(site, run, stored, settings.profile_name)
    alone = policy.by_limits_alone(site.name, words, limits)
    purpose = _purpose(run, sessions, settings, alone=alone)
    records = purpose is Purpose.RECORD
    if records and of_others:
        raise SpecError(f"{of_others}, which recording here would overwrite; {OTHER_NAME}")
    judged_by = stored if not records and run.reference is None else None
    appends = settings.append and not records and not alone and run.reference is None
    own_metrics = custom.custom_of(run, judged_by, limits, appends=appends, records=records, alone=alone)
    gate = _gate(site.name, words, run, judged_by, own_metrics, records=records)
    if not gate.metrics and not limits and gate.notes:
        raise SpecError(f"{site.name}: nothing of its gate can be judged; gate another metric too. {gate.notes[0]}")
    wanted = settings.engines if records or appends else 1
    check = CheckId.parse(site.module, site.name)
    gated = max(policy.gated_metrics([gate.metrics]), in_run.gated(check, run.profile, run.device, gate.metrics))
    judging = VerdictSettings(
        gate.metrics, own.margin or 0.0, own.margins, policy.a_fail(gated), max(settings.max_engines, wanted),
        priors=in_run.priors(run.profile, run.environment.hard), limits=limits,
    )  # fmt: skip
    return Plan(
        site=site,
        purpose=purpose,
        baseline=sessions,
        settings=judging,
        differences=_differences(run, stored, own_metrics, of_others),
        engines=wanted,
        append=appends,
        notes=(*_not_recorded(site, settings, alone=alone), *gate.notes, *loosened(judging, judged_by)),
        missing="" if stored or records or run.reference or alone else _missing(run, in_run.profiles(check)),
    )


@dataclass(frozen=True)
class _Gate:
    """What of its gate a check is judged by.

    Attributes:
        metrics: their names.
        notes: what of the gate is not judged, in words.
    """

    metrics: tuple[str, ...]
    notes: tuple[str, ...]


def _gate(
    name: str,
    words: Sequence[str],
    run: Measurement,
    judged_by: Entry | None,
    own_metrics: custom.Custom,
    *,
    records: bool,
) -> _Gate:
    """Resolve the words of a gate to metrics, without those that are missing and may be.

    Args:
        name: the check's.
        words: of its gate.
        run: what was measured.
        judged_by: the baseline; None where it is recorded, or judged by a reference.
        own_metrics: the user's own metrics.
        records: whether a baseline is recorded.

    Raises:
        SpecError: for a sound measurement that the gate cannot be judged on.
    """
    of_pass = unjudged(words, run, judged_by, records=records)
    lost = [*of_pass.lost, *custom.lost(own_metrics)]
    if not run.problems and (reasons := [*_unjudgeable(words, run, judged_by), *lost]):
        raise SpecError(f"{name}: the gate cannot be judged: {'; '.join(reasons)}")
    # A void measurement is INVALID, whatever its gate.
    dropped = () if run.problems else (*of_pass.dropped, *own_metrics.dropped)
    metrics = tuple(metric for metric in policy.gate(words, run) if metric not in dropped)
    gone = policy.no_longer_gated((*metrics, *of_pass.noted, *own_metrics.stored), judged_by)
    return _Gate(metrics, (*of_pass.notes, *own_metrics.notes, *gone))


def _purpose(run: Measurement, stored: Sequence[Session], settings: Settings, *, alone: bool) -> Purpose:
    """RECORD where the run's update mode asks for it; not for a check in turns, or one that has limits alone."""
    asked = settings.update is Update.ALL or (settings.update is Update.NEW and is_thin(stored))
    return Purpose.RECORD if asked and run.reference is None and not alone else Purpose.JUDGE


def _not_recorded(site: Site, settings: Settings, *, alone: bool) -> tuple[str, ...]:
    """That a run that records keeps nothing of a check that limits alone decide: it passes as if it were recorded."""
    if not alone or not (settings.append or settings.update is not Update.NONE):
        return ()
    return (f"{site.name}: nothing is recorded, as its gate is {LIMITS!r} alone: it is judged without a baseline",)


def _missing(run: Measurement, profiles: Sequence[str]) -> str:
    """That nothing is recorded for this hardware, where other hardware has a baseline."""
    elsewhere = only_elsewhere(profiles, run.made_with.target if isinstance(run.made_with, Take) else None)
    return elsewhere and f"nothing is recorded for {run.profile}{elsewhere}"


def _of_other_hardware(site: Site, run: Measurement, stored: Entry | None, profile_name: str) -> str:
    """That a named profile holds sessions of another kind of hardware, in words; empty where not."""
    if not profile_name or stored is None or run.reference is not None:
        return ""
    own = _machine_keys(run.environment)
    if all(_machine_keys(session.environment) == own for session in stored.sessions):
        return ""
    return f"the profile {profile_name!r} holds {site.name} of other hardware"


def _machine_keys(environment: Environment) -> dict[str, str]:
    """The hard keys of the machine; not where the figures are taken, which is the test's own choice."""
    return {key: value for key, value in hardware(environment.hard).items() if key != "device"}


def _unjudgeable(words: Sequence[str], run: Measurement, stored: Entry | None) -> list[str]:
    """Why a gate cannot be judged on what was measured, or by what is stored."""
    reasons = policy.unjudgeable(words, run.engines, run.device, why_none(run))
    if stored is not None:
        reasons += policy.no_longer_measured(words, stored.judging.gate, run.engines, run.device)
    return reasons


def _differences(run: Measurement, stored: Entry | None, own_metrics: custom.Custom, of_others: str) -> tuple[str, ...]:
    """Why a measurement cannot be compared with what it is judged by: hard keys, own metrics, a named profile."""
    other_machine = [f"{of_others}; {OTHER_NAME}"] if of_others else []
    return (*_hard_differences(run, stored), *custom.declared_differently(own_metrics), *other_machine)


def _hard_differences(run: Measurement, stored: Entry | None) -> tuple[str, ...]:
    """Hard keys in which a measurement differs from its reference, or without one from its stored sessions."""
    if run.reference is not None:
        return tuple(environment_differences(run.reference.environment, run.environment))
    if stored is None or not stored.sessions:
        return ()
    return with_workload_in_words(hard_differences(stored.sessions, run.environment), stored.workload, run.workload)

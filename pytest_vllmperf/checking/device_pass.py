"""Gated metrics of the device pass that are not judged: why, and whether that is told or fails the test. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_vllmperf.lab.profiling import OFF
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.gates import AUTO
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS, resolve_gate
from pytest_vllmperf.records.samples import EngineSamples, Entry

NOT_MADE = "no device pass was made"


@dataclass(frozen=True)
class Unjudged:
    """What of a gate is not judged, although its words stand for it.

    Attributes:
        dropped: names of metrics that were measured now, and have nothing to be judged by.
        notes: what is reported, a line each.
        noted: names of the metrics that the notes are about.
        lost: what fails the test, in words: metrics that the other side has, and this run has lost.
    """

    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    noted: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def why_none(run: Measurement) -> str:
    """Why the engines of a measurement had no device pass, in words; empty where one of them had one."""
    if any(engine.passes for engine in run.engines):
        return ""
    return first_reason(run.engines) or NOT_MADE


def first_reason(engines: Sequence[EngineSamples]) -> str:
    """Why the first of these engines without a device pass has none; empty where nobody said so."""
    return next((engine.no_device_pass for engine in engines if engine.no_device_pass), "")


def engines_without(gate: Sequence[str], engines: Sequence[EngineSamples]) -> tuple[str, ...]:
    """Lines about engines that a gated metric of the device pass was not measured on, unlike on others."""
    found = []
    for metric in (METRICS[name] for name in gate):
        lacking = [engine for engine in engines if not engine.values(metric.name)]
        if metric.of_pass is not None and lacking and (reason := first_reason(lacking)):
            found.append(f"{metric.label} was not measured on {len(lacking)} of {len(engines)} engine starts: {reason}")
    return tuple(found)


def unjudged(words: Sequence[str], run: Measurement, stored: Entry | None, *, records: bool) -> Unjudged:
    """The metrics of the device pass that a gate's words stand for, and that are not judged.

    What the gate names in words of its own, by its name or by its set, is never left out: it is refused, or INVALID.

    Args:
        words: the gate as the user wrote it.
        run: what was measured.
        stored: the baseline; None without one, and where a reference decides.
        records: whether it becomes a baseline.
    """
    if run.rates:  # a search for the highest rate is gated by that alone
        return Unjudged()
    automatic = [name for name in _of_pass(words, run.device) if name not in _named(words, run.device)]
    found = {name: _one(METRICS[name], run, stored, records=records) for name in automatic}
    return Unjudged(
        dropped=tuple(name for one in found.values() for name in one.dropped),
        notes=tuple(note for one in found.values() for note in one.notes),
        noted=tuple(name for name, one in found.items() if one.notes),
        lost=tuple(reason for one in found.values() for reason in one.lost),
    )


def _of_pass(words: Sequence[str], device: str) -> Iterator[str]:
    """Names of the metrics of the device pass that words stand for."""
    return (name for name in resolve_gate(tuple(words), device, METRICS) if METRICS[name].of_pass is not None)


def _named(words: Sequence[str], device: str) -> frozenset[str]:
    return frozenset(_of_pass([word for word in words if word != AUTO], device))


def _one(metric: Metric, run: Measurement, stored: Entry | None, *, records: bool) -> Unjudged:
    now, why = _any(run.engines, metric), why_none(run)
    if records:
        return Unjudged() if now else Unjudged(notes=(f"{metric.label} not measured: {why}",))
    if run.reference is not None:
        return _by_reference(metric, run, run.reference.engines, why)
    if stored is None:
        return Unjudged()
    before = any(_any(session.engines, metric) for session in stored.sessions)
    if now and not before:
        if metric.name in stored.judging.gate:  # a damaged file: INVALID, as for any other metric that one side lacks
            return Unjudged()
        remedy = "add sessions (--vllmperf-append), or record it again (--vllmperf-update)"
        return Unjudged((metric.name,), (f"{metric.label} is not judged: its baseline has no value for it; {remedy}",))
    if now or not before:
        return Unjudged()
    if why == OFF:
        return Unjudged(notes=(f"{metric.label} is not judged: {why}",))
    remedy = "Fix the cause, or leave GPU time out: --vllmperf-device-pass=off"
    return Unjudged(lost=(f"the baseline holds {metric.label}, which this run did not measure: {why}. {remedy}",))


def _by_reference(metric: Metric, run: Measurement, reference: Sequence[EngineSamples], why: str) -> Unjudged:
    now, before = _any(run.engines, metric), _any(reference, metric)
    if now and not before:
        reason = first_reason(reference) or NOT_MADE
        return Unjudged(
            (metric.name,), (f"{metric.label} is not judged: it was not measured on the reference: {reason}",)
        )
    if before and not now:
        return Unjudged(lost=(f"{metric.label} was measured on the reference only: {why}",))
    return Unjudged() if now or why == NOT_MADE else Unjudged(notes=(f"{metric.label} is not judged: {why}",))


def _any(engines: Sequence[EngineSamples], metric: Metric) -> bool:
    return any(engine.values(metric.name) for engine in engines)

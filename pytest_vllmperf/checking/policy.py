"""The one policy of gates and error budget, for the fixture and the command line. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.gates import LIMITS
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import GATES, METRICS, resolve_gate
from pytest_vllmperf.records.samples import EngineSamples, Entry
from pytest_vllmperf.verdict import family_a_fail


def gated_metrics(gates: Iterable[Sequence[str]]) -> int:
    """How many of these gated metrics noise can move; an exact one takes nothing of the error budget.

    Args:
        gates: for each check the names of its gated metrics.
    """
    return sum(METRICS[name].noisy for gate in gates for name in gate)


def a_fail(metrics: int) -> float:
    """The chance of a false REGRESSED that each of so many gated metrics of a run may have; see `family_a_fail`."""
    return family_a_fail(max(1, metrics))


def counted_engines(gate: Sequence[str], engines: Sequence[EngineSamples]) -> int:
    """How many engine starts count for every gated metric: a load time, for one, counts on warm starts alone.

    Metrics that no engine measured are left out; `unjudgeable` names them. So are those that a run has once: further
    engine starts would not add to them.
    """
    measured = [name for name in gate if any(engine.values(name) for engine in engines) and not METRICS[name].once]
    counts = [sum(bool(METRICS[name].counted(engine)) for engine in engines) for name in measured]
    return min(counts, default=len(engines))


def seldom_measured(gate: Sequence[str], engines: Sequence[EngineSamples]) -> tuple[str, ...]:
    """Lines about gated metrics that some of these engines measured and others did not."""
    found = []
    for name in gate:
        having = sum(bool(engine.values(name)) for engine in engines)
        if 0 < having < len(engines) and not METRICS[name].once:
            found.append(f"{METRICS[name].label} was measured on {having} of {len(engines)} engine starts")
    return tuple(found)


def measured(engines: Sequence[EngineSamples]) -> frozenset[str]:
    """The names of all metrics that any of these engines measured."""
    return frozenset(name for engine in engines for name in engine.measured)


def gate(words: Sequence[str], run: Measurement) -> tuple[str, ...]:
    """The metrics that decide a check of this measurement.

    A search for the highest rate has a metric of its own alone: the others of a set would only share its error budget.

    Args:
        words: as the user wrote them.
        run: what is checked.
    """
    found = measured(run.engines)
    names = resolve_gate(tuple(words), run.device, found)
    return tuple(name for name in names if name in found) if run.rates else names


def by_limits_alone(where: str, words: Sequence[str], limits: Mapping[str, float]) -> bool:
    """Whether a check is judged by its absolute limits alone, and so needs no baseline.

    Args:
        where: the check's name.
        words: its gate, as the user wrote it.
        limits: by metric.

    Raises:
        SpecError: where they are asked for, and there are none: nothing would be judged.
    """
    if LIMITS in words and not limits:
        raise SpecError(f'{where}: the gate names {LIMITS!r}, and the test has none; add limits={{"ttft.p99": 0.5}}')
    return bool(words) and all(word == LIMITS for word in words)


def unjudgeable(words: Sequence[str], engines: Sequence[EngineSamples], device: str, no_pass: str = "") -> list[str]:
    """Why a gate can never be judged, each reason in words with what to do; empty for a sound gate.

    Args:
        words: the gate as the user wrote it: names of metrics, or of sets. Of a set one measured metric is enough.
        engines: what was measured.
        device: the engine's device, `cuda`, `cpu` or `simulated`.
        no_pass: why the engines had no device pass, in words.
    """
    reasons = [reason for word in words for reason in _not_measured(word, engines, device, no_pass)]
    for name in resolve_gate(tuple(words), device, measured(engines)):
        if any(engine.values(name) for engine in engines):
            reasons += _cannot_decide(METRICS[name], engines)
    return reasons


def no_longer_measured(
    words: Sequence[str], stored: Sequence[str], engines: Sequence[EngineSamples], device: str
) -> list[str]:
    """Metrics that a baseline's gate holds and this run did not measure, although the test's gate names their set.

    Of the device pass see `device_pass.unjudged`.

    Args:
        words: the gate as the user wrote it.
        stored: names of the metrics in the baseline's gate.
        engines: what was measured now.
        device: see `unjudgeable`.
    """
    wanted, found = resolve_gate(tuple(words), device, stored), measured(engines)
    lost = [name for name in stored if name in wanted and _asked_for(METRICS[name]) and name not in found]
    return [
        f"the baseline gates {METRICS[name].label}, which this run did not measure. Measure it in the test "
        f"again, or record a new baseline: --vllmperf-update"
        for name in lost
    ]


def _asked_for(metric: Metric) -> bool:
    """Whether a test has to ask for it to be measured; the device pass is made unasked. Of custom ones see `custom`."""
    return metric.if_measured and metric.of_pass is None and not metric.custom


def no_longer_gated(known: Sequence[str], stored: Entry | None) -> tuple[str, ...]:
    """A line about metrics that the baseline's gate holds, and that of the test does not: a slowdown of theirs passes.

    Args:
        known: names of the metrics that decide now, and of those that other lines are about.
        stored: the baseline; None without one.
    """
    before = () if stored is None else stored.judging.gate
    left = [METRICS[name].label for name in before if name not in known]
    return (f"no longer gated by the test, but gated by its baseline: {', '.join(left)}",) if left else ()


def _not_measured(word: str, engines: Sequence[EngineSamples], device: str, no_pass: str) -> Iterator[str]:
    names = resolve_gate((word,), device, METRICS)
    found = measured(engines)
    if word == LIMITS or found & set(names):
        return
    always = [name for name in names if not METRICS[name].if_measured]
    labels = ", ".join(METRICS[name].label for name in always or names)
    of_pass = all(METRICS[name].of_pass is not None for name in names)
    why = f": {no_pass}" if of_pass and no_pass else ""
    sets = [one for one in GATES if found & set(resolve_gate((one,), device, METRICS))]
    there = f"; measured sets: {', '.join(sets)}" if word in GATES else ""
    yield f"{labels} was not measured on {device}{why}. Leave {word} out of the gate{there}"


def _cannot_decide(metric: Metric, engines: Sequence[EngineSamples]) -> Iterator[str]:
    if not metric.decides:
        yield f"{metric.label} cannot be gated, because it depends on caches. Gate {metric.name.partition('.')[0]}"
    elif reason := metric.too_few(engines):
        yield reason
    elif metric.noisy and min(value for engine in engines for value in engine.values(metric.name)) <= 0:
        yield (
            f"{metric.label} is zero in an iteration and cannot be judged by a ratio. Find out why, or leave it "
            f"out of the gate"
        )

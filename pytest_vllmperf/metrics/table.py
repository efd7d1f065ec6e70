"""All metrics in one table, collected from their declarations, and what the words of a gate stand for."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pytest_vllmperf.errors import SpecError, did_you_mean
from pytest_vllmperf.metrics.counters import CounterMetrics
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.device_pass import DevicePassMetrics
from pytest_vllmperf.metrics.devices import DeviceMetrics
from pytest_vllmperf.metrics.distribution import DistributionMetrics
from pytest_vllmperf.metrics.gates import AUTO, LIMITS, Gate, automatic, gate_words
from pytest_vllmperf.metrics.host import HostMetrics
from pytest_vllmperf.metrics.memory import MemoryMetrics
from pytest_vllmperf.metrics.process import ProcessMetrics
from pytest_vllmperf.metrics.served import ServedMetrics
from pytest_vllmperf.metrics.serving import ServingMetrics
from pytest_vllmperf.metrics.speculation import SpeculationMetrics


class AllMetrics(
    ServingMetrics,
    DevicePassMetrics,
    ServedMetrics,
    SpeculationMetrics,
    CounterMetrics,
    MemoryMetrics,
    DeviceMetrics,
    HostMetrics,
    ProcessMetrics,
):
    """Every metric as an attribute; the order of the table is that of these classes, and of what they declare."""


DECLARATIONS: Final[tuple[Metric | DistributionMetrics, ...]] = tuple(
    declared
    for subject in AllMetrics.__bases__
    for declared in vars(subject).values()
    if isinstance(declared, (Metric, DistributionMetrics))
)
METRICS: Final[dict[str, Metric]] = {metric.name: metric for one in DECLARATIONS for metric in one.metrics}
GATES: Final[dict[str, tuple[str, ...]]] = {
    gate.word: tuple(metric.name for metric in METRICS.values() if gate in metric.gates and not metric.if_measured)
    for gate in Gate
}
IF_MEASURED: Final[dict[str, tuple[str, ...]]] = {
    gate.word: tuple(metric.name for metric in METRICS.values() if gate in metric.gates and metric.if_measured)
    for gate in Gate
}
CLOCK_METRICS: Final = GATES[Gate.CLOCK.word]


def unknown(name: str) -> str:
    """What is wrong with a name that no metric has, with the nearest one that some metric has."""
    return f"no metric is called {name!r}{did_you_mean(name, METRICS)}"


def resolve_gate(words: tuple[str, ...], device: str, measured: Collection[str] = ()) -> tuple[str, ...]:
    """The metrics that decide: names of metrics or of the sets of `GATES`, and `auto`.

    `auto` is the clock on a GPU, and the GPU's own time where it was measured. On a CPU, where wall time depends on the
    neighbours more than on the engine, it is the counters that are exact on any machine; the clock is shown there, and
    gated when asked for. `limits` stands for none: where it is the only word, absolute limits alone decide.

    Args:
        words: as the user wrote them.
        device: the engine's device, `cuda`, `cpu` or `simulated`, or where it is driven over HTTP.
        measured: names of metrics that were measured: those that belong to a set only then are added to it.

    Returns:
        Metric names in the order of the table, each once.

    Raises:
        SpecError: for a word that names no metric and no set.
    """
    wanted: set[str] = set()
    for word in words:
        if word == LIMITS:
            continue
        sets = [gate.word for gate in automatic(device)] if word == AUTO else [word] if word in GATES else []
        for chosen in sets:
            wanted.update(GATES[chosen], (name for name in IF_MEASURED[chosen] if name in measured))
        if sets:
            continue
        if word in METRICS:
            wanted.add(word)
        else:
            near = did_you_mean(word, [*gate_words(), *METRICS])
            raise SpecError(f"no metric or set is called {word!r}{near}; sets: {', '.join(gate_words())}; "
                            f"metrics: {', '.join(METRICS)}")  # fmt: skip
    return tuple(name for name in METRICS if name in wanted)

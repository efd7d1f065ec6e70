"""All metrics in one table, collected from their declarations, and what the words of a gate stand for.

The table also knows every custom metric by its key, which holds the declaration: see `records.custom`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from pytest_vllmperf.errors import NotMeasuredError, SpecError, did_you_mean
from pytest_vllmperf.metrics.counters import CounterMetrics
from pytest_vllmperf.metrics.custom import custom_metric
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


class MetricTable(Mapping[str, Metric]):
    """Metrics by name. Iterating gives those that this package declares; custom ones are found by their keys.

    Args:
        declared: in the order of the table.
    """

    def __init__(self, declared: Iterable[Metric]) -> None:
        self._declared = {metric.name: metric for metric in declared}

    def __getitem__(self, name: str) -> Metric:
        """A metric by its name, or by the key of a custom one (KeyError for what is neither)."""
        found = self._declared.get(name) or custom_metric(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        """The names of the metrics that this package declares."""
        return iter(self._declared)

    def __len__(self) -> int:
        """How many metrics this package declares."""
        return len(self._declared)

    def ordered(self, names: Collection[str]) -> tuple[str, ...]:
        """Names in the order of the table, each once; custom metrics come after all others, sorted."""
        return (*(name for name in self._declared if name in names), *custom_names(names))


METRICS: Final = MetricTable(metric for one in DECLARATIONS for metric in one.metrics)
GATES: Final[dict[str, tuple[str, ...]]] = {
    gate.word: tuple(metric.name for metric in METRICS.values() if gate in metric.gates and not metric.if_measured)
    for gate in Gate
}
IF_MEASURED: Final[dict[str, tuple[str, ...]]] = {
    gate.word: tuple(metric.name for metric in METRICS.values() if gate in metric.gates and metric.if_measured)
    for gate in Gate
}
CLOCK_METRICS: Final = GATES[Gate.CLOCK.word]


def unknown(name: object) -> str:
    """What is wrong with a name that no metric has, with the nearest one that some metric has."""
    word = str(name)
    return f"no metric has the name {word!r}{did_you_mean(word, METRICS)}"


def check_known(name: object) -> None:
    """Refuse what is no metric's name.

    Raises:
        NotMeasuredError: for it.
    """
    if not isinstance(name, str) or name not in METRICS:
        raise NotMeasuredError(unknown(name))


def resolve_gate(words: tuple[str, ...], device: str, measured: Collection[str] = ()) -> tuple[str, ...]:
    """The metrics that decide: names of metrics or of the sets of `GATES`, and `auto`.

    `auto` is the clock on a GPU, and the GPU's own time where it was measured. On a CPU, where wall time depends on the
    neighbours more than on the engine, it is the counters that are exact on any machine; the clock is shown there, and
    gated when asked for. `limits` stands for none: where it is the only word, absolute limits alone decide. A custom
    metric that was measured decides, whatever the other words: a test records it in order to have it judged.

    Args:
        words: as the user wrote them.
        device: the engine's device, `cuda`, `cpu` or `simulated`, or where it is driven over HTTP.
        measured: names of metrics that were measured: those that belong to a set only then are added to it.

    Returns:
        Metric names in the order of the table, each once.

    Raises:
        SpecError: for a word that names no metric and no set.
    """
    wanted: dict[str, None] = {}
    for word in words:
        if word == LIMITS:
            continue
        sets = [gate.word for gate in automatic(device)] if word == AUTO else [word] if word in GATES else []
        for chosen in sets:
            wanted |= dict.fromkeys([*GATES[chosen], *(name for name in IF_MEASURED[chosen] if name in measured)])
        if sets:
            continue
        if word in METRICS:
            wanted[word] = None
        else:
            near = did_you_mean(word, [*gate_words(), *METRICS])
            raise SpecError(f"no metric or set has the name {word!r}{near}; sets: {', '.join(gate_words())}; "
                            "metrics: see docs/metrics.md")  # fmt: skip
    if set(words) != {LIMITS}:
        wanted |= dict.fromkeys(custom_names(measured))
    return METRICS.ordered(wanted)


_RESERVED: Final = (AUTO, LIMITS, *GATES, "all", "gated", "own")
"""Words that stand for several metrics, in gates and on the command line."""


def name_taken(name: str) -> str:
    """Why a custom metric cannot have a name that is valid by itself, in words; empty where it can."""
    if name in _RESERVED:
        return f"{name!r} stands for a set of metrics"
    attribute = name.replace(".", "_")
    same = next((one for one in METRICS if one.replace(".", "_") == attribute or one.partition(".")[0] == name), None)
    return "" if same is None else f"{same} is a metric of pytest-vllmperf; give yours another name"


def custom_names(names: Iterable[str]) -> list[str]:
    """The keys of custom metrics among names of metrics, sorted."""
    return sorted({name for name in names if name in METRICS and METRICS[name].custom})

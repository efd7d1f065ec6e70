"""Custom metrics of a check: their plain names in gates, margins and limits, and what of them is not judged. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from pytest_vllmperf.errors import SpecError, did_you_mean
from pytest_vllmperf.metrics.gates import LIMITS, gate_words
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS, custom_names
from pytest_vllmperf.records.custom import plain_name, redeclared
from pytest_vllmperf.records.samples import EngineSamples, Entry
from pytest_vllmperf.records.settings import CheckSettings
from pytest_vllmperf.verdict.limits import in_force, limit_error
from pytest_vllmperf.verdict.rule import MIN_ENGINES

Given = TypeVar("Given")


@dataclass(frozen=True)
class Custom:
    """The custom metrics of a check.

    Attributes:
        keys: of those that the run recorded, sorted.
        stored: of those that the baseline gates, or that its newest session holds.
        dropped: recorded ones that have nothing to be judged by.
        notes: what is told of them, a line each.
    """

    keys: tuple[str, ...] = ()
    stored: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def recorded_keys(engines: Iterable[EngineSamples]) -> tuple[str, ...]:
    """The keys of all custom metrics of engine starts, sorted."""
    return tuple(custom_names({key for engine in engines for key in engine.recorded}))


def stored_keys(stored: Entry | None) -> tuple[str, ...]:
    """The keys of the custom metrics that a baseline gates, or that its newest session holds."""
    if stored is None:
        return ()
    newest = recorded_keys(stored.sessions[-1].engines)
    return tuple(custom_names({*stored.judging.gate, *newest}))


def custom_of(
    run: Measurement, stored: Entry | None, limits: Mapping[str, float], *, appends: bool, records: bool, alone: bool
) -> Custom:
    """What the custom metrics of a check come to.

    Args:
        run: what was measured.
        stored: the baseline that decides; None without one.
        limits: in force, by key.
        appends: whether the session may join its baseline.
        records: whether it becomes a baseline.
        alone: whether limits alone decide.
    """
    keys, before = recorded_keys(run.engines), stored_keys(stored)
    if alone:
        loose = [plain_name(key) for key in keys if key not in limits]
        told = f"not gated, as limits alone decide and it has none: {', '.join(loose)}"
        return Custom(keys, notes=(told,) if loose else ())
    dropped, notes = [], []
    for key in keys:
        name, once = plain_name(key), METRICS[key].once
        if run.reference is not None and once:
            dropped.append(key)
            notes.append(f"{name} is not judged: it has one value for the run, and none of the reference. {_FUNCTION}")
        elif appends and stored is not None and key not in before:
            dropped.append(key)
            notes.append(f"{name} is not judged: its baseline has no value for it yet; this session may bring one")
        elif records and once and not METRICS[key].exact:
            notes.append(
                f"{name} has one value in each session, and needs {MIN_ENGINES} sessions to detect more than a very large "
                f"change; add them with --vllmperf-append. {_FUNCTION}"
            )
    return Custom(keys, before, tuple(dropped), tuple(notes))


_FUNCTION = "To get a value of every engine start, give record() a function"


def lost(custom: Custom) -> list[str]:
    """Custom metrics that the baseline holds and this run did not record, a line each.

    One that is declared differently is not among them: that makes the two not comparable.
    """
    now = {plain_name(key) for key in custom.keys}
    return [
        f"the baseline holds {plain_name(key)}, which this run did not record. Call vllmperf.record() again before "
        f"check(), or record a new baseline: --vllmperf-update"
        for key in custom.stored
        if plain_name(key) not in now
    ]


def declared_differently(custom: Custom) -> list[str]:
    """Custom metrics whose unit, direction or kind differs from that of the baseline, in words."""
    return redeclared(custom.stored, custom.keys)


def resolved(where: str, own: CheckSettings, keys: Sequence[str]) -> CheckSettings:
    """Settings with the keys of custom metrics in the place of their plain names.

    Args:
        where: the check, for an error.
        own: of the check; names that are not in the table are those of custom metrics.
        keys: of the custom metrics that were recorded.

    Raises:
        SpecError: for a name that no metric has, or a limit that makes no sense for its metric.
    """
    names = {plain_name(key): key for key in keys}
    gate = own.gate and tuple(_resolved(where, word, names) for word in own.gate)
    limits = _keyed(where, own.limits, names)
    for key, limit in in_force(limits).items():
        if METRICS[key].custom and (error := limit_error(key, limit)):
            raise SpecError(f"{where}: limits: {error}")
    return replace(own, gate=gate, margins=_keyed(where, own.margins, names), limits=limits)


def _keyed(where: str, given: Mapping[str, Given], names: Mapping[str, str]) -> dict[str, Given]:
    return {_resolved(where, name, names): value for name, value in given.items()}


def _resolved(where: str, word: str, names: Mapping[str, str]) -> str:
    if word in names:
        return names[word]
    if word in METRICS or word in (*gate_words(), LIMITS):
        return word
    near = did_you_mean(word, [*METRICS, *names])
    raise SpecError(
        f"{where}: no metric has the name {word!r}{near}; a custom metric has to be recorded before the check, with "
        f"vllmperf.record({word!r}, ...)"
    )


def known_words(words: Iterable[str]) -> Iterator[str]:
    """The words of a gate without the names of custom metrics, which are not known before the test has run."""
    return (word for word in words if word in METRICS or word in (*gate_words(), LIMITS))

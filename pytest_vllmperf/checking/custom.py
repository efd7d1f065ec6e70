"""Custom metrics of a check: their plain names in gates, margins and limits, and what of them is not judged. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

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
                f"{name} has one value in each session. Fewer than {MIN_ENGINES} sessions detect very large changes "
                f"only; add sessions with --vllmperf-append. {_FUNCTION}"
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


def no_longer_recorded(stored: Entry, new: Entry) -> list[str]:
    """Custom metrics of a stored check that another one of the same name does not hold, in words."""
    now = {plain_name(key) for key in stored_keys(new)}
    gone = [plain_name(key) for key in stored_keys(stored) if plain_name(key) not in now]
    return [f"the baseline holds {name}, which the new session did not record" for name in gone]


def declared_differently(custom: Custom) -> list[str]:
    """Custom metrics whose unit, direction or kind differs from that of the baseline, in words."""
    return redeclared(custom.stored, custom.keys)


@dataclass(frozen=True)
class Where:
    """Who gave settings, for errors.

    Attributes:
        gate: what the gate was given as.
        margin: the same of margins.
        limits: the same of limits.
        remedy: what to do about the name of a custom metric that nobody knows; `NAME` stands for it.
    """

    gate: str
    margin: str
    limits: str
    remedy: str

    @classmethod
    def of_check(cls, name: str) -> Where:
        """A check, with its marker and the settings of its run."""
        remedy = "a custom metric has to be recorded before the check, with vllmperf.record('NAME', ...)"
        return cls(f"{name}: gate", f"{name}: margin", f"{name}: limits", remedy)


COMMAND_LINE: Final = Where("--gate", "--margin", "--limit", "no check holds a custom metric with this name")


def resolved(where: Where, own: CheckSettings, keys: Sequence[str]) -> CheckSettings:
    """Settings with the keys of custom metrics in the place of their plain names.

    Args:
        where: who gave them.
        own: of the check; names that are not in the table are those of custom metrics.
        keys: of the custom metrics that are known.

    Raises:
        SpecError: for a name that no metric has, or a limit that makes no sense for its metric.
    """
    names = {plain_name(key): key for key in keys}

    def keyed(given: Mapping[str, Given], by: str) -> dict[str, Given]:
        return {_resolved(by, where.remedy, name, names): value for name, value in given.items()}

    gate = own.gate and tuple(_resolved(where.gate, where.remedy, word, names) for word in own.gate)
    limits = keyed(own.limits, where.limits)
    for key, limit in in_force(limits).items():
        if METRICS[key].custom and (error := limit_error(key, limit)):
            raise SpecError(f"{where.limits}: {error}")
    return replace(own, gate=gate, margins=keyed(own.margins, where.margin), limits=limits)


def resolved_for_some(where: Where, own: CheckSettings, keys: Sequence[Sequence[str]]) -> list[CheckSettings]:
    """Settings for several checks, each with the keys of its own custom metrics in the place of their plain names.

    What names a custom metric that only others have does not concern a check.

    Args:
        where: who gave them.
        own: the settings.
        keys: for each check those of its custom metrics.

    Raises:
        SpecError: for a name that no metric of any of the checks has.
    """
    known = {plain_name(key) for each in keys for key in each}
    resolved(where, own, [key for each in keys for key in each])
    return [resolved(where, _without(own, known - set(map(plain_name, each))), each) for each in keys]


def _without(own: CheckSettings, names: Collection[str]) -> CheckSettings:
    """Settings without what they say of some custom metrics."""
    return replace(
        own,
        gate=own.gate and tuple(word for word in own.gate if word not in names),
        margins={name: value for name, value in own.margins.items() if name not in names},
        limits={name: value for name, value in own.limits.items() if name not in names},
    )


def _resolved(where: str, remedy: str, word: str, names: Mapping[str, str]) -> str:
    if word in names:
        return names[word]
    if word in METRICS or word in (*gate_words(), LIMITS):
        return word
    near = did_you_mean(word, [*METRICS, *names])
    raise SpecError(f"{where}: no metric has the name {word!r}{near}; {remedy.replace('NAME', word)}")


def given_keys(entry: Entry) -> tuple[str, ...]:
    """The keys of all custom metrics that a stored check knows, be it by its settings alone."""
    judging = entry.judging
    return tuple(custom_names({*stored_keys(entry), *judging.margins, *judging.limits}))


def known_words(words: Iterable[str]) -> Iterator[str]:
    """The words of a gate without the names of custom metrics, which are not known before the test has run."""
    return (word for word in words if word in METRICS or word in (*gate_words(), LIMITS))

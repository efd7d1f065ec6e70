"""What commands that judge have in common: files that must be there, and how they are judged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vllmperf.checking import custom, policy
from pytest_vllmperf.checking.history import Fitted
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.lab.environment import profile_of
from pytest_vllmperf.metrics.table import METRICS, resolve_gate
from pytest_vllmperf.records.custom import plain_name
from pytest_vllmperf.records.samples import Entry, Judging
from pytest_vllmperf.records.settings import CheckSettings
from pytest_vllmperf.report import units
from pytest_vllmperf.storage.baselines import BaselineFile, BaselineStore, load
from pytest_vllmperf.verdict import VerdictSettings
from pytest_vllmperf.verdict.limits import in_force
from pytest_vllmperf.verdict.words import gate_words, limits, margins


def read(path: Path) -> BaselineFile:
    """A file that has to exist.

    Raises:
        BaselineError: when it does not, or cannot be read.
    """
    found = load(path)
    if not os.path.exists(path):  # noqa: PTH110 - a name that is too long is an error of `Path.exists`
        raise BaselineError(f"{path}: no such file")
    return found


def fitted(path: Path, own: Iterable[Entry]) -> Fitted:
    """The hyperparameters that checks of a file are judged with.

    A file that lies in the folder of its profile, `baselines/<profile>/...`, is judged with all that is stored there,
    as pytest does. One that lies elsewhere, say a copy that was downloaded, knows its own checks alone.

    Args:
        path: the file.
        own: its checks.

    Raises:
        BaselineError: for a file of the profile that cannot be read.
    """
    own = tuple(own)
    folder = profile_folder(path, own)
    return Fitted(own if folder is None else BaselineStore(folder.parent).entries(folder.name))


def profile_folder(path: Path, own: Iterable[Entry]) -> Path | None:
    """The folder of a profile that a file with these checks lies in; None for one that lies elsewhere."""
    profiles = {profile_of(entry.sessions[-1].environment.hard) for entry in own}
    parents = Path(os.path.abspath(path)).parents  # noqa: PTH100 - links stay
    return next((folder for folder in parents if folder.name in profiles), None)


@dataclass(frozen=True)
class Asked:
    """What the command line says about judging.

    Attributes:
        gate: words, as for `--vllmperf-gate`; None for the gate that is stored with each check.
        margin: as for `--vllmperf-margin`; None for the margins that are stored with each check.
        limits: as for `--vllmperf-limits`, over those that are stored with each check.
    """

    gate: str | None = None
    margin: str | None = None
    limits: Sequence[str] = ()

    @property
    def settings(self) -> CheckSettings:
        """What is asked, checked; names that are not in the table may be those of custom metrics.

        Raises:
            SpecError: for a gate, a margin or a limit that is not valid.
        """
        words = None if self.gate is None else gate_words("--gate", self.gate, custom=True)
        general, by_metric = (None, {}) if self.margin is None else margins("--margin", self.margin, custom=True)
        asked = limits("--limit", " ".join(self.limits), custom=True) if self.limits else {}
        return CheckSettings(margin=general, margins=by_metric, gate=words, limits=asked)


NOTHING_ASKED: Final = Asked()


def settings(
    entries: Sequence[Entry],
    asked: Asked,
    fitted: Fitted,
    gated: int | None = None,
    known: Sequence[str] = (),
) -> list[VerdictSettings]:
    """How to judge each of these checks: as the test that recorded it says, or as the command line says.

    A margin for all metrics takes the place of all stored margins, one by name that of this metric's; so it is between
    a marker and a flag of pytest. `auto` means what it means on the device that each check was measured on.

    Args:
        entries: stored checks that are judged together.
        asked: what the command line says.
        fitted: hyperparameters of their profile.
        gated: how many gated metrics share the error budget; None for those of these checks.
        known: keys of custom metrics that the command line may name besides those of these checks.

    Raises:
        SpecError: for a gate, a margin or a limit that is not valid.
    """
    given = _given(entries, asked, known)
    gates = [_gate(entry, one.gate) for entry, one in zip(entries, given, strict=True)]
    a_fail = policy.a_fail(policy.gated_metrics(gates) if gated is None else gated)
    chosen = [one.over(_stored(entry)) for entry, one in zip(entries, given, strict=True)]
    return [
        VerdictSettings(
            gate,
            one.margin or 0.0,
            one.margins,
            a_fail=a_fail,
            priors=fitted.priors(entry.sessions[-1].environment.hard),
            limits=in_force(one.limits),
        )
        for entry, gate, one in zip(entries, gates, chosen, strict=True)
    ]


def gated_metrics(entries: Sequence[Entry], asked: Asked) -> int:
    """How many metrics these checks gate that share the error budget.

    Raises:
        SpecError: as for `settings`.
    """
    gates = [_gate(entry, one.gate) for entry, one in zip(entries, _given(entries, asked), strict=True)]
    return policy.gated_metrics(gates)


def custom_keys(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The keys of all custom metrics of stored checks."""
    return tuple(dict.fromkeys(key for entry in entries for key in custom.given_keys(entry)))


def _given(entries: Sequence[Entry], asked: Asked, known: Sequence[str] = ()) -> list[CheckSettings]:
    keys = [custom.given_keys(entry) for entry in entries]
    return custom.resolved_for_some(custom.COMMAND_LINE, asked.settings, [*keys, known])[: len(entries)]


def _gate(entry: Entry, words: tuple[str, ...] | None) -> tuple[str, ...]:
    if words is None:
        return tuple(entry.judging.gate)
    newest = entry.sessions[-1]
    return resolve_gate(words, newest.environment.hard.get("device", ""), policy.measured(newest.engines))


def _stored(entry: Entry) -> CheckSettings:
    judging = entry.judging
    return CheckSettings(margin=judging.margin, margins=judging.margins, limits=judging.limits)


def changes(before: Judging, after: Judging) -> list[str]:
    """How gate, margins and limits differ, in words."""
    added = [plain_name(name) for name in after.gate if name not in before.gate]
    removed = [plain_name(name) for name in before.gate if name not in after.gate]
    lines = [f"gate: {verb} {', '.join(names)}" for verb, names in (("added", added), ("removed", removed)) if names]
    if before.margin != after.margin:
        lines.append(f"margin: {units.margin(before.margin)} -> {units.margin(after.margin)}")
    for name in METRICS.ordered({*before.margins, *after.margins}):
        old, new = before.margins.get(name), after.margins.get(name)
        if old != new:
            lines.append(f"margin of {plain_name(name)}: {_own(old)} -> {_own(new)}")
    for name in METRICS.ordered({*before.limits, *after.limits}):
        told = [_limit(name, one.limits.get(name)) for one in (before, after)]
        if before.limits.get(name) != after.limits.get(name):
            lines.append(f"limit of {plain_name(name)}: {' -> '.join(told)}")
    return lines


def _limit(metric: str, limit: float | None) -> str:
    return "not set" if limit is None else units.value(metric, limit)


def _own(margin: float | None) -> str:
    return "not set" if margin is None else units.margin(margin)

"""`vllmperf check A.json B.json`: a verdict between two baseline files, without an engine."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pytest_vllmperf import __version__
from pytest_vllmperf.checking import custom, policy
from pytest_vllmperf.checking.history import Fitted
from pytest_vllmperf.checking.limits import limited
from pytest_vllmperf.cli import judging, kernels
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.attribution import Attribution
from pytest_vllmperf.records.custom import redeclared
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.records.verdict import Status, Verdict, worst
from pytest_vllmperf.report import attributions
from pytest_vllmperf.report.explanations import basis_lines, explanation_lines
from pytest_vllmperf.report.limits import failure_lines as limit_lines
from pytest_vllmperf.report.verdicts import folded, metric_lines
from pytest_vllmperf.verdict import Evidence, VerdictSettings
from pytest_vllmperf.verdict.attribution import of_check
from pytest_vllmperf.verdict.check import judge_keeping
from pytest_vllmperf.verdict.comparability import hard_differences, not_compared
from pytest_vllmperf.verdict.explanation import Basis, Explanation, explain
from pytest_vllmperf.verdict.workload_changes import with_workload_in_words

REGRESSION, NOT_COMPARABLE = 1, 3
_WAYS_OUT = {
    Status.NOT_COMPARABLE: "if this is intended, record it again: pytest --vllmperf-update",
    Status.DRIFTED: 'if the new level is intended, accept it with --vllmperf-update --vllmperf-reason "..."',
}


@dataclass(frozen=True)
class CheckResult:
    """The verdicts of all checks that both files hold.

    Attributes:
        verdicts: by the name of the check.
        only_in_a: names that only the baseline has.
        only_in_b: names that only the other file has.
        changed: by the name of the check, how the gate and margins that it was recorded with differ.
        notes: what of the environments cannot be compared, in words.
        basis: what all verdicts rest on; None where nobody asked for explanations.
        explanations: by the names of check and gated metric.
        attributions: by the name of the check, where its time differs; None where it was not judged.
    """

    verdicts: Mapping[str, Verdict]
    only_in_a: Sequence[str]
    only_in_b: Sequence[str]
    changed: Mapping[str, Sequence[str]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    basis: Basis | None = None
    explanations: Mapping[str, Mapping[str, Explanation]] = field(default_factory=dict)
    attributions: Mapping[str, Attribution | None] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 nothing regressed; 1 a regression, a drift, a broken limit, a metric that one side lacks; 3 not comparable.

        A baseline of too few engine starts compares with nothing. Nor does a check that only one side has: a test that
        was not recorded again may have become slower.
        """
        statuses = {verdict.status for verdict in self.verdicts.values()}
        if statuses & {Status.REGRESSED, Status.DRIFTED, Status.INVALID, Status.BEYOND_LIMIT}:
            return REGRESSION
        lone = self.only_in_a or self.only_in_b
        return NOT_COMPARABLE if lone or statuses & {Status.NOT_COMPARABLE, Status.NO_BASELINE} else 0

    def lines(self) -> list[str]:
        """For a person, at 80 columns."""
        lines: list[str] = [] if self.basis is None else basis_lines(self.basis)
        for name, verdict in self.verdicts.items():
            explained = self.explanations.get(name, {})
            lines.append(f"{name}: {verdict.status.value}")
            lines += [f"  {line}" for reason in verdict.reasons for line in folded(reason, 78)]
            lines += [f"  {line}" for line in folded(_WAYS_OUT.get(verdict.status, ""), 78)]
            lines += [f"  {line}" for change in self.changed.get(name, ()) for line in folded(f"changed: {change}")]
            for one in verdict.metrics:
                lines += [f"  {line}" for line in metric_lines(one, width=78)]
                noted = attributions.below_metric(one, verdict, self.attributions.get(name), width=78)
                lines += [f"  {line}" for line in noted]
                if one.metric in explained:
                    lines += [f"    {line}" for line in explanation_lines(explained[one.metric], width=76)]
            for one in verdict.information:
                lines += [f"  {line}" for line in metric_lines(one, gated=False, width=78)]
            lines += [f"  {line}" for line in limit_lines(verdict, width=78)]
            where = attributions.below_verdicts(verdict, self.attributions.get(name), width=78)
            lines += [f"  {line}" for line in where]
        lines += [f"{name}: only in the first file, so nothing was compared" for name in self.only_in_a]
        lines += [f"{name}: only in the second file, so nothing was compared" for name in self.only_in_b]
        lines += [line for note in self.notes for line in folded(note)]
        counts = Counter(verdict.status.value for verdict in self.verdicts.values())
        lone = len(self.only_in_a) + len(self.only_in_b)
        told = [f"{lone} without a counterpart"] if lone else []
        return [*lines, ", ".join([*(f"{count} {status}" for status, count in counts.items()), *told])]

    def as_json(self) -> str:
        """For a program."""
        return json.dumps(self.as_data(), indent=1)

    def as_data(self) -> dict[str, Any]:
        """What JSON has of it."""
        verdicts = TypeAdapter(dict[str, Verdict]).dump_python(dict(self.verdicts), mode="json")
        for name, explained in self.explanations.items():
            for metric in verdicts[name]["metrics"]:
                metric["explanation"] = _as_data(Explanation, explained[metric["metric"]])
        for name, where in self.attributions.items():
            if where is not None and where.gpu_time is not None:
                verdicts[name]["attribution"] = kernels.as_data(where)
        basis = {} if self.basis is None else {"basis": _as_data(Basis, self.basis)}
        return {
            **basis,
            "exit_code": self.exit_code,
            "checks": verdicts,
            "changed": {name: list(changes) for name, changes in self.changed.items()},
            "only_in_a": list(self.only_in_a),
            "only_in_b": list(self.only_in_b),
            "not_compared": list(self.notes),
        }


def _as_data(kind: type, value: object) -> Any:
    """A dataclass as JSON has it; an infinite number, such as a margin that nothing can exceed, as null."""
    return json.loads(TypeAdapter[Any](kind).dump_json(value))


def check(a: Path, b: Path, asked: judging.Asked = judging.NOTHING_ASKED, *, explained: bool = False) -> CheckResult:
    """Judge the newest session of every check of `b` by all sessions of the same check of `a`.

    The gate, margins and limits are those that `b` was recorded with, as pytest takes those of the test and not those
    of the baseline. Where `a` was recorded with others, the result says so.

    Args:
        a: the baseline.
        b: a file of the same form, such as one recorded into another folder.
        asked: the gate, margins and limits of the command line, which take the place of the recorded ones.
        explained: whether the result tells how each verdict came about.

    Raises:
        BaselineError: for a file that is not there or cannot be read, or two that share no check.
        SpecError: for a gate, a margin or a limit that is not valid.
    """
    if len({path.is_dir() for path in (a, b)}) > 1:
        folder, file = (a, b) if a.is_dir() else (b, a)
        if not os.path.exists(file):  # noqa: PTH110 - a name that is too long is an error of `Path.exists`
            raise BaselineError(f"{file}: no such folder")
        raise BaselineError(f"{folder} is a folder and {file} is not; give two files, or two folders")
    stored, new = judging.read(a).tests, judging.read(b).tests
    if not set(stored) & set(new):
        raise BaselineError(f"{a} and {b} have no check in common")
    return check_entries((a, stored), new, asked, judging.fitted(a, stored.values()), explained=explained)


def check_entries(
    baseline: tuple[Path, Mapping[str, Entry]],
    new: Mapping[str, Entry],
    asked: judging.Asked,
    fitted: Fitted,
    *,
    gated: int | None = None,
    known: Sequence[str] = (),
    explained: bool = False,
) -> CheckResult:
    """The same for checks that were read.

    Args:
        baseline: a file, and its checks.
        new: the checks of the other one; at least one is of the same name.
        asked: see `check`.
        fitted: hyperparameters of the baseline's profile.
        gated: see `judging.settings`.
        known: see `judging.settings`.
        explained: see `check`.

    Raises:
        SpecError: for a gate, a margin or a limit that is not valid.
    """
    a, stored = baseline
    names = sorted(set(stored) & set(new))
    chosen = judging.settings([new[name] for name in names], asked, fitted, gated, known)
    evidence = {name: _evidence(stored[name], new[name], one) for name, one in zip(names, chosen, strict=True)}
    judged = {name: judge_keeping(one) for name, one in evidence.items()}
    changed = {name: found for name in names if (found := judging.changes(stored[name].judging, new[name].judging))}
    sides = [(stored[name].sessions[-1].environment, new[name].sessions[-1].environment) for name in names]
    notes = dict.fromkeys(note for then, now in sides for note in not_compared(then, now))
    only_a, only_b = sorted(set(stored) - set(new)), sorted(set(new) - set(stored))
    verdicts = {name: _verdict(judged[name].verdict, one, stored[name], new[name]) for name, one in evidence.items()}
    went = {name: of_check(verdicts[name], one) for name, one in evidence.items()}
    result = CheckResult(verdicts, only_a, only_b, changed, tuple(notes), attributions=went)
    if not explained:
        return result
    explanations = {name: explain(one) for name, one in judged.items()}
    return replace(result, basis=_basis(a, stored, chosen, gated), explanations=explanations)


def _verdict(verdict: Verdict, evidence: Evidence, stored: Entry, new: Entry) -> Verdict:
    """A verdict with its absolute limits, and with custom metrics that only the baseline holds."""
    found = limited(verdict, (), evidence.engines, evidence.settings, last=True)
    if not (lost := custom.no_longer_recorded(stored, new)):
        return found
    return replace(found, status=worst([found.status, Status.INVALID]), reasons=(*found.reasons, *lost))


def _evidence(stored: Entry, new: Entry, settings: VerdictSettings) -> Evidence:
    """The newest session of one side, judged by all sessions of the other."""
    newest = new.sessions[-1]
    hard = hard_differences(stored.sessions, newest.environment)
    differences = [
        *with_workload_in_words(hard, stored.workload, new.workload),
        *redeclared(custom.stored_keys(stored), custom.stored_keys(new)),
    ]
    return Evidence(stored.sessions, newest.engines, settings, differences=differences, last_look=True)


def _basis(a: Path, stored: Mapping[str, Entry], chosen: Sequence[VerdictSettings], gated: int | None) -> Basis:
    folder = judging.profile_folder(a, stored.values())
    return Basis(
        version=__version__,
        checks=len(chosen),
        gated_metrics=policy.gated_metrics(one.gate for one in chosen) if gated is None else gated,
        a_fail=chosen[0].a_fail,
        fitted_on=str(a) if folder is None else os.path.relpath(folder),
        whole_profile=folder is not None,
    )

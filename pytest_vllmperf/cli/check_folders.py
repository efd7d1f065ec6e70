"""`vllmperf check FOLDER FOLDER`: each baseline file of one folder against that of the same path in the other."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.checking.history import Fitted
from pytest_vllmperf.cli import judging
from pytest_vllmperf.cli.check import NOT_COMPARABLE, REGRESSION, CheckResult, check_entries
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.report import units
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.storage.baselines import baseline_files

Tests = Mapping[str, Entry]


@dataclass(frozen=True)
class FoldersResult:
    """The results of all files that both folders hold.

    Attributes:
        files: by path below the folders, sorted.
        only_in_a: paths of files that only the folder of baselines has.
        only_in_b: paths of files that only the other folder has.
        nothing_in_common: paths of files that both have, and that share no check.
    """

    files: Mapping[str, CheckResult]
    only_in_a: Sequence[str] = ()
    only_in_b: Sequence[str] = ()
    nothing_in_common: Sequence[str] = field(default=())

    @property
    def exit_code(self) -> int:
        """As of one file; 3 too where a file has no counterpart, as nothing was compared there."""
        codes = {result.exit_code for result in self.files.values()}
        if REGRESSION in codes:
            return REGRESSION
        missing = self.only_in_a or self.only_in_b or self.nothing_in_common
        return NOT_COMPARABLE if missing or codes - {0} else 0

    @property
    def counts(self) -> Counter[str]:
        """How many checks have each verdict."""
        return Counter(verdict.status.value for result in self.files.values() for verdict in result.verdicts.values())

    def lines(self) -> list[str]:
        """For a person, at 80 columns: each file with its checks, files without a counterpart, and the totals."""
        lines = []
        for name, result in self.files.items():
            lines += [*folded(f"== {name}"), *result.lines()]
        lines += [f"{name}: only in the first folder, so nothing was compared" for name in self.only_in_a]
        lines += [f"{name}: only in the second folder, so nothing was compared" for name in self.only_in_b]
        lines += [f"{name}: both files have no check in common" for name in self.nothing_in_common]
        return [*lines, *folded(f"total: {self._totals()}")]

    def _totals(self) -> str:
        lone = len(self.only_in_a) + len(self.only_in_b)
        told = [f"{units.many(len(self.files), 'file')} compared"]
        told += [f"{lone} without a counterpart"] if lone else []
        told += [f"{len(self.nothing_in_common)} without a common check"] if self.nothing_in_common else []
        checks = sum(len(one.only_in_a) + len(one.only_in_b) for one in self.files.values())
        told += [f"{units.many(checks, 'check')} without a counterpart"] if checks else []
        return ", ".join([*told, *(f"{count} {status}" for status, count in self.counts.items())])

    def as_json(self) -> str:
        """For a program."""
        return json.dumps(
            {
                "exit_code": self.exit_code,
                "files": {name: result.as_data() for name, result in self.files.items()},
                "only_in_a": list(self.only_in_a),
                "only_in_b": list(self.only_in_b),
                "nothing_in_common": list(self.nothing_in_common),
                "totals": dict(self.counts),
            },
            indent=1,
        )


def check_folders(
    a: Path, b: Path, asked: judging.Asked = judging.NOTHING_ASKED, *, explained: bool = False
) -> FoldersResult:
    """Judge the newest session of every check below one folder by the same check below the other.

    All checks share one error budget, as those of a run of pytest do. JSON files of other programs are left out.

    Args:
        a: the folder of baselines, or of one profile in it.
        b: a folder of the same form.
        asked: gate, margins and limits of the command line.
        explained: whether the result tells how each verdict came about.

    Raises:
        BaselineError: for a folder without a baseline file; for files that cannot be read, all of them named.
        SpecError: for a gate, a margin or a limit that is not valid.
    """
    stored, new = _read(a, b)
    both = [name for name in stored if name in new]
    pairs = {name: (stored[name], new[name]) for name in both if set(stored[name]) & set(new[name])}
    judged = [after[name] for before, after in pairs.values() for name in sorted(set(before) & set(after))]
    gated = judging.gated_metrics(judged, asked)
    fitted = _fitted()
    known = judging.custom_keys(judged)
    results = {
        name: check_entries(
            (a / name, before), after, asked, fitted(a / name, before), gated=gated, known=known, explained=explained
        )
        for name, (before, after) in pairs.items()
    }
    return FoldersResult(
        results,
        [name for name in stored if name not in new],
        [name for name in new if name not in stored],
        [name for name in both if name not in pairs],
    )


def _read(a: Path, b: Path) -> tuple[dict[str, Tests], dict[str, Tests]]:
    """The checks of all files of both folders, by path below them.

    Raises:
        BaselineError: see `check_folders`.
    """
    found: list[dict[str, Tests]] = []
    broken: list[str] = []
    for folder in (a, b):
        files = baseline_files(folder)
        if not files:
            raise BaselineError(f"{folder}: no baseline file in this folder")
        tests: dict[str, Tests] = {}
        for file in files:
            try:
                tests[file.relative_to(folder).as_posix()] = judging.read(file).tests
            except BaselineError as error:
                broken.append(str(error))
        found.append(tests)
    if broken:
        raise BaselineError("\n".join(broken))
    return found[0], found[1]


def _fitted() -> Callable[[Path, Tests], Fitted]:
    """Finds the hyperparameters for a file, reading each folder of a profile once."""
    known: dict[Path, Fitted] = {}

    def fitted(path: Path, own: Tests) -> Fitted:
        folder = judging.profile_folder(path, own.values())
        if folder is None:
            return judging.fitted(path, own.values())
        if folder not in known:
            known[folder] = judging.fitted(path, own.values())
        return known[folder]

    return fitted

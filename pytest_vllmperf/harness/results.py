"""What a run's checks came to, gathered in one process, and what of it is written."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.errors import BaselineError, in_one_line
from pytest_vllmperf.records.ids import CheckId, TestId, module_stem
from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.records.results import CheckRecord, ComparisonRecord, Keeping, TestResults
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.storage.baselines import BaselineStore, Changes, module_exists
from pytest_vllmperf.storage.rescue import Place


@dataclass(frozen=True)
class ModuleTests:
    """What was collected of one test module.

    Attributes:
        names: of its tests, without the module's path.
        whole: whether that is all of them: nothing selected by name, deselected or left out.
    """

    names: frozenset[str]
    whole: bool


@dataclass
class Results:
    """The controller's books.

    Attributes:
        checks: all that were made.
        comparisons: with the node ids of their tests.
        rows: of scorecards.
        recorded: checks whose session is kept.
        traces: node id and trace of each engine of a failed test.
        failed_modules: of which a test failed, or did not come to its end.
        modules: that were collected.
        written: baseline files that were changed.
        pruned: tests that no longer exist, whose entries were removed.
        unwritten: changes to files that could not be written.
        problems: why, and which sessions did not join their baseline.
    """

    checks: list[CheckRecord] = field(default_factory=list)
    comparisons: list[tuple[str, ComparisonRecord]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    recorded: list[CheckRecord] = field(default_factory=list)
    traces: list[tuple[str, KernelTrace]] = field(default_factory=list)
    failed_modules: set[str] = field(default_factory=set)
    modules: dict[str, ModuleTests] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    unwritten: dict[Place, Changes] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, test: TestResults, *, passed: bool) -> None:
        """Take in what one finished test came to; only a test that passed leaves something to record."""
        self.comparisons += test.comparisons
        self.rows += test.rows
        self.traces += test.traces
        for check in test.checks:
            self.checks.append(check)
            if passed and check.keeping is not Keeping.NOTHING:
                self.recorded.append(check)

    def stale(self, store: BaselineStore) -> dict[Place, list[str]]:
        """(profile, module) -> names stored for tests that no longer exist; modules not collected whole are left out.

        Raises:
            BaselineError: for a file that cannot be read.
        """
        return {place: gone for place in self._stored(store) if (gone := self._gone(store, place))}

    def _stored(self, store: BaselineStore) -> list[Place]:
        """The baseline files of modules that were collected whole, in the order of these."""
        whole = {
            stem: names[0] for stem, names in self._by_stem().items() if all(self.modules[name].whole for name in names)
        }
        places = [(profile, whole[module]) for profile, module in store.modules() if module in whole]
        return sorted(places, key=lambda place: (place[1], place[0]))

    def _by_stem(self) -> dict[str, list[str]]:
        """The collected files by what names their baseline: a Python module first, then a text of doctests, say."""
        found: dict[str, list[str]] = {}
        for name in sorted(self.modules, key=lambda name: (not name.endswith(".py"), name)):
            found.setdefault(module_stem(name), []).append(name)
        return found

    def _gone(self, store: BaselineStore, place: Place) -> list[str]:
        """The names that are stored for tests that no longer exist."""
        profile, module = place
        names = frozenset().union(*(self.modules[name].names for name in self._by_stem()[module_stem(module)]))
        stored = store.read(profile, module).tests
        return [name for name in sorted(stored) if CheckId.parse(module, name).test.name not in names]

    def write(self, store: BaselineStore, *, prune: bool) -> None:
        """Write what was recorded, one file after the other; what cannot be written does not stop the others.

        Args:
            store: where.
            prune: take stale entries out of files that are written, where their module ran whole and without failure.
        """
        files = self._by_file()
        gone = self._prunable(store, {profile for profile, _ in files}) if prune else {}
        for place in {**files, **gone}:
            records = files.get(place, [])
            changes = Changes(
                entries={record.name: record.entry() for record in records if record.keeping is Keeping.NEW},
                appended={record.name: record.entry() for record in records if record.keeping is Keeping.APPENDED},
                removed=gone.get(place, ()),
            )
            self._write(store, place, changes)

    def _write(self, store: BaselineStore, place: Place, changes: Changes) -> None:
        profile, module = place
        try:
            written = store.write(profile, module, changes)
        except Exception as error:  # what was measured must not be lost to anything
            if changes.entries or changes.appended:
                self.unwritten[place] = changes
            self.problems.append(in_one_line(error))
            self._forget(place, {*changes.entries, *changes.appended})
            return
        self.written.append(written.path)
        self.pruned += [str(TestId(module, name)) for name in changes.removed]
        self.problems += [
            f"{TestId(module, name)}: not appended: another run has {reason} the baseline that it was compared with"
            for name, reason in written.refused.items()
        ]
        self._forget(place, written.refused)

    def _forget(self, place: Place, names: Collection[str]) -> None:
        """Checks that are not recorded after all."""
        self.recorded = [
            check for check in self.recorded if (check.profile, check.module) != place or check.name not in names
        ]

    def _prunable(self, store: BaselineStore, profiles: Collection[str]) -> dict[Place, list[str]]:
        """Stale entries for the hardware of this run: which tests there are may depend on it."""
        found = {}
        for place in self._stored(store):
            if place[0] in profiles and place[1] not in self.failed_modules:
                with suppress(BaselineError):  # who reads or writes it next says what is wrong with it
                    if gone := self._gone(store, place):
                        found[place] = gone
        return found

    def orphans(self, store: BaselineStore, rootdir: Path) -> list[Path]:
        """Files whose test module is neither below `rootdir` nor among the collected ones."""
        known = {module_stem(module) for module in self.modules}
        return [
            store.path(profile, f"{module}.py")
            for profile, module in store.modules()
            if module not in known and not module_exists(rootdir, module)
        ]

    def _by_file(self) -> Mapping[Place, list[CheckRecord]]:
        files: dict[Place, list[CheckRecord]] = {}
        for check in self.recorded:
            files.setdefault((check.profile, check.module), []).append(check)
        return files

"""What a run's checks came to, gathered in one process, and what of it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.records.results import CheckRecord, ComparisonRecord, Keeping, TestResults
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.storage.baselines import BaselineStore, Changes


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
    """The controller's books."""

    checks: list[CheckRecord] = field(default_factory=list)
    comparisons: list[tuple[str, ComparisonRecord]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    recorded: list[CheckRecord] = field(default_factory=list)
    failed_modules: set[str] = field(default_factory=set)
    modules: dict[str, ModuleTests] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    def add(self, test: TestResults, *, passed: bool) -> None:
        """Take in what one finished test came to; only a test that passed leaves something to record."""
        self.comparisons += test.comparisons
        self.rows += test.rows
        for check in test.checks:
            self.checks.append(check)
            if passed and check.keeping is not Keeping.NOTHING:
                self.recorded.append(check)

    def stale(self, store: BaselineStore, profile: str | None = None) -> dict[tuple[str, str], list[str]]:
        """(profile, module) -> names stored for tests that no longer exist; modules not collected whole are left out.

        Raises:
            BaselineError: for a file that cannot be read.
        """
        found = {}
        for module, tests in sorted(self.modules.items()):
            if not tests.whole:
                continue
            for stored_profile, stored_module in store.modules():
                if stored_module != Path(module).with_suffix("").as_posix() or profile not in (
                    None,
                    stored_profile,
                ):
                    continue
                stored = store.read(stored_profile, module).tests
                gone = [name for name in sorted(stored) if CheckId.parse(module, name).test.name not in tests.names]
                if gone:
                    found[stored_profile, module] = gone
        return found

    def write(self, store: BaselineStore, *, prune: bool) -> None:
        """Write what was recorded, one file after the other.

        Args:
            store: where.
            prune: take stale entries out of files that are written, where their module ran whole and without failure.

        Raises:
            BaselineError: at the first file that cannot be written; earlier ones are whole.
        """
        files = self._by_file()
        gone = self._prunable(store, {profile for profile, _ in files}) if prune else {}
        for profile, module in {**files, **gone}:
            names = gone.get((profile, module), [])
            records = files.get((profile, module), [])
            changes = Changes(
                entries={record.name: record.entry() for record in records if record.keeping is Keeping.NEW},
                appended={record.name: record.entry() for record in records if record.keeping is Keeping.APPENDED},
                removed=names,
            )
            self.written.append(store.write(profile, module, changes))
            self.pruned += [str(TestId(module, name)) for name in names]

    def _prunable(self, store: BaselineStore, profiles: Iterable[str]) -> dict[tuple[str, str], list[str]]:
        """Stale entries for the hardware of this run: which tests there are may depend on it."""
        return {
            (profile, module): names
            for wanted in sorted(profiles)
            for (profile, module), names in self.stale(store, wanted).items()
            if module not in self.failed_modules
        }

    def orphans(self, store: BaselineStore, rootdir: Path) -> list[Path]:
        """Files whose test module is neither below `rootdir` nor among the collected ones."""
        known = {Path(module).with_suffix("").as_posix() for module in self.modules}
        return [
            store.path(profile, f"{module}.py")
            for profile, module in store.modules()
            if module not in known and not (rootdir / f"{module}.py").exists()
        ]

    def _by_file(self) -> Mapping[tuple[str, str], list[CheckRecord]]:
        files: dict[tuple[str, str], list[CheckRecord]] = {}
        for check in self.recorded:
            files.setdefault((check.profile, check.module), []).append(check)
        return files

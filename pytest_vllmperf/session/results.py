"""What a run's checks came to, gathered in one process, and what of it is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.baseline import BaselineStore, Entry
from pytest_vllmperf.checks import CheckRecord, split_name


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
    recorded: list[CheckRecord] = field(default_factory=list)
    failed_modules: set[str] = field(default_factory=set)
    modules: dict[str, ModuleTests] = field(default_factory=dict)
    written: list[Path] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)

    def add(self, checks: Iterable[CheckRecord], *, passed: bool) -> None:
        """Take in the checks of one finished test; only a test that passed leaves something to record."""
        for check in checks:
            self.checks.append(check)
            if passed and check.verdict is None:
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
                gone = [name for name in sorted(stored) if split_name(name)[0] not in tests.names]
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
        for (profile, module), entries in self._by_file().items():
            safe = prune and module not in self.failed_modules
            gone = self.stale(store, profile).get((profile, module), []) if safe else []
            self.written.append(store.write(profile, module, entries, gone))
            self.pruned += gone

    def _by_file(self) -> Mapping[tuple[str, str], dict[str, Entry]]:
        files: dict[tuple[str, str], dict[str, Entry]] = {}
        for check in self.recorded:
            files.setdefault((check.profile, check.module), {})[check.name] = check.entry()
        return files

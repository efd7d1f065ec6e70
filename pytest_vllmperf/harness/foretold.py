"""What is known of verdicts before anything is measured: baselines that are missing, or hold other work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from pytest_vllmperf.checking.elsewhere import only_elsewhere
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness.collection import can_check, read_markers, test_id
from pytest_vllmperf.lab.environment import likely_profiles
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.gates import LIMITS
from pytest_vllmperf.records.ids import CheckId, TestId, module_stem
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.records.settings import Settings, Update
from pytest_vllmperf.report.names import WIDTH, distinct
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.verdict.workload_changes import workload_changes

_MOST_NAMED = 3
_RECORD = "  check() needs one: record it with --vllmperf-update-new"


@dataclass(frozen=True)
class Foretold:
    """What a check of a measurement will come to.

    Attributes:
        text: in a line; empty where it can be judged, as far as is known.
        missing: whether that is for want of a baseline.
    """

    text: str = ""
    missing: bool = False


def of_measurement(test: TestId, take: Take, store: BaselineStore, profile_name: str = "") -> Foretold:
    """What is known of a check of a measurement that is about to be made.

    Args:
        test: which measures.
        take: what it measures.
        store: of the baselines.
        profile_name: of the run; empty for the name of the hardware.

    Raises:
        BaselineError: for a baseline file that cannot be read.
    """
    profiles = (profile_name,) if profile_name else likely_profiles(take.target)
    stored = [entry for profile in profiles for entry in store.of_test(profile, test).values()]
    if not profiles:
        return Foretold()
    if not stored:
        elsewhere = store.profiles_of(test.module, lambda check: check.test == test)
        only = only_elsewhere(elsewhere, take.target)
        text = f"{test.name}: no baseline for {profiles[0]}{only}; its check will be NO_BASELINE"
        return Foretold(text, missing=True)
    if any(_same_work(entry, take) for entry in stored):
        return Foretold()
    changes = list(workload_changes(stored[0].workload, take.workload.describe())) if len(stored) == 1 else []
    how = f" ({', '.join(changes)})" if changes else ""
    return Foretold(
        f"{test.name}: its baseline was recorded with another workload{how}; its check will be NOT_COMPARABLE"
    )


class Ahead:
    """What is known of a run's tests once they are collected.

    Args:
        store: of the baselines.
        settings: the run's.

    Attributes:
        missing: tests that have no baseline on any hardware, which was told.
    """

    def __init__(self, store: BaselineStore, settings: Settings) -> None:
        self.missing: frozenset[TestId] = frozenset()
        self._store = store
        self._settings = settings

    def of_run(self, items: Sequence[pytest.Item]) -> list[str]:
        """A line for a person about tests without a baseline; nothing where all have one, or get one in this run.

        Raises:
            BaselineError: for a baseline file that cannot be read.
        """
        if self._settings.update is not Update.NONE:
            return []
        tests = [test_id(item) for item in items if self._has_to_have_one(item)]
        missing = without_baseline(tests, self._store)
        self.missing = frozenset(missing)
        if not missing:
            return []
        number = f"{len(missing)} of {len(tests)} performance test{'' if len(tests) == 1 else 's'}"
        have = "has" if len(missing) == 1 else "have"
        shown = distinct(list(dict.fromkeys(test.name for test in missing))[:_MOST_NAMED], WIDTH - 2)
        more = [f"  and {len(missing) - _MOST_NAMED} more"] if len(missing) > _MOST_NAMED else []
        head = f"vllmperf: {number} {have} no baseline:"
        return [head, *(f"  {name}" for name in shown.values()), *more, _RECORD]

    def _has_to_have_one(self, item: pytest.Item) -> bool:
        """Whether it is a performance test, neither measured in turns with a reference nor judged by limits alone."""
        if not can_check(item):
            return False
        try:
            own = read_markers(item).settings.over(self._settings.check)
            return not own.against and own.gate != (LIMITS,)
        except SpecError:  # told when it runs
            return False


def without_baseline(tests: Sequence[TestId], store: BaselineStore) -> list[TestId]:
    """The tests of which nothing is stored on any hardware.

    Raises:
        BaselineError: for a baseline file that cannot be read.
    """
    # A file outside pytest's root directory has no path in its node id; the run is refused for it.
    modules = {module_stem(test.module): test.module for test in tests if test.module}
    known: set[TestId] = set()
    for profile, stem in store.modules():
        if (module := modules.get(stem)) is not None:
            known |= {CheckId.parse(module, name).test for name in store.read(profile, module).tests}
    return [test for test in tests if test not in known]


def _same_work(entry: Entry, take: Take) -> bool:
    """Whether a session of a stored check may have been of the same work; what is not stored is not held against it."""
    known = {"workload": take.workload.key, "backend": take.target.spec.backend}
    stored = entry.sessions[-1].environment.hard
    return all(stored.get(key, value) == value for key, value in known.items())

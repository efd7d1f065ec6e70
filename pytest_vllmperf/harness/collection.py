"""Which collected items are performance tests, in which order they run, what was left out, and whether any ran."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness import flags, markers
from pytest_vllmperf.harness.markers import CardEntry
from pytest_vllmperf.harness.results import ModuleTests
from pytest_vllmperf.records.ids import TestId, module_stem
from pytest_vllmperf.records.settings import CheckSettings
from pytest_vllmperf.records.spec import EngineSpec

_LONGEST_NAME = 255
"""Bytes of a file's name on the file systems of Linux."""
_NODE_ID = pytest.StashKey[str]()


@dataclass(frozen=True)
class Marked:
    """What a performance test's markers say.

    Attributes:
        spec: its engine; None when the test names engines itself.
        gpu: the GPU it asks for.
        settings: how it measures.
        card: the scorecard that it fills a row of.
    """

    spec: EngineSpec | None
    gpu: GpuRequirement | None
    settings: CheckSettings
    card: CardEntry | None = None


def is_performance_test(item: pytest.Item) -> bool:
    """Whether it measures, or looks at what was measured for several tests."""
    return can_check(item) or shares(item)


def can_check(item: pytest.Item) -> bool:
    """Whether it uses the fixture `vllmperf`, so that it may have baselines."""
    return flags.FIXTURE in getattr(item, "fixturenames", ())


def shares(item: pytest.Item) -> bool:
    """Whether it uses the fixture `vllmperf_session`, be it through another fixture."""
    return flags.SESSION_FIXTURE in getattr(item, "fixturenames", ())


def read_markers(item: pytest.Item) -> Marked:
    """What the test's markers say.

    Raises:
        SpecError: naming the test and what is wrong.
    """
    return Marked(
        markers.engine_spec(item), markers.gpu_requirement(item), markers.check_settings(item), markers.card_entry(item)
    )


def keep_node_ids(items: Sequence[pytest.Item]) -> None:
    """Remember node ids as pytest has collected them: with `--dist loadgroup`, pytest-xdist adds a group to them."""
    for item in items:
        item.stash[_NODE_ID] = item.nodeid


def node_id(item: pytest.Item) -> str:
    """An item's node id without the group that a worker of pytest-xdist has added to it."""
    return item.stash.get(_NODE_ID, item.nodeid)


def test_id(item: pytest.Item) -> TestId:
    """Which test an item is, whatever pytest-xdist has added to its node id."""
    return TestId.parse(node_id(item))


def ordered(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Ordinary tests first, as they were; then performance tests, those of one engine together.

    Engines come in the order in which they were first asked for, and so do the tests of one engine. A marker that
    cannot be read does not matter here: its test will say so.
    """
    engines: dict[object, int] = {}
    places = []
    for item in items:
        place = -1
        if is_performance_test(item):
            place = engines.setdefault(_engine(item), len(engines))
        places.append(place)
    return [item for _, item in sorted(zip(places, items, strict=True), key=lambda pair: pair[0])]


def _engine(item: pytest.Item) -> object:
    try:
        marked = read_markers(item)
    except SpecError:
        return None
    return (marked.spec, marked.gpu, marked.settings.against)


class Places:
    """Where the baselines of the collected performance tests lie: each module has a file, each test an entry in it.

    Args:
        config: of the run.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._modules: dict[str, set[str]] = {}
        self._tests: dict[TestId, set[str]] = {}

    def add(self, items: Sequence[pytest.Item]) -> None:
        """Take in the performance tests among these."""
        for item in filter(can_check, items):
            test = test_id(item)
            self._modules.setdefault(module_stem(test.module), set()).add(test.module)
            self._tests.setdefault(test, set()).add(node_id(item))

    def check(self, item: pytest.Item) -> None:
        """See that a test has an entry of its own, in a file that can be made.

        Raises:
            SpecError: for one that would share it, whose module is outside the root directory, or has too long a name.
        """
        test = test_id(item)
        if not item.path.is_relative_to(self._config.rootpath):
            raise SpecError(self._outside(item.path))
        if others := self._modules.get(module_stem(test.module), set()) - {test.module}:
            raise SpecError(f"{test.module} and {min(others)} would use the same baseline file; rename one of them")
        if len(self._tests.get(test, ())) > 1:
            raise SpecError(
                f"{test}: another test's id differs only in characters that are not valid Unicode; rename one of them"
            )
        excess = len(os.fsencode(f"{Path(test.module).stem}.json")) - _LONGEST_NAME
        if excess > 0:
            raise SpecError(
                f"{test.module}: the module name makes the name of its baseline file {excess} bytes "
                f"too long; shorten it"
            )

    def _outside(self, path: Path) -> str:
        """Two folders outside may have a module of one name; what pytest calls it depends on the arguments."""
        here = self._config.invocation_params.dir
        shown, rootdir, common = (
            os.path.relpath(one, here)
            for one in (path, self._config.rootpath, os.path.commonpath([here, self._config.rootpath, path]))
        )
        return (
            f"{shown} is outside pytest's root directory {rootdir}; baselines are stored by a module's path "
            f"below it. Add --rootdir={common}"
        )


class Collected:
    """Keeps book of what was collected, and whether modules were collected whole."""

    def __init__(self, config: pytest.Config) -> None:
        self._names: dict[str, set[str]] = {}
        self._partial: set[str] = set()
        self._everything_partial = _last_failed(config)
        for argument in config.args:
            if (named := TestId.parse(argument)).name:
                self._partial.add(named.module.rsplit("/", 1)[-1])

    def add(self, items: Sequence[pytest.Item]) -> None:
        """Items before anything was deselected."""
        for item in items:
            test = test_id(item)
            self._names.setdefault(test.module, set()).add(test.name)

    def deselected(self, items: Sequence[pytest.Item]) -> None:
        """Items that will not run."""
        self._partial.update(test_id(item).module for item in items)

    def modules(self) -> dict[str, ModuleTests]:
        """What was collected, by module."""
        return {
            module: ModuleTests(frozenset(names), whole=not self._is_partial(module))
            for module, names in self._names.items()
        }

    def _is_partial(self, module: str) -> bool:
        return self._everything_partial or module in self._partial or module.rsplit("/", 1)[-1] in self._partial


def _last_failed(config: pytest.Config) -> bool:
    """--lf and its kin leave out tests while a module is collected, without a word to other plugins."""
    return any(config.getoption(name, False) for name in ("lf", "stepwise"))

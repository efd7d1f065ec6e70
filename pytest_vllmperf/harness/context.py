"""What is known of a running test: where it lies, what its markers say, and what became of its checks."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pytest_vllmperf.checking.open_checks import OpenCheck
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness.markers import CardEntry
from pytest_vllmperf.records.ids import CHECK_SEPARATOR, CheckId, TestId
from pytest_vllmperf.records.results import CheckRecord, ComparisonRecord, TestResults
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.records.settings import CheckSettings
from pytest_vllmperf.records.spec import EngineSpec


@dataclass(frozen=True)
class NamedCheck:
    """A check that wants more engines, and its name in the baseline file."""

    name: str
    check: OpenCheck


@dataclass
class TestContext:
    """What is known of the running test.

    Attributes:
        nodeid: its node id.
        rootdir: what the node id starts from.
        started_in: where pytest was started.
        arguments: what a command that records this test needs besides.
        spec: what its `vllm` marker names.
        gpu: what its `gpu` marker asks for.
        settings: what its `vllmperf` marker says, over the run's settings.
        raised: whether setup, call or teardown raised anything.
        checks: those that have come to their end.
        open: those that want more engines.
        properties: the test's properties for JUnit, filled as checks end.
        card: the scorecard that its measurements are rows of.
        compared: what tells of each comparison.
        rows: rows of the scorecard.
    """

    __test__ = False

    nodeid: str
    rootdir: Path
    started_in: Path
    arguments: tuple[str, ...]
    spec: EngineSpec | None
    gpu: GpuRequirement | None
    settings: CheckSettings
    raised: bool = False
    checks: list[CheckRecord] = field(default_factory=list)
    open: list[NamedCheck] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    properties: list[tuple[str, object]] = field(default_factory=list)
    card: CardEntry | None = None
    compared: list[Callable[[], ComparisonRecord]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def results(self) -> TestResults:
        """All that the test came to; of a row whose measurement was checked, with the engines of the check."""
        rows = [row.model_copy(update={"engines": self._engines(row)}) for row in self.rows]
        compared = tuple((self.nodeid, record()) for record in self.compared)
        return TestResults(checks=tuple(self.checks), comparisons=compared, rows=tuple(rows))

    def _engines(self, row: Row) -> tuple[EngineSamples, ...]:
        checked = [check.session.engines for check in self.checks if check.session.engines[0] == row.engines[0]]
        return max([row.engines, *map(tuple, checked)], key=len)

    @property
    def module(self) -> str:
        """The test module's path, as in the node id."""
        return TestId.parse(self.nodeid).module

    def check_name(self, name: str | None) -> str:
        """The name of the next check in the baseline file: the test's, and the check's own behind it.

        Raises:
            SpecError: for a name that this test has used already, or that could be mistaken for a test's.
        """
        if name is not None and (not name or "]" in name or CHECK_SEPARATOR in name):
            raise SpecError(f"{self.nodeid}: a check cannot be called {name!r}; leave ']' and '{CHECK_SEPARATOR}' out")
        if name is None and self._names:
            name = str(len(self._names) + 1)
        full = CheckId(TestId.parse(self.nodeid), name or "").name
        if full in self._names:
            raise SpecError(f"{self.nodeid}: two checks are called {name!r}; give each a name of its own")
        self._names.append(full)
        return full

    def record_command(self) -> str:
        """The command that records this test's baseline, from where pytest was started."""
        test = TestId.parse(self.nodeid)
        here = TestId(os.path.relpath(self.rootdir / test.module, self.started_in), test.name)
        return shlex.join(["pytest", "--vllmperf-update-new", *self.arguments, str(here)])

"""Histories to test with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_vllmperf.history.adding import Added, add
from pytest_vllmperf.history.choosing import Choice
from pytest_vllmperf.history.database import Database
from pytest_vllmperf.history.finding import Rule, find
from pytest_vllmperf.history.reading import read
from pytest_vllmperf.history.taking import of_run
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.records.trends import Trends

Add = Callable[[Sequence[RunReport]], list[Added]]
Found = Callable[..., Trends]


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A history that is not there yet, whose lock is not waited for."""
    return Database(str(tmp_path / "history.db"), timeout=0.1)


@pytest.fixture
def add_runs(database: Database) -> Add:
    """Add runs to it."""
    return lambda reports: add(database, [of_run(report) for report in reports])


@pytest.fixture
def found(database: Database) -> Found:
    """What is found in it, of a choice."""

    def found(choice: Choice = Choice(), rule: Rule = Rule()) -> Trends:  # noqa: B008 - frozen
        return find(read(database), choice, rule)

    return found

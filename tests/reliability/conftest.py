"""Faults done to real engines. `nox -s faults` runs them all; what is not `long` runs with the tests too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.runs import Run

HERE = Path(__file__).parent
Start = Callable[..., Run]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is `real`."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.real)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a run in this test's folder."""
    started: list[Run] = []

    def begin(*arguments: str, **more: Any) -> Run:
        started.append(Run(more.pop("folder", tmp_path), arguments, **more))
        return started[-1]

    yield begin
    for run in started:
        run.end()

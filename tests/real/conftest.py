"""Real vLLM on the CPU build. One launcher for all tests: vLLM is imported once, which takes longest."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.records.engine import Timeouts
from pytest_vllmperf.records.spec import EngineSpec
from tests.measuring import TINY, perf

__all__ = ["TINY", "perf"]

HERE = Path(__file__).parent
MODEL = "vllmperf:tiny"
LONGEST = ("test_two_versions.py", "test_loop.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is `real`; where vLLM is missing it fails, because it must not be skipped unseen.

    The files that take longest come first.
    """
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.real)
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    assert importlib.util.find_spec("vllm"), "install pytest-vllmperf[cpu]; deselect with -m 'not real'"
    launcher = Launcher(Timeouts(start=600, operation=300))
    yield launcher
    launcher.close()


def quiet(doing: str, waited: float) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="session")
def start(launcher: Launcher) -> Callable[..., Engine]:
    """Start an engine of the tiny model; keywords are engine arguments over `TINY`."""

    def start(model: str = MODEL, **engine_args: Any) -> Engine:
        return launcher.start(EngineSpec.create(model, **{**TINY, **engine_args}), {}, quiet)

    return start


@pytest.fixture(scope="session")
def engine(start: Callable[..., Engine]) -> Iterator[Engine]:
    """One engine that tests share; none may leave it in another state than it found it."""
    engine = start()
    yield engine
    engine.close()

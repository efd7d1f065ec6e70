"""What tests of leases have in common: devices, the leases of several runs, and what a run does that has to wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.lab.leases import Leases

LONG = 60.0
"""Seconds that nothing here takes."""

ONE, TWO, THREE = DEVICES = ["GPU-1", "GPU-2", "GPU-3"]


def never(doing: str, waited: float) -> None:
    raise AssertionError(f"waited: {doing}")


class GivenUpError(Exception):
    pass


def give_up(doing: str, waited: float) -> None:
    raise GivenUpError(doing)


Make = Callable[[], Leases]


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Make]:
    """Makes the leases of one more run."""
    made: list[Leases] = []

    def another() -> Leases:
        made.append(Leases(tmp_path, pause=0.001))
        return made[-1]

    yield another
    for one in made:
        one.release()

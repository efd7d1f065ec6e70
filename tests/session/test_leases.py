"""Leases on devices."""

import tempfile
from pathlib import Path

import pytest

from pytest_vllmperf.session import leases
from pytest_vllmperf.session.leases import Leases


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(leases, "_POLL_S", 0.01)


def never(doing: str, waited: float) -> None:
    raise AssertionError(f"waited: {doing}")


class GivenUpError(Exception):
    pass


def give_up(doing: str, waited: float) -> None:
    raise GivenUpError(doing)


def test_devices_that_are_free_are_held_at_once() -> None:
    mine = Leases()
    mine.acquire(["GPU-1", "GPU-2"], never)
    for device in ("GPU-1", "GPU-2"):
        with pytest.raises(GivenUpError, match=f"waiting for {device}, which another run is measuring on"):
            Leases().acquire([device], give_up)
    mine.release()


def test_other_devices_are_not_held() -> None:
    mine, other = Leases(), Leases()
    mine.acquire(["GPU-1"], never)
    other.acquire(["GPU-2", "cpu"], never)
    mine.release()
    other.release()


def test_what_is_held_already_needs_no_waiting() -> None:
    mine = Leases()
    mine.acquire(["GPU-1"], never)
    mine.acquire(["GPU-1", "GPU-1", "GPU-2"], never)
    mine.release()
    other = Leases()
    other.acquire(["GPU-1", "GPU-2"], never)
    other.release()


def test_a_waiting_run_goes_on_when_the_device_is_given_back() -> None:
    first, second = Leases(), Leases()
    first.acquire(["GPU-1"], never)
    told: list[tuple[str, float]] = []

    def give_it_back(doing: str, waited: float) -> None:
        told.append((doing, waited))
        if len(told) == 2:
            first.release()

    second.acquire(["GPU-1"], give_it_back)
    assert [doing for doing, _ in told] == ["waiting for GPU-1, which another run is measuring on"] * 2
    assert 0 < told[0][1] < told[1][1]
    with pytest.raises(GivenUpError):
        first.acquire(["GPU-1"], give_up)
    second.release()


def test_devices_are_taken_in_one_order_so_that_two_runs_never_wait_for_each_other() -> None:
    holder, mine = Leases(), Leases()
    holder.acquire(["GPU-1"], never)
    with pytest.raises(GivenUpError, match="GPU-1"):
        mine.acquire(["GPU-2", "GPU-1"], give_up)
    other = Leases()
    other.acquire(["GPU-2"], never)  # not held while waiting for GPU-1
    other.release()
    holder.release()


def test_what_was_taken_before_giving_up_can_be_given_back() -> None:
    holder, mine, other = Leases(), Leases(), Leases()
    holder.acquire(["GPU-2"], never)
    with pytest.raises(GivenUpError):
        mine.acquire(["GPU-1", "GPU-2"], give_up)
    mine.release()
    other.acquire(["GPU-1"], never)
    other.release()
    holder.release()

"""Leases on devices: what one run holds, no other run has."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.lab import leases
from pytest_vllmperf.lab.leases import CPU, Leases, endpoint_lease, gpus_among
from pytest_vllmperf.records.engine import Progress
from tests.lab.leasing import DEVICES, LONG, ONE, THREE, TWO, GivenUpError, Make, give_up, lease, never

__all__ = ["lease"]


class Clock:
    """Time that passes by sleeping alone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(leases, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)


def test_the_first_that_is_free_is_taken(lease: Make) -> None:
    first, second, third = lease(), lease(), lease()
    assert first.choose(DEVICES, 1, never) == (ONE,)
    assert second.choose(DEVICES, 1, never) == (TWO,)
    assert third.choose([THREE, ONE], 1, never) == (THREE,)
    assert [one.held for one in (first, second, third)] == [(ONE,), (TWO,), (THREE,)]


def test_no_more_are_taken_than_are_asked_for(lease: Make) -> None:
    assert lease().choose(DEVICES, 2, never) == (ONE, TWO)
    assert lease().choose(DEVICES, 1, never) == (THREE,)


def test_what_is_held_already_comes_first(lease: Make) -> None:
    mine = lease()
    mine.choose([TWO], 1, never)
    assert mine.choose(DEVICES, 1, never) == (TWO,)
    assert mine.held == (TWO,)
    assert mine.choose(DEVICES, 2, never) == (ONE, TWO)  # in their order, not in that of the taking
    assert mine.choose(DEVICES, 1, never) == (ONE,)
    assert lease().choose(DEVICES, 1, never) == (THREE,)


def test_what_is_held_and_does_not_fit_stays_held_where_nobody_waits(lease: Make) -> None:
    mine = lease()
    mine.choose(["cpu"], 1, never)
    mine.choose([ONE], 1, never)
    assert mine.held == ("cpu", ONE)


@pytest.mark.usefixtures("_clock")
def test_who_finds_nothing_free_waits_until_it_is_given_back(lease: Make, tmp_path: Path) -> None:
    first, second = lease(), Leases(tmp_path, pause=1.5)
    first.choose([ONE], 1, never)
    told: list[tuple[str, float]] = []

    def give_it_back(doing: str, waited: float) -> None:
        told.append((doing, waited))
        if len(told) == 4:
            first.release()

    assert second.choose([ONE], 1, give_it_back) == (ONE,)
    words = "waiting for GPU-1, which another run is measuring on"
    assert told == [(words, 0.0), (words, 0.0), (words, 1.5), (words, 3.0)]
    with pytest.raises(GivenUpError):
        first.choose([ONE], 1, give_up)
    second.release()


def test_it_is_told_how_many_are_waited_for(lease: Make) -> None:
    lease().choose([TWO, THREE], 2, never)
    with pytest.raises(GivenUpError, match=r"^waiting for 2 of 3 GPUs, which other runs are measuring on$"):
        lease().choose(DEVICES, 2, give_up)
    with pytest.raises(GivenUpError, match=r"^waiting for 1 of 2 GPUs, which other runs are measuring on$"):
        lease().choose([TWO, THREE], 1, give_up)


def test_all_are_taken_together_or_none(lease: Make) -> None:
    holder, mine, other = lease(), lease(), lease()
    holder.choose([TWO], 1, never)
    with pytest.raises(GivenUpError):
        mine.choose([ONE, TWO], 2, give_up)
    assert mine.held == ()
    assert other.choose([ONE], 1, never) == (ONE,)


def test_everything_is_given_back_before_the_wait(lease: Make) -> None:
    """Else two runs that each hold what the other waits for would wait for ever."""
    holder, mine = lease(), lease()
    mine.choose(["cpu"], 1, never)
    mine.choose([ONE], 1, never)
    holder.choose([TWO], 1, never)

    def look(doing: str, waited: float) -> None:
        assert mine.held == ()
        assert holder.choose(["cpu", ONE], 2, never) == ("cpu", ONE)
        raise GivenUpError

    with pytest.raises(GivenUpError):
        mine.choose([ONE, TWO], 2, look)


def test_what_cannot_be_taken_at_once_leaves_everything_as_it_was(lease: Make) -> None:
    holder, mine, other = lease(), lease(), lease()
    assert mine.take([ONE], 1) == (ONE,)
    assert holder.take([TWO], 1) == (TWO,)
    assert mine.take([ONE, TWO, THREE], 3) is None
    assert mine.held == (ONE,)
    assert mine.take([ONE, TWO, THREE], 2) == (ONE, THREE)
    assert mine.held == (ONE, THREE)
    assert other.take(DEVICES, 1) is None


def test_devices_are_given_back_by_name_or_all(lease: Make) -> None:
    mine, other = lease(), lease()
    mine.choose(DEVICES, 3, never)
    mine.release([TWO])
    assert mine.held == (ONE, THREE)
    assert other.choose(DEVICES, 1, never) == (TWO,)
    mine.release()
    assert mine.held == ()
    assert other.choose(DEVICES, 3, never) == (ONE, TWO, THREE)


@pytest.fixture
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody names a folder."""
    monkeypatch.delenv(leases.VARIABLE)


HOLDER = """
import sys, pathlib
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.lab import leases

def waiting(doing, waited):
    print("waits", flush=True)
    sys.exit()

leases.FOLDER = pathlib.Path(sys.argv[1])
mine = leases.Leases()
print(*mine.choose(sys.argv[2:], 1, waiting), flush=True)
sys.stdin.read()
"""


@pytest.mark.usefixtures("unset")
def test_another_process_is_another_run_and_its_leases_end_with_it(tmp_path: Path, lease: Make) -> None:
    """Whatever folder for temporary files either has."""
    lease().choose([ONE], 1, never)
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    envs = [{**os.environ, "TMPDIR": str(tmp_path / name)} for name in ("a", "b")]
    for env in envs:
        Path(env["TMPDIR"]).mkdir()

    def look(*devices: str) -> str:
        run = [*command, *devices]
        return subprocess.run(
            run, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LONG, check=True, env=envs[0]
        ).stdout

    assert look(ONE) == "waits\n"
    with subprocess.Popen(
        [*command, ONE, TWO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=envs[1]
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "GPU-2\n"
        assert look(ONE, TWO) == "waits\n"
        with pytest.raises(GivenUpError):
            lease().choose([TWO], 1, give_up)
        other.kill()
        other.wait(LONG)
    assert lease().choose([TWO], 1, never) == (TWO,)


def test_two_runs_that_both_want_both_get_them_one_after_the_other(lease: Make) -> None:
    counts = dict.fromkeys((ONE, TWO), 0)
    clashes: list[str] = []
    start = threading.Barrier(2)

    def measure(fitting: list[str], mine: Leases) -> None:
        mine.choose(fitting[:1], 1, lambda *_: None)
        start.wait(LONG)  # now each holds what the other lacks
        for _ in range(20):
            for device in mine.choose(fitting, 2, lambda *_: None):
                counts[device] += 1
                clashes.extend([device] * (counts[device] != 1))
            for device in fitting:
                counts[device] -= 1
            mine.release(fitting[1:])
        mine.release()

    runs = [threading.Thread(target=measure, args=(way, lease()), daemon=True) for way in ([ONE, TWO], [TWO, ONE])]
    for run in runs:
        run.start()
    for run in runs:
        run.join(LONG)
    assert not any(run.is_alive() for run in runs)
    assert clashes == []


relaxed = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
moves = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.sampled_from(DEVICES), max_size=3, unique=True), st.integers(1, 3)),
    max_size=12,
)


def attempt(mine: Leases, fitting: list[str], count: int, progress: Progress) -> tuple[str, ...]:
    try:
        return mine.choose(fitting, count, progress)
    except GivenUpError:
        assert mine.held == ()
        return ()


@relaxed
@given(moves)
def test_no_two_runs_ever_hold_the_same_device(done: list[tuple[int, list[str], int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = [Leases(Path(folder)) for _ in range(3)]
        for who, fitting, count in done:
            if count > len(fitting):
                runs[who].release()
                continue
            before = runs[who].held
            chosen = attempt(runs[who], fitting, count, give_up)
            assert chosen == () or len(chosen) == count
            assert list(chosen) == [device for device in fitting if device in chosen]
            assert set(chosen) <= set(runs[who].held)
            if chosen:
                kept = [device for device in fitting if device in before]
                assert len(set(kept) & set(chosen)) == min(len(kept), count)
            held = [device for one in runs for device in one.held]
            assert len(held) == len(set(held))
        for one in runs:
            one.release()


@pytest.mark.usefixtures("_clock")
@pytest.mark.parametrize(("timeout", "looks"), [(0.0, 1), (2.5, 4)])
def test_the_wait_has_an_end(timeout: float, looks: int, lease: Make, tmp_path: Path) -> None:
    first, second = lease(), Leases(tmp_path, pause=1.0, timeout=timeout)
    first.choose([ONE], 1, never)
    told: list[float] = []
    with pytest.raises(EngineError) as failed:
        second.choose([ONE], 1, lambda doing, waited: told.append(waited))
    assert str(failed.value) == (
        f"waited {timeout:g} s for GPU-1, which another run is measuring on; end that run, or raise "
        f"--vllmperf-lease-timeout"
    )
    assert len(told) == looks + (timeout > 0)
    assert told[-1] == timeout


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/v1", "http://127.0.0.1:8000", "http://127.0.0.1:8000/other/v1"])
def test_one_server_has_one_lease_however_its_path_is_written(url: str) -> None:
    assert endpoint_lease(url) == "endpoint-127.0.0.1-8000"
    assert endpoint_lease("http://127.0.0.1:8001/v1") != endpoint_lease(url)


def test_only_gpus_are_looked_at() -> None:
    assert gpus_among(["GPU-1", CPU, endpoint_lease("http://h/v1")]) == ["GPU-1"]

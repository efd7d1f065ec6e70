"""What /proc tells of the machine, and what becomes of files that are not there or not as expected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.lab import driving, host
from pytest_vllmperf.lab.host import CpuTimes, between, cpu_times, frequency, watched
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.host import HostUse
from pytest_vllmperf.records.run import MeasureSettings, RunResult
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request, Workload

CPUINFO = "processor\t: 0\ncpu MHz\t\t: 1200.5\n\nprocessor\t: 1\ncpu MHz\t\t: 3700.0\n"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A machine that has worked a little."""
    stat(tmp_path, 100, 10, 40, 800, 30, 5, 15, 0, 50, 0)
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    return tmp_path


def stat(proc: Path, *ticks: int) -> None:
    """user nice system idle iowait irq softirq steal guest guest_nice."""
    (proc / "stat").write_text(f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3 4 5 6 7 8 9 10\nintr 5\n")


def test_the_times_of_all_cpus_by_hand(proc: Path) -> None:
    assert cpu_times(proc) == CpuTimes(used=170, stolen=0, total=1000)  # a guest's time is in the user's
    assert frequency(proc) == 3.7e9


def test_what_happened_in_a_span(proc: Path) -> None:
    with watched(proc) as seen:
        stat(proc, 140, 10, 50, 830, 30, 5, 15, 20, 90, 0)
        assert seen.use is None, "it is not over"
    assert seen.use == HostUse(load=0.5, steal=0.2, frequency_hz=3.7e9)


def test_a_span_without_a_tick_says_nothing(proc: Path) -> None:
    with watched(proc) as seen:
        pass
    assert seen.use is None
    assert between(CpuTimes(5, 0, 10), CpuTimes(4, 0, 9), proc) is None, "a counter that runs backwards"


def test_idle_time_may_run_backwards_and_shares_stay_shares(proc: Path) -> None:
    """proc_stat(5): the time in iowait may decrease."""
    found = between(CpuTimes(100, 10, 200), CpuTimes(150, 5, 220), proc)
    assert found == HostUse(1.0, 0.0, 3.7e9)


@pytest.mark.parametrize(
    "text", ["", "cpu", "cpu  1 2 3 4", "cpu0 1 2 3 4 5 6 7 8 9", "cpu  a b c d e f g h i j", "\udcff"]
)
def test_another_form_is_not_known(proc: Path, text: str) -> None:
    (proc / "stat").write_text(text, errors="surrogateescape")
    assert cpu_times(proc) is None
    with watched(proc) as seen:
        pass
    assert seen.use is None


@pytest.mark.parametrize(
    "text", ["", "model name : ARM", "cpu MHz : fast", "cpu MHz : 0.000", "cpu MHz : 1.2.3", "cpu MHz : ."]
)
def test_a_kernel_that_does_not_tell_the_frequency(proc: Path, text: str) -> None:
    (proc / "cpuinfo").write_text(text)
    assert frequency(proc) is None
    with watched(proc) as seen:
        stat(proc, 140, 10, 50, 830, 30, 5, 15, 20, 90, 0)
    assert seen.use == HostUse(0.5, 0.2, None)


def test_without_proc_nothing_is_known_and_nothing_fails(tmp_path: Path) -> None:
    assert (cpu_times(tmp_path / "no"), frequency(tmp_path / "no")) == (None, None)


def test_every_iteration_has_what_the_machine_did_in_it(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Working(SimulatedEngine):
        """An engine whose iterations take 100 ticks, the second half of them of other machines."""

        def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
            found = super().run(requests, sampling)
            times = cpu_times(proc)
            assert times is not None
            stat(proc, times.used + 50, 0, 0, 830, 0, 0, 0, times.stolen + 50, 0, 0)
            return found

    monkeypatch.setattr(host, "PROC", proc)
    stat(proc, 170, 0, 0, 830, 0, 0, 0, 0, 0, 0)
    engine = Working(EngineSpec.create("a", backend="simulated"))
    work = Workload.synthetic(requests=2, input_tokens=8, output_tokens=4)
    run = driving.measure(engine, work, MeasureSettings(1, 2), lambda _: None)
    assert [one.host for one in (*run.warmup, *run.iterations)] == [HostUse(0.5, 0.5, 3.7e9)] * 3

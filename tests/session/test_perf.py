"""Measuring on behalf of tests, with simulated engines and a recording launcher."""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.base import Engine, Progress, Timeouts
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineDiedError, EngineStartError, NoGpuError, WorkloadError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.measure import MeasureSettings
from pytest_vllmperf.options import DEFAULTS, Settings, Update
from pytest_vllmperf.session import perf
from pytest_vllmperf.session.leases import Leases
from pytest_vllmperf.session.pair import Pair
from pytest_vllmperf.session.perf import PerfSession
from pytest_vllmperf.session.sharing import Sharing, Way
from pytest_vllmperf.session.target import Target
from pytest_vllmperf.spec import EngineSpec
from pytest_vllmperf.workload import Workload

WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5, concurrency=2)
ONCE = MeasureSettings(warmup=1, iterations=2)
GPUS = (
    GpuDevice("GPU-1", "NVIDIA H200", 2**37, (9, 0), "565"),
    GpuDevice("GPU-2", "NVIDIA RTX A6000", 2**35, (8, 6), "565"),
)


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def session(tmp_path: Path, told: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[PerfSession]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gpu, "devices", lambda: GPUS)
    settings = Settings(Update.NONE, tmp_path / "baselines", DEFAULTS, 30.0, 20.0)
    opened = PerfSession(settings, lambda doing, waited: told.append(doing))
    yield opened
    opened.close()


def simulated(model: str = "m", **script: Any) -> Target:
    return Target(EngineSpec.create(model, backend="simulated", **script))


def pair(session: PerfSession, a: Target, b: Target, way: Way = Way.RESIDENT) -> Pair:
    return Pair(session, Sharing(way, (a, b)), WORKLOAD, ONCE)


def test_a_measurement_is_complete(session: PerfSession) -> None:
    run = session.measure(simulated(step_seconds=0.5, prefill_seconds_per_token=0), WORKLOAD, ONCE)
    assert (run.profile, run.device, run.problems) == ("simulated", "simulated", ())
    assert run.spec_label == "m prefill_seconds_per_token=0 step_seconds=0.5"
    assert run.workload == WORKLOAD.describe()
    assert run.environment.hard["workload"] == WORKLOAD.key
    assert run.environment.hard["model"] == "m"
    assert [len(values) for values in run.samples("tpot.p50")] == [2]
    assert run.tpot.p50 == pytest.approx(0.5)
    assert run.engines[0].warmup["tpot.p50"] == pytest.approx([0.5])
    assert run.engine_steps == 10  # four requests, two at a time, five tokens each


def test_one_engine_serves_many_measurements(session: PerfSession) -> None:
    for _ in range(3):
        session.measure(simulated(), WORKLOAD, ONCE)
    assert session.pool.started == 1
    session.measure(simulated(step_seconds=0.5), WORKLOAD, ONCE)
    assert session.pool.started == 2


def test_the_person_is_told_what_is_going_on(session: PerfSession, told: list[str]) -> None:
    session.measure(simulated("org/llama"), WORKLOAD, ONCE)
    assert told == ["llama: warm-up 1/1", "llama: iteration 1/2", "llama: iteration 2/2"]


def test_output_of_another_length_is_a_problem_unless_the_end_token_counts(session: PerfSession) -> None:
    short = simulated(fail="short")
    assert "4 output tokens where 5" in session.measure(short, WORKLOAD, ONCE).problems[0]
    free = Workload.prompts(["hello world"], output_tokens=5, ignore_eos=False)
    assert session.measure(short, free, ONCE).problems == ()


def test_an_engine_that_died_is_replaced(session: PerfSession) -> None:
    for started in (1, 2):
        with pytest.raises(EngineDiedError):
            session.measure(simulated(fail="run"), WORKLOAD, ONCE)
        assert session.pool.started == started


def test_a_workload_that_does_not_fit_costs_no_engine(session: PerfSession) -> None:
    target = simulated(max_model_len=13)
    session.measure(target, WORKLOAD, ONCE)
    with pytest.raises(WorkloadError, match="does not fit m"):
        session.measure(target, Workload.synthetic(requests=1, input_tokens=9, output_tokens=5), ONCE)
    session.measure(target, WORKLOAD, ONCE)
    assert session.pool.started == 1


def test_an_engine_that_does_not_start_leaves_the_session_usable(session: PerfSession) -> None:
    with pytest.raises(EngineStartError):
        session.measure(simulated(fail="load"), WORKLOAD, ONCE)
    assert session.measure(simulated(), WORKLOAD, ONCE).problems == ()


def test_two_engines_are_measured_in_turns(session: PerfSession) -> None:
    slow, fast = simulated(step_seconds=0.2), simulated(step_seconds=0.1)
    a, b = pair(session, slow, fast).measure_round()
    assert session.pool.started == 2
    assert a.tpot.p50 == pytest.approx(2 * b.tpot.p50)
    assert [len(side.samples("tpot.p50")[0]) for side in (a, b)] == [2, 2]


def test_when_one_of_two_dies_both_are_replaced(session: PerfSession) -> None:
    good, bad = simulated(), simulated(fail="run")
    with pytest.raises(EngineDiedError):
        pair(session, good, bad).measure_round()
    session.measure(good, WORKLOAD, ONCE)
    assert session.pool.started == 3


@pytest.mark.parametrize(
    ("requirement", "chosen"),
    [(None, GPUS[:1]), (GpuRequirement.create("A6000"), GPUS[1:]), (GpuRequirement.create(count=2), GPUS)],
)
def test_the_gpu_of_a_target(session: PerfSession, requirement: GpuRequirement | None, chosen: Any) -> None:
    spec = EngineSpec.create("m")
    target = session.target(spec, requirement)
    assert target == Target(spec, chosen)
    assert target.key == (spec, tuple(device.uuid for device in chosen))


def test_a_simulated_engine_needs_no_gpu(session: PerfSession) -> None:
    spec = EngineSpec.create("m", backend="simulated")
    assert session.target(spec, GpuRequirement.create("H100")) == Target(spec)


def test_without_the_gpu_it_asks_for_a_target_is_refused(session: PerfSession) -> None:
    with pytest.raises(NoGpuError, match=r"needs H100, found NVIDIA H200, NVIDIA RTX A6000"):
        session.target(EngineSpec.create("m"), GpuRequirement.create("H100"))


def test_without_any_gpu_the_choice_is_vllms(session: PerfSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "devices", lambda: ())
    assert session.target(EngineSpec.create("m"), None) == Target(EngineSpec.create("m"))
    with pytest.raises(NoGpuError, match="found no GPU"):
        session.target(EngineSpec.create("m"), GpuRequirement.create())


class RecordingLauncher:
    """Starts simulated engines in the place of real ones."""

    started: list[tuple[str, dict[str, str]]]
    timeouts: Timeouts
    closed = False

    def __init__(self, timeouts: Timeouts) -> None:
        type(self).timeouts = timeouts
        type(self).started = []
        type(self).closed = False

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        progress("importing vLLM", 1.0)
        type(self).started.append((spec.model, dict(device_env)))
        return SimulatedEngine(EngineSpec.create(spec.model, backend="simulated"))

    def close(self) -> None:
        type(self).closed = True


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: list[str]) -> Iterator[PerfSession]:
    """A session whose engines are taken for real ones."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(gpu, "devices", lambda: GPUS)
    monkeypatch.setattr(perf, "Launcher", RecordingLauncher)
    settings = Settings(Update.NONE, tmp_path / "baselines", DEFAULTS, 30.0, 20.0)
    opened = PerfSession(settings, lambda doing, waited: told.append(doing))
    yield opened
    opened.close()


class TakenError(Exception):
    pass


def is_free(device: str) -> bool:
    def give_up(doing: str, waited: float) -> None:
        raise TakenError

    leases = Leases()
    try:
        leases.acquire([device], give_up)
    except TakenError:
        return False
    leases.release()
    return True


@pytest.fixture(autouse=True)
def _quick_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.session.leases._POLL_S", 0.01)


def test_an_engine_sees_the_devices_that_were_chosen_for_it(real: PerfSession, told: list[str]) -> None:
    real.measure(real.target(EngineSpec.create("org/m"), GpuRequirement.create(count=2)), WORKLOAD, ONCE)
    assert RecordingLauncher.started == [("org/m", {"CUDA_VISIBLE_DEVICES": "GPU-1,GPU-2"})]
    assert RecordingLauncher.timeouts == Timeouts(start=30.0, operation=20.0)
    assert told[0] == "m: importing vLLM"


def test_devices_are_leased_while_the_session_measures(real: PerfSession) -> None:
    real.measure(real.target(EngineSpec.create("m"), GpuRequirement.create("A6000")), WORKLOAD, ONCE)
    assert [is_free(device) for device in ("GPU-1", "GPU-2", "cpu")] == [True, False, True]
    real.release()
    assert is_free("GPU-2")
    real.measure(real.target(EngineSpec.create("m"), GpuRequirement.create("A6000")), WORKLOAD, ONCE)
    assert len(RecordingLauncher.started) == 2
    assert not is_free("GPU-2")


def test_without_a_gpu_the_processor_is_leased(real: PerfSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "devices", lambda: ())
    real.measure(real.target(EngineSpec.create("m"), None), WORKLOAD, ONCE)
    assert RecordingLauncher.started == [("m", {})]
    assert not is_free("cpu")


def test_a_simulated_engine_leases_nothing(session: PerfSession) -> None:
    session.measure(simulated(), WORKLOAD, ONCE)
    assert all(is_free(device) for device in ("GPU-1", "GPU-2", "cpu"))


def test_close_gives_everything_back_even_when_an_engine_does_not_stop(
    real: PerfSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.measure(real.target(EngineSpec.create("m"), None), WORKLOAD, ONCE)

    def failing(self: SimulatedEngine) -> None:
        raise EngineDiedError("cannot be stopped")

    with monkeypatch.context() as patched:
        patched.setattr(SimulatedEngine, "close", failing)
        with pytest.raises(EngineDiedError):
            real.close()
    assert RecordingLauncher.closed
    assert is_free("GPU-1")

"""A backend more is one row: what a lab does with its engines follows from what the row declares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.backends import BACKENDS, Backend, Backends, Clock
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.simulated import Script, SimulatedEngine
from pytest_vllmperf.engines.starting import Start
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab import leases
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.sharing import SHARE, Way, share
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.lab.conftest import H200, SECOND, ScriptedNvml, Told, is_free

WORKLOAD = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)
ONCE = MeasureSettings(warmup=1, iterations=2)
GIB = 2**30


def no_eager(spec: EngineSpec) -> None:
    if spec.args.get("enforce_eager"):
        raise SpecError("enforce_eager=True is not what is served")


class Serving:
    """Starts engines, and writes down the starts."""

    def __init__(self) -> None:
        self.starts: list[Start] = []

    def __call__(self, start: Start) -> Engine:
        self.starts.append(start)
        script = {name: value for name, value in start.spec.args.items() if name in Script.__dataclass_fields__}
        return SimulatedEngine(EngineSpec.create(start.spec.model, backend="simulated", **script))


@pytest.fixture
def serving() -> Serving:
    return Serving()


@pytest.fixture
def lab(
    tmp_path: Path, told: Told, nvml: ScriptedNvml, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lab]:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setattr(gpu, "devices", lambda: (H200, SECOND))
    serve = Backend("grpc", "a gRPC server", serving, Clock.CLIENT, True, True, False, True, no_eager)
    settings = Settings(Update.NONE, tmp_path / "baselines", DEFAULTS, 30.0, 20.0)
    opened = Lab(settings, told, Backends((*BACKENDS.rows, serve)))
    yield opened
    opened.close()


def spec(model: str = "m", **engine_args: object) -> EngineSpec:
    return EngineSpec.create(model, backend="grpc", **engine_args)


def test_its_engines_are_measured_on_a_gpu_that_is_leased(lab: Lab, serving: Serving) -> None:
    run = lab.measure(lab.target(spec(step_seconds=0.5), None), WORKLOAD, ONCE)
    (start,) = serving.starts
    assert start.env == {"CUDA_VISIBLE_DEVICES": "GPU-1"}
    assert (start.number, start.timeouts.start) == (0, 30.0)
    assert not is_free("GPU-1")
    assert (run.environment.hard["backend"], run.gpus) == ("grpc", 1)
    assert run.profile != "grpc"
    assert "cpu" in run.environment.hard  # of the hardware: this engine tells of no CUDA
    assert run.device == "simulated, served"  # figures taken at a socket have a boundary of their own


def test_they_spread_over_gpus(lab: Lab) -> None:
    target = lab.target(spec(), GpuRequirement.create(count=2))
    assert target.gpus == (H200, SECOND)
    assert target.spec.args == {"tensor_parallel_size": 2}


def test_they_share_a_gpu_by_what_it_declares(lab: Lab) -> None:
    targets = (lab.target(spec("a"), None), lab.target(EngineSpec.create("b"), None))
    found = share(targets, {"a": GIB, "b": GIB}, None)
    assert found.split == SHARE
    assert [target.spec.args for target in found.targets] == [{"gpu_memory_utilization": SHARE}] * 2
    assert share(targets, {}, None).way is Way.RESTART
    with pytest.raises(SpecError, match="a gRPC server cannot sleep"):
        share(targets, {}, Way.SLEEP)


def test_its_arguments_are_checked(lab: Lab, serving: Serving) -> None:
    with pytest.raises(SpecError, match=r"^enforce_eager=True is not what is served$"):
        lab.target(spec(enforce_eager=True), None)
    assert serving.starts == []

"""Which devices an engine gets, and how it is spread over them."""

from typing import Any

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.errors import NoGpuError, SpecError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.spec import EngineSpec
from tests.lab.conftest import A6000, H200, SECOND, is_free


@pytest.mark.parametrize(
    ("requirement", "chosen"),
    [(None, H200), (GpuRequirement.create("A6000"), A6000), (GpuRequirement.create(min_compute="9.0"), H200)],
)
def test_the_gpu_of_a_target(session: Lab, requirement: GpuRequirement | None, chosen: GpuDevice) -> None:
    spec = EngineSpec.create("m")
    target = session.target(spec, requirement)
    assert target == Target(spec, (chosen,))
    assert target.uuids == (chosen.uuid,)


@pytest.mark.parametrize(
    ("engine", "asked", "args", "gpus"),
    [
        ({}, 2, {"tensor_parallel_size": 2}, (H200, A6000)),
        ({"seed": 7}, 2, {"seed": 7, "tensor_parallel_size": 2}, (H200, A6000)),
        ({"tensor_parallel_size": None}, 2, {"tensor_parallel_size": 2}, (H200, A6000)),
        ({"tensor_parallel_size": 1}, 2, {"tensor_parallel_size": 1}, (H200,)),  # the other one would be idle
        ({"tensor_parallel_size": 2}, 1, {"tensor_parallel_size": 2}, (H200, A6000)),
        ({"pipeline_parallel_size": 2}, 2, {"pipeline_parallel_size": 2}, (H200, A6000)),
        ({"data_parallel_size": 2}, 1, {"data_parallel_size": 2}, (H200, A6000)),
        ({"tensor_parallel_size": "two"}, 1, {"tensor_parallel_size": "two"}, (H200,)),  # vLLM's to refuse
        ({"backend": "transformers"}, 2, {}, (H200,)),
        ({"per_gpu": {"H200": {"tensor_parallel_size": 2}}}, 1, {"tensor_parallel_size": 2}, (H200, A6000)),
    ],
)
def test_several_gpus_mean_tensor_parallelism_unless_it_is_said_how_they_are_used(
    session: Lab, engine: dict[str, Any], asked: int, args: dict[str, Any], gpus: tuple[GpuDevice, ...]
) -> None:
    target = session.target(EngineSpec.create("m", **engine), GpuRequirement.create(count=asked))
    assert target.gpus == gpus
    assert target.spec.args == args


def test_an_engine_that_is_spread_over_more_gpus_than_there_are(session: Lab) -> None:
    spec = EngineSpec.create("m", tensor_parallel_size=2, pipeline_parallel_size=2)
    with pytest.raises(NoGpuError, match=r"^needs 4 x GPU, found NVIDIA H200, "):
        session.target(spec, None)


def test_an_engine_that_ray_spreads_over_hosts_gets_all_gpus_of_this_one(session: Lab) -> None:
    spec = EngineSpec.create("m", tensor_parallel_size=16, distributed_executor_backend="ray")
    target = session.target(spec, None)
    assert target.gpus == (H200, A6000)
    assert target.spec.args == spec.args  # vLLM gets them unchanged


def test_the_engine_is_that_of_the_gpu_that_was_chosen(session: Lab) -> None:
    spec = EngineSpec.create("m", seed=1, per_gpu={"A6000": {"quantization": "awq"}, "H200": {"seed": 2}})
    found = [session.target(spec, GpuRequirement.create(name)).spec for name in ("A6000", "H200")]
    assert found == [EngineSpec.create("m", seed=1, quantization="awq"), EngineSpec.create("m", seed=2)]
    scripted = EngineSpec.create("m", backend="simulated", per_gpu={"H200": {"seed": 2}})
    assert session.target(scripted, None).spec == EngineSpec.create("m", backend="simulated")


def test_which_gpu_is_free_does_not_decide_what_is_measured(session: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only GPUs that are called like the first that fits take its place."""
    monkeypatch.setattr(gpu, "devices", lambda: (H200, A6000, SECOND))
    assert session.target(EngineSpec.create("m"), GpuRequirement.create(count=2)).gpus == (H200, SECOND)
    assert session.target(EngineSpec.create("m"), GpuRequirement.create(count=3)).gpus == (H200, A6000, SECOND)


def test_a_simulated_engine_needs_no_gpu(session: Lab) -> None:
    spec = EngineSpec.create("m", backend="simulated")
    assert session.target(spec, GpuRequirement.create("H100")) == Target(spec)


def test_without_the_gpu_it_asks_for_a_target_is_refused(session: Lab) -> None:
    with pytest.raises(NoGpuError, match=r"needs H100, found NVIDIA H200, NVIDIA RTX A6000"):
        session.target(EngineSpec.create("m"), GpuRequirement.create("H100"))


def test_without_any_gpu_the_choice_is_vllms(session: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "devices", lambda: ())
    assert session.target(EngineSpec.create("m"), None) == Target(EngineSpec.create("m"))
    with pytest.raises(NoGpuError, match="found no GPU"):
        session.target(EngineSpec.create("m"), GpuRequirement.create())


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (EngineSpec.create("m", backend="fast"), "backend='fast' does not exist; choose one of offline, transformers,"),
        (EngineSpec.create("m", backend=["offline"]), r"backend=\['offline'\] does not exist"),  # type: ignore[arg-type]
        (EngineSpec.create("m", disable_log_stats=True), "disable_log_stats=True removes the timestamps"),
        (EngineSpec.create("m", per_gpu={"H200": {"disable_log_stats": True}}), "disable_log_stats=True removes"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(session: Lab, spec: EngineSpec, line: str) -> None:
    with pytest.raises(SpecError, match=f"^{line}"):
        session.target(spec, None)
    assert session.slots.running == ()


def test_nothing_is_leased_for_a_backend_that_does_not_exist(session: Lab) -> None:
    with pytest.raises(SpecError):
        session.target(EngineSpec.create("m", backend="fast"), None)
    assert is_free("GPU-1")

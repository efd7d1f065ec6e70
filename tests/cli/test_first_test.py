"""The first test for a machine: source that compiles, and markers that this package takes."""

from __future__ import annotations

import pytest

from pytest_vllmperf.cli import first_test
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement
from pytest_vllmperf.records.spec import EngineSpec


def namespace(source: str) -> dict[str, object]:
    found: dict[str, object] = {}
    exec(compile(source, "test_first.py", "exec"), found)
    return found


@pytest.mark.parametrize(
    "name", ["NVIDIA H200", "NVIDIA H200 MIG 1g.18gb", "NVIDIA RTX 6000 (Ada) \"x\" 'y'", "GRID A100+"]
)
def test_the_markers_choose_the_gpu_that_they_were_made_for(name: str) -> None:
    test = first_test.on_gpu(name)
    gpu, engine = namespace(test.module)["test_chat"].pytestmark[::-1]  # type: ignore[attr-defined]
    assert GpuRequirement.create(*gpu.args).fits(GpuDevice("u", name, 2**37, (9, 0), "565"))
    assert EngineSpec.create(*engine.args, **engine.kwargs).model == "vllmperf:qwen3-0.6b"


def test_on_a_cpu_no_gpu_is_asked_for() -> None:
    (engine,) = namespace(first_test.on_cpu().module)["test_chat"].pytestmark  # type: ignore[attr-defined]
    assert engine.args == ("vllmperf:tiny",)


@pytest.mark.parametrize(("free", "share"), [(1.0, None), (0.96, None), (0.9, 0.85), (0.5, 0.45), (0.02, 0.05)])
def test_what_others_hold_is_left_to_them(free: float, share: float | None) -> None:
    assert first_test.on_gpu("NVIDIA H200", free).arguments.get("gpu_memory_utilization") == share

"""Which hardware has a baseline, and how an engine is spread, in words."""

from __future__ import annotations

import pytest

from pytest_vllmperf.checking.elsewhere import only_elsewhere
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.spec import EngineSpec

GPUS = tuple(GpuDevice(f"GPU-{number}", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1") for number in range(4))


def target(gpus: int, **arguments: object) -> Target:
    return Target(EngineSpec.create("m", **arguments), GPUS[:gpus])


@pytest.mark.parametrize(
    ("profiles", "engine", "told"),
    [
        ([], target(1, tensor_parallel_size=1), ""),
        (["h100"], None, ", only for h100"),
        (["h100", "2-x-h200"], target(1), ", only for h100, 2-x-h200"),
        (["2-x-h200"], target(1, tensor_parallel_size=1),
         ", only for 2-x-h200; this engine uses 1 GPU (tensor_parallel_size=1)"),
        (["h200"], target(4, tensor_parallel_size=2, pipeline_parallel_size=2),
         ", only for h200; this engine uses 4 GPUs (pipeline_parallel_size=2, tensor_parallel_size=2)"),
        (["h200"], target(0, tensor_parallel_size=2), ", only for h200"),
    ],
)  # fmt: skip
def test_in_words(profiles: list[str], engine: Target | None, told: str) -> None:
    assert only_elsewhere(profiles, engine) == told

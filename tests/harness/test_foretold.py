"""What a check will come to, as far as it is known before the engine starts."""

from __future__ import annotations

from pathlib import Path

from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.harness.foretold import Foretold, of_measurement
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.ids import TestId
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from pytest_vllmperf.workload import Workload
from tests.storage.conftest import entry

MODULE = "tests/test_chat.py"
TEST = TestId(MODULE, "test_a")
WORK = Workload.synthetic(requests=1, input_tokens=8, output_tokens=4)
GPU = GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "570.1")
ALONE = Take(Target(EngineSpec.create("m", tensor_parallel_size=1), (GPU,)), WORK, MeasureSettings())


def test_baselines_of_other_hardware_are_named(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    none = of_measurement(TEST, ALONE, store)
    assert none == Foretold("test_a: no baseline for nvidia-h200; its check will be NO_BASELINE", missing=True)
    store.write("2-x-nvidia-h200", MODULE, Changes({"test_a": entry(1)}))
    store.write("nvidia-h100", MODULE, Changes({"test_b": entry(1)}))
    assert of_measurement(TEST, ALONE, store).text == (
        "test_a: no baseline for nvidia-h200, only for 2-x-nvidia-h200; this engine uses 1 GPU "
        "(tensor_parallel_size=1); its check will be NO_BASELINE"
    )
    store.write("nvidia-h200", MODULE, Changes({"test_a": entry(1)}))
    assert "no baseline" not in of_measurement(TEST, ALONE, store).text

"""Two GPUs of one host: an engine of eight billion weights on both, strangers on one of them, and the visible ones."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.run import MeasureSettings
from tests.hardware.test_neighbour import COMPUTES, SPEC, WORK, evidence, neighbour
from tests.measuring import fresh_session
from tests.studies.test_tensor_parallel import ARGUMENTS, MODEL

pytestmark = pytest.mark.skipif(len(gpu.devices()) < 2, reason="needs 2 x GPU")

GIB = 2**30
SUITE = """
import json, pathlib, pytest
from pytest_vllmperf import Workload

@pytest.mark.gpu(count=2)
@pytest.mark.vllm({model!r}, **{arguments!r})
def test_8b(vllmperf):
    run = vllmperf.measure(Workload.synthetic(requests=32, input_tokens=64, output_tokens=256), iterations=5, warmup=6)
    ledger = run.vram
    pathlib.Path("seen.json").write_text(json.dumps({{
        "gpus": sorted(trace.uuid for trace in run.traces),
        "mean_power": [sum(one.power or 0 for one in trace.readings) / len(trace.readings) for trace in run.traces],
        "used": [max(one.used_bytes for one in trace.readings) for trace in run.traces],
        "weights": run.weight_bytes, "kv_bytes_per_token": run.kv_bytes_per_token,
        "ledger": {{"weights": ledger.weights, "difference": ledger.difference, "others": ledger.others,
                   "before": ledger.before}},
        "joules_per_token": run.joules_per_token, "gpu_power": run.gpu_power, "throughput": run.output_throughput,
        "no_device_pass": [engine.no_device_pass for engine in run.engines],
        "passes": [engine.passes for engine in run.engines],
        "ranks": [table.model_dump() for table in run.engines[0].kernels],
    }}))
    vllmperf.check(run)
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with fresh_session(tmp_path) as opened:
        yield opened


def keep(pytester: pytest.Pytester, name: str, result: pytest.RunResult) -> None:
    """Keep what a run showed and stored in the folder that `OUT` names, where it names one."""
    if folder := os.environ.get("OUT"):
        stored = [*pytester.path.glob("baselines/**/*.json"), *pytester.path.glob("seen.json")]
        for file in stored:
            Path(folder, f"{name}-{file.name}").write_bytes(file.read_bytes())
        Path(folder, f"{name}.txt").write_text(str(result.stdout))


def test_a_stranger_on_the_other_gpu_voids_nothing(lab: Lab) -> None:
    with neighbour(COMPUTES, gpus="1"):
        run = lab.measure(lab.target(SPEC, GpuRequirement()), WORK, MeasureSettings(2, 8))
    assert [trace.uuid for trace in run.traces] == [gpu.devices()[0].uuid]
    assert run.problems == (), evidence(run)


def test_a_stranger_on_either_gpu_voids_an_engine_on_both(lab: Lab) -> None:
    with neighbour(COMPUTES, gpus="1"):
        run = lab.measure(lab.target(SPEC, GpuRequirement(count=2)), WORK, MeasureSettings(2, 4))
    # Steps take longer beside the stranger, so that batches vary: other rules may void the measurement, too.
    assert "processes" in {problem.rule for problem in run.problems}, (run.problems, evidence(run))


@pytest.mark.parametrize("by", ["index", "uuid"])
def test_only_visible_gpus_are_used(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
    second = gpu.devices()[1].uuid
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1" if by == "index" else second)
    pytester.makepyfile(
        test_visible=f"""
        import pytest
        from pytest_vllmperf import Workload

        @pytest.mark.gpu
        @pytest.mark.vllm({SPEC.model!r}, gpu_memory_utilization=0.3, max_model_len=1024, enforce_eager=True)
        def test_one(vllmperf):
            run = vllmperf.measure(Workload.synthetic(requests=8, input_tokens=64, output_tokens=64), iterations=3)
            assert [trace.uuid for trace in run.traces] == [{second!r}]

        @pytest.mark.gpu(count=2)
        @pytest.mark.vllm({SPEC.model!r})
        def test_both(vllmperf):
            raise AssertionError("two GPUs are not visible")
        """
    )
    result = pytester.runpytest_subprocess("--vllmperf", "-p", "no:cacheprovider", "-rs")
    result.assert_outcomes(passed=1, skipped=1)


def test_an_8b_engine_on_both_is_recorded_and_judged(pytester: pytest.Pytester) -> None:
    """What was seen is kept in the folder that `OUT` names, for the studies."""
    pytester.makepyfile(test_eight=SUITE.format(model=str(MODEL), arguments=ARGUMENTS))
    recorded = pytester.runpytest_subprocess("--vllmperf-update", "-p", "no:cacheprovider")
    keep(pytester, "recorded", recorded)
    recorded.assert_outcomes(passed=1)
    judged = pytester.runpytest_subprocess("--vllmperf", "--vllmperf-max-engines", "2", "-p", "no:cacheprovider")
    keep(pytester, "judged", judged)
    judged.assert_outcomes(passed=1)
    seen = json.loads((pytester.path / "seen.json").read_text())
    pytester.makepyfile(test_eight=SUITE.format(model=str(MODEL), arguments={**ARGUMENTS, "tensor_parallel_size": 1}))
    alone = pytester.runpytest_subprocess("--vllmperf", "-p", "no:cacheprovider")
    keep(pytester, "alone", alone)
    alone.assert_outcomes(failed=1)
    told = " ".join(str(alone.stdout).split())
    assert "only for 2-x-" in told
    assert "; this engine uses 1 GPU (tensor_parallel_size=1)" in told, told
    check_both(seen)


def check_both(seen: dict[str, Any]) -> None:
    """What an engine on two GPUs has to show of both."""
    assert len(seen["gpus"]) == 2
    assert seen["kv_bytes_per_token"] == 131_072  # of both ranks together
    assert seen["weights"] == pytest.approx(2 * 8.03e9, rel=0.03)
    assert seen["ledger"]["before"] > GIB  # two contexts, and the buffers of NCCL
    assert abs(seen["ledger"]["difference"]) < 3 * GIB
    assert seen["gpu_power"] == pytest.approx(sum(seen["mean_power"]), rel=0.35)
    assert seen["no_device_pass"] == [""]
    assert len(seen["ranks"]) == 2
    (passes,) = seen["passes"]
    for whole, collective in zip(passes["gpu_time"], passes["gpu_time.collective"], strict=True):
        assert 0.01 < collective / whole < 0.6
    assert max(passes["gpu_time"]) / min(passes["gpu_time"]) < 1.05

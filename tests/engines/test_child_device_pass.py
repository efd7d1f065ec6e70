"""What a GPU did, slice by slice. torch and its profiler are faked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.engines import forkserver
from tests.engines.fake_gpu import CPU, FakeTorch, OldEvent

FOLDER = Path(forkserver.__file__).parent / "child"
NAME = "vllmperf_device_pass"
MARK = "void spin_kernel(long)"


@pytest.fixture
def device_pass(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> FakeTorch:
    fake = FakeTorch()
    monkeypatch.setitem(sys.modules, "torch", fake)
    OldEvent.most = OldEvent.live
    return fake


def iteration(recorder: Any, torch: FakeTorch, steps: int, kernels: int = 3, trace: str = "") -> dict[str, Any]:
    """One iteration: a prefill step that takes twice as long, then decode steps."""
    recorder.start(trace)
    for number in range(steps):
        recorder.step("decode" if number else "prefill")
        for place in range(kernels):
            torch.launch(f"kernel {place}", 10 if number else 20)
    told: dict[str, Any] = recorder.stop()
    return told


def test_kernels_are_counted_by_name_and_by_phase(device_pass: Any, torch: FakeTorch) -> None:
    told = iteration(device_pass.Recorder(), torch, steps=5)
    assert told["activities"] == 15
    assert told["total_ns"] == told["busy_ns"] == 3 * 20 + 12 * 10
    assert told["span_ns"] == told["total_ns"] + 4 * 5  # the markers between the steps, which are no kernels
    assert told["kernels"] == [[f"kernel {place}", 5, 60] for place in range(3)]
    assert told["steps"] == {"decode": [4, 120], "prefill": [1, 60]}


def test_each_iteration_is_told_for_itself(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    iteration(recorder, torch, steps=40)
    torch.launch("between iterations", 1000)
    assert [iteration(recorder, torch, steps=steps)["activities"] for steps in (4, 2)] == [12, 6]
    assert torch.opened == []


def test_what_runs_before_the_first_step_belongs_to_none(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    torch.launch("before", 7)
    recorder.step("decode")
    torch.launch("in it", 8)
    told = recorder.stop()
    assert told["total_ns"] == 15
    assert told["steps"] == {"decode": [1, 8], "prefill": [0, 0]}


def test_each_run_of_a_collective_kernel_is_kept_by_phase(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    torch.launch("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", 3)
    for number in range(20):  # more than the first slice holds
        recorder.step("decode" if number else "prefill")
        torch.launch("gemm", 5)
        torch.launch("void vllm::cross_device_reduce_1stage<half, 2>(vllm::RankData*)", 10 + number)
    told = recorder.stop()
    assert told["collectives"] == {
        "ncclDevKernel_AllReduce_Sum_bf16_RING_LL": {"": [3]},
        "void vllm::cross_device_reduce_1stage<half, 2>(vllm::RankData*)": {
            "prefill": [10],
            "decode": list(range(11, 30)),
        },
    }


@pytest.mark.parametrize(
    ("name", "collective"),
    [
        ("ncclDevKernel_AllGather_RING_LL(ncclDevKernelArgsStorage<4096ul>)", True),
        ("void vllm::cross_device_reduce_2stage<__nv_bfloat16, 4>(vllm::RankData*)", True),
        ("void flashinfer::trtllm_allreduce_fusion::allreduce_fusion_kernel_oneshot_lamport<2>", True),
        ("two_shot_all_reduce_kernel_inplace", True),
        ("ncclDevKernel_Broadcast_RING_LL(ncclDevKernelArgsStorage<4096ul>)", True),
        ("multimem_one_shot_reduce_kernel", True),
        ("void nvshmemi_transfer_kernel", True),
        ("void deep_ep::intranode::dispatch<8, 768>", True),
        ("oneshotAllreduceFusionKernel", True),
        ("void allgather_push_kernel", True),
        ("void reduce_scatter_kernel", True),
        ("moe_all_to_all", True),
        ("moeAlltoAllKernel", True),
        ("all2all_dispatch", True),
        ("void small_reduce_kernel", False),
        ("void at::native::reduce_kernel<512, 1>", False),
        ("void vllm::act_and_mul_kernel", False),
        ("void gather_kernel", False),
        ("Memcpy DtoD (Device -> Device)", False),
    ],
)
def test_which_kernels_are_collective(device_pass: Any, torch: FakeTorch, name: str, collective: bool) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    recorder.step("decode")
    torch.launch(name, 1)
    assert (name in recorder.stop()["collectives"]) is collective


def test_what_runs_after_the_last_marker_belongs_to_no_step(device_pass: Any) -> None:
    tally = device_pass.Tally()
    tally.add([(0, 1, "spin_kernel"), (2, 5, "all_reduce"), (6, 7, "spin_kernel"), (8, 10, "all_reduce")], ["decode"])
    assert tally.told()["collectives"] == {"all_reduce": {"decode": [3], "": [2]}}


def test_an_iteration_without_steps_is_one_slice(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    torch.launch("kernel", 7)
    assert recorder.stop()["steps"] == {"decode": [0, 0], "prefill": [0, 0]}


def test_the_host_and_ranges_that_a_user_named_are_left_out(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    recorder.step("decode")
    torch.launch("cudaLaunchKernel", 100, device=CPU)
    torch.launch("a range", 100, annotation=True)
    torch.launch("kernel", 1)
    assert recorder.stop()["kernels"] == [["kernel", 1, 1]]


def test_an_older_torch_does_not_tell_of_ranges(device_pass: Any, torch: FakeTorch) -> None:
    torch.event = OldEvent
    assert not hasattr(OldEvent, "is_user_annotation")
    assert iteration(device_pass.Recorder(), torch, steps=2)["activities"] == 6


def test_a_long_iteration_is_read_slice_by_slice(
    device_pass: Any, torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pass, "SLICE_ACTIVITIES", 2000)
    told = iteration(device_pass.Recorder(), torch, steps=1000, kernels=50)
    assert told["activities"] == 50_000
    assert told["steps"] == {"decode": [999, 999 * 500], "prefill": [1, 1000]}
    assert max(torch.slices) <= 2000
    assert OldEvent.most <= 2000 + 1  # one slice, and the marker that is just being launched
    assert len(torch.slices) == pytest.approx(50_000 / 2000, abs=3)


def test_a_slice_is_as_long_as_its_steps_allow(
    device_pass: Any, torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pass, "SLICE_ACTIVITIES", 1000)
    recorder = device_pass.Recorder()
    iteration(recorder, torch, steps=100, kernels=1)
    assert torch.slices == [17, 92 * 2 + 1]  # 8 steps and their markers, then room for 128
    torch.slices.clear()
    iteration(recorder, torch, steps=100, kernels=1)
    assert torch.slices == [201]  # what was learnt stays
    torch.slices.clear()
    iteration(recorder, torch, steps=60, kernels=99)
    iteration(recorder, torch, steps=60, kernels=99)
    assert torch.slices[1:6] == [901] * 5  # steps of 100: nine of them, as the last marker counts too


def test_a_busier_step_than_a_slice_holds_is_a_slice_of_its_own(
    device_pass: Any, torch: FakeTorch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pass, "SLICE_ACTIVITIES", 10)
    recorder = device_pass.Recorder()
    iteration(recorder, torch, steps=16, kernels=50)
    torch.slices.clear()
    assert iteration(recorder, torch, steps=4, kernels=50)["activities"] == 200
    assert torch.slices == [52] * 4


@pytest.mark.parametrize("steps", [1, 40])  # 40: found while the engine runs, and told afterwards
def test_a_device_that_records_nothing_is_told(device_pass: Any, torch: FakeTorch, steps: int) -> None:
    recorder = device_pass.Recorder()
    torch.lost = {"kernel"}
    with pytest.raises(
        device_pass.NotRecordedError, match="only administrators to profile, the device is a MIG device"
    ):
        iteration(recorder, torch, steps)
    assert torch.opened == []


@pytest.mark.parametrize("steps", [3, 40])
def test_a_recording_that_was_cut_is_told(device_pass: Any, torch: FakeTorch, steps: int) -> None:
    recorder = device_pass.Recorder()
    torch.capacity = 5
    with pytest.raises(device_pass.NotRecordedError, match="its buffers were full"):
        iteration(recorder, torch, steps)
    assert torch.opened == []
    torch.capacity = 10**9
    assert iteration(recorder, torch, steps)["activities"] == 3 * steps


@pytest.mark.parametrize("call", ["profile", "start"])
def test_a_profiler_that_does_not_start_is_told_and_not_left_open(
    device_pass: Any, torch: FakeTorch, call: str
) -> None:
    recorder = device_pass.Recorder()
    torch.failing = {call: "CUPTI is in use\nand more"}
    with pytest.raises(device_pass.NotRecordedError, match=r"torch's profiler did not start: CUPTI is in use$"):
        recorder.start()
    assert torch.opened == []
    with pytest.raises(device_pass.NotRecordedError, match="no recording is in progress"):
        recorder.stop()


def test_one_that_does_not_start_again_is_told_once_the_engine_is_through(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    for number in range(40):
        recorder.step("decode")
        torch.launch("kernel", 1)
        if number == 3:
            torch.failing = {"start": "gone"}
    with pytest.raises(device_pass.NotRecordedError, match="did not start: gone"):
        recorder.stop()
    assert torch.opened == []


@pytest.mark.parametrize(("call", "raised"), [("stop", "NotRecordedError"), ("synchronize", "RuntimeError")])
def test_nothing_is_left_attached_by_an_error_at_the_end(
    device_pass: Any, torch: FakeTorch, call: str, raised: str
) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    recorder.step("decode")
    torch.failing = {call: "an illegal memory access"}
    with pytest.raises(RuntimeError, match="an illegal memory access") as caught:
        recorder.stop()
    assert type(caught.value).__name__ == raised
    assert torch.opened == []


def test_an_iteration_that_was_never_stopped_is_given_up_by_the_next(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    recorder.start()
    recorder.step("decode")
    torch.launch("kernel", 1)
    assert iteration(recorder, torch, steps=2)["activities"] == 6
    assert torch.opened == []


def test_a_trace_is_kept_of_the_first_slice_alone(device_pass: Any, torch: FakeTorch) -> None:
    recorder = device_pass.Recorder()
    iteration(recorder, torch, steps=40, trace="a.json.gz")
    assert torch.traces == ["a.json.gz"]
    iteration(recorder, torch, steps=40)
    assert torch.traces == ["a.json.gz"]


def test_a_trace_that_cannot_be_written_costs_no_figure(device_pass: Any, torch: FakeTorch) -> None:
    torch.failing = {"export": "no space left"}
    assert iteration(device_pass.Recorder(), torch, steps=2, trace="a.json.gz")["activities"] == 6


spans = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 20)), max_size=12)


@given(spans=spans)
def test_overlap_on_parallel_streams_is_busy_once(spans: list[tuple[int, int]]) -> None:
    sys.path.append(str(FOLDER))
    try:
        tally = importlib.import_module(NAME).Tally()
    finally:
        sys.path.remove(str(FOLDER))
    activities = [(begin, begin + length, f"stream {place}") for place, (begin, length) in enumerate(spans)]
    tally.add([(-1, -1, MARK), *activities, (99, 100, MARK)], ["decode"])
    told = tally.told()
    running = {at for begin, end, _ in activities for at in range(begin, end)}
    assert told["busy_ns"] == len(running)
    assert told["total_ns"] == sum(length for _, length in spans) == told["steps"]["decode"][1]
    ends = [end for _, end, _ in activities]
    assert told["span_ns"] == (max(ends) - min(begin for begin, _, _ in activities) if ends else 0)


class Worker:
    """vLLM's worker."""

    def __init__(self) -> None:
        self.executed: list[Any] = []

    def execute_model(self, scheduler_output: Any, *more: Any, **named: Any) -> str:
        self.executed.append((scheduler_output, more, named))
        return "output"


def scheduled(*tokens: int) -> SimpleNamespace:
    return SimpleNamespace(num_scheduled_tokens={str(place): number for place, number in enumerate(tokens)})


def test_steps_of_an_engine_are_told_with_their_phase(device_pass: Any) -> None:
    phases: list[str] = []
    worker = Worker()
    executed = device_pass.hooked(worker.execute_model, SimpleNamespace(step=phases.append))
    outputs = [scheduled(1, 1), scheduled(1, 7), scheduled(12), scheduled(), SimpleNamespace()]
    assert [executed(one, 2, named=3) for one in outputs] == ["output"] * 5
    assert phases == ["decode", "prefill", "prefill"]  # of steps that compute nothing none begins
    assert worker.executed == [(one, (2,), {"named": 3}) for one in outputs]

"""Where the time of a regression went, in words at 80 columns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.records.attribution import Attribution, Interval
from pytest_vllmperf.records.kernels import KernelTime
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.report.attributions import attribution_lines, brief, device_parts, note_lines, signed
from pytest_vllmperf.report.failed import failure_lines
from pytest_vllmperf.verdict.attribution import attribute
from tests.profiling import FLASH, KERNELS, MATMUL, NORM, ROPE, profiled, slower, table, unprofiled
from tests.report.test_terminal import COMMAND, record, summary

WALL = ("output_throughput",)
PARTS = {"queue.mean": [0.001] * 3, "prefill.mean": [0.03] * 3, "decode.mean": [2.2] * 3}
LATER = {"queue.mean": [0.001] * 3, "prefill.mean": [0.031] * 3, "decode.mean": [2.31] * 3}
BEFORE = profiled(table(*KERNELS), gpu_idle_share=0.31)
AFTER = profiled(table(slower(FLASH, 0.0119), slower(MATMUL, 0.0001), NORM, ROPE), gpu_idle_share=0.31)


def interval(change: float) -> Interval:
    return Interval(change, change - 0.002, change + 0.002, 0.99)


def lines(before: EngineSamples, after: EngineSamples, *regressed: str, change: float | None = None) -> list[str]:
    found = attribute([before] * 3, [after] * 3, None if change is None else interval(change))
    told = attribution_lines(found, regressed or ("gpu_time",))
    assert max(map(len, told), default=0) <= 80
    return told


def test_the_kernels_that_did_it() -> None:
    assert lines(BEFORE, AFTER, change=0.0431) == [
        "GPU time 306.4 -> 319.6 ms  +4.3 % [+4.1, +4.5] · kernels 50,356 -> 53,940",
        "    99 % of it in: flash_fwd +11.9 ms (+9.4 %); new: rope_kernel_v2 x 3,584",
        "    (+1.2 ms)",
    ]


def test_a_wall_clock_that_follows_the_gpu() -> None:
    before = profiled(table(*KERNELS), gpu_idle_share=0.02, gpu_time__decode_step=0.0022, samples=PARTS)
    after = profiled(
        table(slower(FLASH, 0.0119), MATMUL, NORM), gpu_idle_share=0.02, gpu_time__decode_step=0.0023, samples=LATER
    )
    assert lines(before, after, *WALL, change=0.0388) == [
        "GPU time 306.4 -> 318.3 ms  +3.9 % [+3.7, +4.1]",
        "    100 % of it in: flash_fwd +11.9 ms (+9.4 %) · a decode step 2.2 -> 2.3 ms",
        "    the GPU idled 2.0 % of the iteration (2.0 % in the baseline)",
        "mean of a request: queue 1 -> 1 ms · prefill 30 -> 31 ms · decode 2.2 -> 2.31 s",
    ]


def test_kernels_of_several_gpus_do_not_add_up_to_the_time_of_one() -> None:
    before, after = ([table(flash, MATMUL)] * 4 for flash in (FLASH, slower(FLASH, 0.0119)))
    assert lines(profiled(*before), profiled(*after)) == [
        "GPU time 266.4 -> 278.3 ms  +4.5 %",
        "    100 % of it, of 4 GPUs together, in: flash_fwd +47.6 ms (+9.4 %)",
    ]
    renamed = [table(FLASH, MATMUL._replace(name="other", seconds=0.2))] * 4
    told = " ".join(lines(profiled(*before), profiled(*renamed)))
    assert "100 % of it, of 4 GPUs together, in new: other x 57,344 (+800 ms); gone:" in told


def test_a_kernel_that_was_among_the_others_is_told_with_what_is_known() -> None:
    """It took the place of a smaller one, which has not shrunk and is not told."""
    small, large = KernelTime("small", 100, 0.009), KernelTime("grown", 100, 0.04)
    told = " ".join(lines(profiled(table(FLASH, small, rest=0.03)), profiled(table(FLASH, large, rest=0.03))))
    assert "not among the largest of every engine: grown (now 40 ms)" in told
    assert "small" not in told


def test_a_kernel_that_took_the_place_of_another() -> None:
    gone, new = KernelTime("flash_fwd_sm80", 896, 0.1), KernelTime("flash_fwd_sm90", 1792, 0.12)
    assert lines(profiled(table(gone, NORM)), profiled(table(new, NORM))) == [
        "GPU time 140 -> 160 ms  +14.3 % · kernels 35,124 -> 36,020",
        "    100 % of it in new: flash_fwd_sm90 x 1,792 (+120 ms); gone: flash_fwd_sm80",
        "    x 896 (-100 ms); new and removed kernels together +20 ms",
    ]


def test_a_kernel_that_runs_more_often() -> None:
    more = KernelTime("rms_norm", 68456, 0.08)
    assert "rms_norm +40 ms (+100.0 %, x 34,228 -> 68,456)" in " ".join(
        line.strip() for line in lines(profiled(table(*KERNELS)), profiled(table(FLASH, MATMUL, more)))
    )


def test_what_others_made_up_for_has_no_share() -> None:
    after = profiled(table(slower(FLASH, 0.05), slower(MATMUL, -0.04), NORM))
    assert lines(profiled(table(*KERNELS)), after) == [
        "GPU time 306.4 -> 316.4 ms  +3.3 %",
        "    100 % of it in: flash_fwd +50 ms (+39.6 %), nvjet_sm90 72x64 -40 ms",
        "    (-28.6 %)",
    ]
    far = [KernelTime(f"k{n}", 1, 0.01) for n in range(6)]
    after = profiled(table(slower(FLASH, 0.07), *(one._replace(seconds=0.002) for one in far)))
    told = " ".join(lines(profiled(table(FLASH, *far)), after))
    assert "changed most: flash_fwd +70 ms" in told
    assert "% of it in" not in told


def test_time_that_the_host_lost() -> None:
    before = profiled(table(*KERNELS), gpu_idle_share=0.31)
    after = profiled(table(*KERNELS), gpu_idle_share=0.48)
    assert lines(before, after, *WALL, change=0.001) == [
        "host: GPU time unchanged (+0.1 %), the GPU idled 48 % of the iteration (31 % in",
        "    the baseline); the additional time is on the CPU",
    ]
    assert lines(before, after, *WALL, change=-0.05)[0].startswith("host: GPU time fell (-5.0 %), the GPU idled 48 %")
    assert lines(before, after, change=0.001)[0].startswith("GPU time 306.4"), "GPU time itself regressed"


def test_time_that_gpus_waited_for_each_other() -> None:
    """A host that launches the kernels of one GPU late: neither GPU time nor idle time shows it."""
    before, after = (
        profiled(table(*KERNELS), table(*KERNELS), gpu_idle_share=0.02, gpu_time__waiting=wait) for wait in (0.05, 0.35)
    )
    assert lines(before, after, *WALL, change=0.001) == [
        "GPU time 306.4 -> 306.4 ms  +0.1 % [-0.1, +0.3]",
        "    the GPU idled 2.0 % of the iteration (2.0 % in the baseline)",
        "    a GPU waited 350 ms for the others (50 ms in the baseline)",
    ]
    idle = profiled(table(*KERNELS), table(*KERNELS), gpu_idle_share=0.2, gpu_time__waiting=0.35)
    (*_, last) = lines(before, idle, *WALL, change=0.001)
    assert last.endswith("a GPU waited 350 ms for the others (50 ms in the baseline)")
    assert not any("waited" in line for line in lines(before, after, change=0.02)), "GPU time alone regressed"


def test_both_clocks_lost_time() -> None:
    after = profiled(table(slower(FLASH, 0.0119), MATMUL, NORM), gpu_idle_share=0.48)
    told = lines(BEFORE, after, *WALL, change=0.0388)
    assert told[0].startswith("GPU time 306.4 -> 318.3 ms  +3.9 %")
    assert "    the GPU idled 48 % of the iteration (31 % in the baseline)" in told


def test_a_wall_clock_that_neither_explains() -> None:
    """TTFT, say, is worse because requests waited: the GPU does what it did."""
    waited = {**PARTS, "queue.mean": [0.02] * 3}
    before, after = (profiled(table(*KERNELS), gpu_idle_share=0.31, samples=one) for one in (PARTS, waited))
    assert lines(before, after, "ttft.p50", change=0.001) == [
        "GPU time 306.4 -> 306.4 ms  +0.1 % [-0.1, +0.3]",
        "    the GPU idled 31 % of the iteration (31 % in the baseline)",
        "mean of a request: queue 1 -> 20 ms · prefill 30 -> 30 ms · decode 2.2 -> 2.2 s",
    ]


def test_clocks_and_the_power_limit() -> None:
    slow = {"device_pass__sm_clock": 1.755e9, "device_pass__memory_clock": 2.6e9, "device_pass__power_capped": 0.4}
    before = profiled(
        table(*KERNELS), device_pass__sm_clock=1.98e9, device_pass__memory_clock=2.619e9, device_pass__power_capped=0.0
    )
    assert lines(before, profiled(table(*KERNELS), factor=1.12, **slow)) == [
        "GPU time 306.4 -> 343.2 ms  +12.0 % · SM clock 1,980 -> 1,755 MHz (x0.886)",
        "    memory clock 2,619 -> 2,600 MHz (x0.993)",
        "    the power limit reduced the clocks 40 % of the time (0 % in the baseline)",
    ]
    alike = {"device_pass__sm_clock": 1.972e9, "device_pass__memory_clock": 2.619e9, "device_pass__power_capped": 0.05}
    assert device_parts(attribute([before], [profiled(table(*KERNELS), **alike)])) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (
            unprofiled("CUPTI recorded nothing"),
            BEFORE,
            "GPU time was not measured in the baseline: CUPTI recorded nothing",
        ),
        (BEFORE, unprofiled("the device is a MIG device"), "GPU time was not measured now: the device is a MIG device"),
        (unprofiled(""), BEFORE, ""),
        (unprofiled("on a CPU"), unprofiled("on a CPU"), ""),
    ],
)
def test_a_side_without_a_pass_says_why(before: EngineSamples, after: EngineSamples, told: str) -> None:
    assert lines(before, after, *WALL) == ([told] if told else [])


def test_names_are_cut_in_the_middle() -> None:
    long = f"{'a' * 50}…#12ab"
    assert brief("flash_fwd") == "flash_fwd"
    assert (len(brief(long)), brief(long)[-5:], brief(long)[:5]) == (44, "#12ab", "aaaaa")
    told = lines(profiled(table(NORM)), profiled(table(NORM, KernelTime(long, 3, 0.1), KernelTime(long[1:], 3, 0.1))))
    assert len(told) <= 5


def test_small_changes() -> None:
    assert [signed(one) for one in (0.0119, -0.0000012, 0.0)] == ["+11.9 ms", "-1.2 us", "+0 s"]


GPU = MetricVerdict("gpu_time", Status.REGRESSED, 0.3064, 0.3195, 0.01, 0.043, 0.041, 0.045, 0.99)
SLOWER = MetricVerdict("output_throughput", Status.REGRESSED, 4812.0, 4391.0, 0.05, -0.0875)
FOUND = attribute([BEFORE], [AFTER], interval(0.043))


def judged(*metrics: MetricVerdict, status: Status = Status.REGRESSED, **more: Any) -> CheckRecord:
    return record(Verdict(status, metrics), **{"attribution": FOUND, **more})


def test_a_failure_tells_it_below_its_verdicts_once() -> None:
    told = failure_lines(judged(SLOWER, GPU), ["driver: 1 -> 2"], COMMAND)
    assert [line.split()[0] for line in told if not line.startswith(" ")] == ["REGRESSED", "GPU", "changed", "the"]
    assert sum("kernels 50,356 -> 53,940" in line for line in told) == 1
    assert "flash_fwd" not in "".join(failure_lines(judged(replace(SLOWER, metric="engine_steps")), [], COMMAND))
    assert "flash_fwd" not in "".join(failure_lines(judged(SLOWER, attribution=None), [], COMMAND))


def test_a_gpu_time_that_held_has_a_note_below_it() -> None:
    fine = replace(GPU, status=Status.OK)
    told = failure_lines(judged(replace(SLOWER, metric="engine_steps"), fine), [], COMMAND)
    assert told[1:3] == ["GPU time:", "    kernels 50,356 -> 53,940"]
    assert told[-1] == "1 metric OK: GPU time"
    told = failure_lines(judged(replace(SLOWER, metric="engine_steps"), fine), [], COMMAND, every=True)
    assert told[-2:] == [
        "OK GPU time +4.3 % [+4.1, +4.5], margin 1 % · 306.4 -> 319.5 ms · 99 % CI",
        "    kernels 50,356 -> 53,940",
    ]


def test_a_gpu_time_that_held_is_told_with_clocks_that_did_not() -> None:
    fine = replace(GPU, status=Status.OK)
    slow = attribute(
        [profiled(table(FLASH), device_pass__sm_clock=1.98e9)], [profiled(table(FLASH), device_pass__sm_clock=1.5e9)]
    )
    told = failure_lines(judged(replace(SLOWER, metric="engine_steps"), fine, attribution=slow), [], COMMAND)
    assert told[1:3] == ["GPU time:", "    SM clock 1,980 -> 1,500 MHz (x0.758)"]
    assert len(summary([judged(fine, status=Status.OK, attribution=slow)])) == 2, "a line that is not shown has no note"


def test_the_summary_says_that_the_number_of_kernels_changed() -> None:
    fine, better = replace(GPU, status=Status.OK), replace(GPU, status=Status.IMPROVED)
    assert summary([judged(fine, status=Status.OK)])[2:] == ["test_chat: kernels 50,356 -> 53,940"]
    assert [line.strip() for line in summary([judged(better, status=Status.IMPROVED)])[-2:]] == [
        "IMPROVED  GPU time  306.4 -> 319.5 ms  +4.3 % [+4.1, +4.5]  margin 1 %",
        "kernels 50,356 -> 53,940",
    ]
    same = attribute([BEFORE], [BEFORE])
    assert len(summary([judged(fine, status=Status.OK, attribution=same)])) == 2
    assert len(summary([judged(replace(fine, metric="ttft.p50"), status=Status.OK)])) == 2


def test_records_with_an_attribution_travel() -> None:
    sent = judged(SLOWER, GPU)
    assert CheckRecord.model_validate_json(sent.model_dump_json()) == sent
    assert note_lines(Attribution()) == []

"""Where a change of time comes from."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.metrics.table import AllMetrics
from pytest_vllmperf.records.attribution import Attribution, Change, Interval, Seen
from pytest_vllmperf.records.kernels import KernelTable, KernelTime
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.report.attributions import attribution_lines
from pytest_vllmperf.report.kernels import comparison_lines
from pytest_vllmperf.verdict import Evidence, VerdictSettings, compare, judge
from pytest_vllmperf.verdict.attribution import attribute, compared_interval, of_check, slower
from tests.profiling import FLASH, KERNELS, MATMUL, NORM, ROPE, profiled, session, table, unprofiled
from tests.profiling import slower as longer

SETTINGS = VerdictSettings(("gpu_time",))
TOTAL = sum(one.seconds for one in KERNELS)


def seen(found: Attribution) -> dict[str, Seen]:
    return {one.name: one.seen for one in (*found.kernels, *found.unsure)}


def test_kernels_that_changed_are_named_the_largest_first() -> None:
    found = attribute([profiled(table(*KERNELS))], [profiled(table(longer(FLASH, 0.0119), MATMUL, ROPE))])
    assert [one.name for one in found.kernels] == ["rms_norm", "flash_fwd", "rope_kernel_v2", "nvjet_sm90 72x64"]
    assert seen(found) == {
        "rms_norm": Seen.GONE,
        "flash_fwd": Seen.BOTH,
        "rope_kernel_v2": Seen.NEW,
        "nvjet_sm90 72x64": Seen.BOTH,
    }
    flash = found.kernels[1]
    assert flash.seconds.difference == pytest.approx(0.0119)
    assert flash.seconds.relative == pytest.approx(0.0119 / 0.1264)
    assert found.total == Change(pytest.approx(TOTAL), pytest.approx(TOTAL + 0.0119 + 0.0012 - 0.04))
    assert found.share(found.kernels) == pytest.approx(1)
    assert found.gpu_time == Change(pytest.approx(TOTAL), pytest.approx(TOTAL - 0.0269))
    assert found.launches_differ


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (0.0, Seen.NEW),  # all kernels have names
        (0.0001, Seen.NEW),  # it is far larger than all others together
        (0.001, Seen.UNSURE),  # most of it may be what others took before
        (0.5, Seen.UNSURE),
    ],
)
def test_a_name_on_one_side_is_new_only_where_the_others_cannot_hide_it(rest: float, expected: Seen) -> None:
    before = profiled(table(FLASH, KernelTime("small", 10, 0.001), rest=rest))
    found = attribute([before], [profiled(table(FLASH, ROPE, KernelTime("small", 10, 0.001)))])
    assert seen(found)["rope_kernel_v2"] is expected
    turned = attribute([profiled(table(FLASH, ROPE, KernelTime("small", 10, 0.001)))], [before])
    assert seen(turned)["rope_kernel_v2"] is {Seen.NEW: Seen.GONE}.get(expected, expected)


def test_a_kernel_far_larger_than_the_smallest_name_is_new_although_much_has_none() -> None:
    before = profiled(table(FLASH, KernelTime("small", 10, 0.0001), rest=0.5))
    found = attribute([before], [profiled(table(FLASH, ROPE, KernelTime("small", 10, 0.0001), rest=0.5))])
    assert seen(found)["rope_kernel_v2"] is Seen.NEW


def test_what_one_side_alone_names_counts_as_others_where_it_may_be_there() -> None:
    border = KernelTime("border", 7, 0.001)
    before = profiled(table(FLASH, KernelTime("last", 5, 0.001), rest=0.02))
    after = profiled(table(FLASH, border, rest=0.02))
    found = attribute([before], [after])
    assert {one.name for one in found.unsure} == {"border", "last"}
    assert found.others is not None
    assert found.others.before == KernelTime("others", 15, pytest.approx(0.021))
    assert found.others.after == KernelTime("others", 17, pytest.approx(0.021))


def test_the_kernels_of_ranks_that_do_other_work_are_compared() -> None:
    """A kernel of one stage of a pipeline has no name on the other; so little may be hidden there that it is known."""
    embed, sample = KernelTime("embed", 1, 0.0002), KernelTime("sample", 1, 0.0002)
    stages = table(FLASH, embed, rest=0.001), table(MATMUL, NORM, sample, rest=0.001)
    found = attribute([profiled(*stages)], [profiled(table(longer(FLASH, 0.01), embed, rest=0.001), stages[1])])
    assert seen(found)["flash_fwd"] is seen(found)["nvjet_sm90 72x64"] is Seen.BOTH
    assert found.kernels[0].name == "flash_fwd"
    assert {one.name for one in found.unsure} == {"embed", "sample"}


def test_tables_without_a_common_name() -> None:
    before = profiled(table(*(KernelTime(f"old_{n}", 10, 0.01) for n in range(40))))
    after = profiled(table(*(KernelTime(f"new_{n}", 10, 0.01) for n in range(40))))
    found = attribute([before] * 3, [after] * 3)
    assert set(seen(found).values()) == {Seen.NEW, Seen.GONE}
    assert len(found.kernels) == 80
    assert found.share(found.kernels) is None, "the whole did not change: there is nothing to share"


def test_a_side_without_a_table_has_nothing_to_compare_but_a_reason() -> None:
    found = attribute([unprofiled("the device is a MIG device")], [profiled(table(FLASH))])
    assert (found.kernels, found.others, found.gpu_time, found.total) == ((), None, None, None)
    assert (found.no_pass_before, found.no_pass_after) == ("the device is a MIG device", "")
    assert found.share(()) is None
    assert attribute([], []) == Attribution()


def test_levels_are_those_that_both_sides_have() -> None:
    before = profiled(table(FLASH), gpu_idle_share=0.3, gpu_time__prefill=0.02, samples={"queue.mean": [0.0] * 3})
    after = profiled(table(FLASH), gpu_idle_share=0.5, samples={"queue.mean": [0.1] * 3, "decode.mean": [2.0] * 3})
    found = attribute([before], [after])
    assert found.levels == {
        "gpu_idle_share": Change(0.3, 0.5),
        "gpu_kernels": Change(1792, 1792),
        "queue.mean": Change(0, 0.1),
    }
    assert found.levels["queue.mean"].relative is None
    assert not found.launches_differ


def test_counts_differ_only_where_no_engine_of_one_side_has_one_of_the_other() -> None:
    def runs(times: int) -> EngineSamples:
        return profiled(table(FLASH._replace(times=times)))

    assert attribute([runs(256), runs(257)], [runs(258)]).launches_differ
    assert attribute([runs(256), runs(257)], [runs(255)]).launches_differ
    assert not attribute([runs(256), runs(258)], [runs(257)]).launches_differ
    assert not attribute([runs(256)], [runs(256), runs(257)]).launches_differ


def engines(level: float, gate: tuple[float, ...] = (0.999, 1.0, 1.001)) -> list[EngineSamples]:
    return [profiled(table(*KERNELS), factor=level * one) for one in gate]


def test_the_interval_is_that_of_the_verdict() -> None:
    sessions = [session(*engines(1.0 + day / 1000)) for day in range(3)]
    evidence = Evidence(sessions, engines(1.05), SETTINGS, last_look=True)
    verdict = judge(evidence)
    (judged,) = verdict.metrics
    assert judged.status is Status.REGRESSED
    expected = Interval(judged.change or 0, judged.low or 0, judged.high or 0, judged.confidence or 0)
    found = of_check(verdict, evidence)
    assert found is not None
    assert found.interval == expected
    assert found.gpu_time == Change(judged.baseline or 0, judged.now or 0), "one check tells one figure"
    ungated = Verdict(Status.OK, tuple(replace(one, metric="output_throughput") for one in verdict.metrics))
    other = of_check(ungated, evidence)
    assert other is not None
    assert other.interval == found.interval, "judged alike where it is not in the gate"


def test_the_interval_of_a_check_in_turns_is_that_of_its_ratio() -> None:
    evidence = Evidence((), engines(1.05), SETTINGS, last_look=True, reference=engines(1.0))
    verdict = judge(evidence)
    found = of_check(verdict, evidence)
    assert found is not None
    assert found.interval is not None
    assert found.interval.low < 0.05 < found.interval.high
    assert found.interval.change == pytest.approx(0.05)
    ungated = Verdict(Status.OK, tuple(replace(one, metric="output_throughput") for one in verdict.metrics))
    other = of_check(ungated, evidence)
    assert other is not None
    assert other.interval == found.interval


def test_without_a_pass_there_is_no_interval_and_without_a_judgement_no_attribution() -> None:
    verdict = Verdict(Status.OK, (MetricVerdict("output_throughput", Status.OK, 1.0, 1.0, 0.05),))
    one, none = profiled(table(FLASH)), unprofiled()
    for before, after, reference in (
        (none, none, ()),
        (one, none, ()),
        (none, one, ()),
        (none, none, [none]),
        (one, none, [one]),
        (one, one, [none]),
    ):
        evidence = Evidence([session(before)], [after], SETTINGS, reference=reference)
        found = of_check(verdict, evidence)
        assert found is not None
        assert found.interval is None
        assert of_check(Verdict(Status.INVALID), evidence) is None


def test_the_interval_of_a_comparison_is_turned_round() -> None:
    sides = [[engine.values("gpu_time") for engine in engines(level)] for level in (1.02, 1.0)]
    found = compare("gpu_time", AllMetrics.gpu_time.better, *sides)
    interval = compared_interval(found)
    assert interval.change == pytest.approx(0.02)
    assert interval.low < 0.02 < interval.high
    assert interval.confidence == 0.99


@pytest.mark.parametrize(
    ("metric", "status", "told"),
    [
        ("output_throughput", Status.REGRESSED, True),
        ("ttft.p95", Status.REGRESSED, True),
        ("gpu_time", Status.REGRESSED, True),
        ("gpu_time", Status.NOISY, False),
        ("engine_steps", Status.REGRESSED, False),
        ("weight_bytes", Status.REGRESSED, False),
    ],
)
def test_which_regressions_are_of_time(metric: str, status: Status, told: bool) -> None:
    assert slower([MetricVerdict(metric, status, 1.0, 2.0, 0.05)]) == ((metric,) if told else ())


TIMES = st.floats(0, 1e6)
SECONDS = st.floats(0, 1e3)
KERNEL = st.builds(KernelTime, st.sampled_from([f"k{n}" for n in range(8)]), TIMES, SECONDS)


@st.composite
def tables(draw: Any) -> KernelTable:
    kernels = draw(st.lists(KERNEL, max_size=6, unique_by=lambda one: one.name))
    rest = draw(st.none() | st.builds(KernelTime, st.just("3 others"), TIMES, SECONDS))
    return KernelTable(kernels=sorted(kernels, key=lambda one: -one.seconds), rest=rest)


SIDE = st.lists(st.lists(tables(), min_size=1, max_size=3).map(lambda ranks: profiled(*ranks)), min_size=1, max_size=3)


@given(SIDE, SIDE)
def test_changes_add_up_to_the_change_of_the_whole(before: list[EngineSamples], after: list[EngineSamples]) -> None:
    found = attribute(before, after)
    assert found.total is not None
    for total, side in ((found.total.before, before), (found.total.after, after)):
        whole = sum(one.seconds for engine in side for one in engine.kernels) / len(side)
        assert math.isclose(total, whole, rel_tol=1e-9, abs_tol=1e-9)
    names = {one.name for engine in (*before, *after) for one in engine.kernels for one in one.kernels}
    assert {*seen(found)} == names
    assert len(found.kernels) + len(found.unsure) == len(names)


@given(SIDE, SIDE)
def test_sides_may_be_exchanged(before: list[EngineSamples], after: list[EngineSamples]) -> None:
    there, back = attribute(before, after), attribute(after, before)
    opposite = {Seen.NEW: Seen.GONE, Seen.GONE: Seen.NEW}
    assert seen(there) == {name: opposite.get(one, one) for name, one in seen(back).items()}
    assert there.total is not None
    assert back.total == Change(there.total.after, there.total.before)
    assert [one.seconds.difference for one in there.kernels] == [-one.seconds.difference for one in back.kernels]


@pytest.mark.parametrize("seconds", [math.inf, math.nan, 1e308, -1.0])
def test_figures_of_a_damaged_file_raise_nothing(seconds: float) -> None:
    odd = profiled(table(FLASH._replace(seconds=seconds), MATMUL._replace(seconds=seconds), rest=seconds))
    for before, after in ((odd, odd), (odd, profiled(table(FLASH))), (profiled(table(FLASH)), odd)):
        evidence = Evidence([session(before)], [after], SETTINGS)
        verdict = Verdict(Status.OK, (MetricVerdict("output_throughput", Status.OK, 1.0, 1.0, 0.05),))
        found = of_check(verdict, evidence)
        assert found is not None
        assert seen(found)
        assert attribution_lines(found, ["gpu_time", "output_throughput"]) is not None
        assert comparison_lines(found, ("a", "b"))


@given(SIDE)
def test_a_side_does_not_differ_from_itself(engines: list[EngineSamples]) -> None:
    found = attribute(engines, engines)
    assert all(one.seconds.difference == 0 for one in (*found.kernels, *found.unsure))
    assert Seen.NEW not in seen(found).values()
    assert not found.launches_differ

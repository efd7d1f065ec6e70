"""Rows become cards."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.comparing.ratios import ratio
from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.scorecard import Row, Scorecard
from pytest_vllmperf.stats import WALL_CLOCK, Direction
from pytest_vllmperf.verdict import compare

GIB = 2**30
NOT_THERE = "bf16, the baseline of this scorecard, was not measured, so nothing is compared"
DIFFERENT = "the rows were measured with different workloads, so their ratios are not comparable"


def engine(speeds: list[float] | None = None, **once: float) -> EngineSamples:
    samples = {} if speeds is None else {"output_throughput": speeds}
    return EngineSamples(discarded=0, iterations=3, samples=samples, once=once)


def row(configuration: str = "bf16", *engines: EngineSamples, **changed: Any) -> Row:
    told: dict[str, Any] = {
        "card": "llama",
        "configuration": configuration,
        "baseline": "bf16",
        "engine": f"llama {configuration}",
        "profile": "h200",
        "workload": {"key": "abc"},
        "engines": engines or (engine([100.0, 101.0, 102.0]),),
    }
    return Row(**{**told, **changed})


def card(*rows: Row) -> Scorecard:
    (made,) = scorecards(rows)
    return made


def with_memory(configuration: str, weights: float, used: float, *, rest: bool = True, **once: float) -> Row:
    facts = {"weight_bytes": weights * GIB, "device_memory_used": used * GIB, **once}
    return row(configuration, engine(**facts), takes_the_rest=rest)


def test_a_value_is_the_median_over_engines_of_their_medians() -> None:
    several = row("awq", engine([1.0, 2.0, 30.0]), engine(), engine([4.0, 5.0, 6.0]), engine([7.0, 7.0, 90.0]))
    assert several.value("output_throughput") == 5.0
    assert several.value("weight_bytes") is None
    assert row("awq", engine(load_time=3.0), engine(load_time=5.0)).value("load_time") == 4.0


def test_no_rows_make_no_cards() -> None:
    assert scorecards([]) == []


def test_rows_stay_in_the_order_in_which_they_were_measured() -> None:
    made = card(row("awq"), row("bf16"), row("gptq"))
    assert (made.name, made.profile, made.baseline) == ("llama", "h200", "bf16")
    assert [line.row.configuration for line in made.lines] == ["awq", "bf16", "gptq"]
    assert made.notes == ()


def test_cards_and_kinds_of_hardware_are_kept_apart() -> None:
    rows = [
        row("awq", profile="a6000"),
        row("awq"),
        row("bf16", card="qwen"),
        row("bf16", profile="a6000"),
        row("bf16"),
    ]
    made = scorecards(rows)
    assert [(one.name, one.profile) for one in made] == [("llama", "a6000"), ("llama", "h200"), ("qwen", "h200")]
    assert [[line.row for line in one.lines] for one in made] == [[rows[0], rows[3]], [rows[1], rows[4]], [rows[2]]]


def test_each_kind_of_hardware_has_its_own_baseline() -> None:
    fast, slow = engine([200.0, 200.0, 200.0]), engine([50.0, 50.0, 50.0])
    h200, a6000 = scorecards(
        [row("bf16", fast), row("bf16", slow, profile="a6000"), row("awq", fast), row("awq", fast, profile="a6000")]
    )
    speedups = [made.lines[1].speedup for made in (h200, a6000)]
    assert [found and found.ratio for found in speedups] == [pytest.approx(1), pytest.approx(4)]


def test_a_baseline_that_was_not_measured_is_told() -> None:
    made = card(row("awq", engine([1.0], weight_bytes=5.0), outputs=((1,),)), row("gptq"))
    assert made.notes == (NOT_THERE,)
    assert [(line.speedup, line.saved, line.agreement) for line in made.lines] == [(None, None, None)] * 2


def test_a_baseline_on_other_hardware_is_no_baseline() -> None:
    made = scorecards([row("awq"), row("bf16", profile="a6000")])
    assert [one.notes for one in made] == [(NOT_THERE,), ()]


def test_the_baseline_is_not_compared_with_itself() -> None:
    made = card(row("bf16", engine([1.0], weight_bytes=5.0), outputs=((1,),)))
    assert [(line.speedup, line.saved, line.agreement) for line in made.lines] == [(None, None, None)]


def test_different_workloads_are_told() -> None:
    assert card(row(), row("awq", workload={"key": "xyz"})).notes == (DIFFERENT,)
    assert card(row(), row("awq", workload={"key": "abc", "name": "another name"})).notes == ()


def test_everything_that_has_to_be_said_is_said() -> None:
    made = card(with_memory("awq", 4, 70), with_memory("fp16", 16, 70), row("gptq", workload={}))
    assert made.notes[:2] == (NOT_THERE, DIFFERENT)
    assert made.notes[2].startswith("awq has 25% of the weights of fp16")
    assert len(made.notes) == 3


def test_a_speedup_is_that_of_the_output_throughput_with_its_interval() -> None:
    slow = [[99.0, 100.0, 101.0], [98.0, 100.0, 102.0]]
    fast = [[199.0, 200.0, 201.0], [197.0, 200.0, 203.0]]
    made = card(row("bf16", *map(engine, slow)), row("awq", *map(engine, fast)))
    found = made.lines[1].speedup
    assert found is not None
    assert found == ratio(compare("output_throughput", Direction.HIGHER, fast, slow, prior=WALL_CLOCK, max_rounds=2))
    assert found.ratio == pytest.approx(2, rel=0.001)
    assert found.low < 1.99 < 2.01 < found.high
    assert found.rounds == 2


def test_one_engine_each_has_an_interval_by_what_engines_of_its_class_vary_by() -> None:
    made = card(row("bf16", engine([100.0, 101.0])), row("awq", engine([200.0, 201.0])))
    found = made.lines[1].speedup
    assert found is not None
    assert found.rounds == 1
    assert 1.7 < found.low < 1.95 < 2.05 < found.high < 2.3


def test_the_baseline_may_come_last() -> None:
    made = card(row("awq", engine([50.0] * 3)), row("bf16", engine([100.0] * 3)))
    assert made.lines[0].speedup is not None
    assert made.lines[0].speedup.ratio == pytest.approx(0.5)
    assert made.lines[1].speedup is None


def test_engines_without_a_partner_are_left_out() -> None:
    once, thrice = [[100.0] * 3], [[200.0] * 3, [900.0] * 3, [900.0] * 3]
    for slow, fast in ((once, thrice), (thrice, once)):
        found = card(row("bf16", *map(engine, slow)), row("awq", *map(engine, fast))).lines[1].speedup
        assert found is not None
        assert found.rounds == 1
        assert found.ratio == pytest.approx(fast[0][0] / slow[0][0])


@pytest.mark.parametrize("speeds", [None, [], [0.0, 1.0, 1.0], [float("nan")] * 3])
def test_a_speed_that_cannot_be_judged_makes_no_speedup(speeds: list[float] | None) -> None:
    sound, broken = engine([100.0] * 3), engine(speeds, weight_bytes=1.0)
    assert card(row("bf16", sound), row("awq", broken)).lines[1].speedup is None
    assert card(row("bf16", broken), row("awq", sound)).lines[1].speedup is None
    assert card(row("bf16", sound, sound), row("awq", sound, broken)).lines[1].speedup is None


def test_a_row_without_engines_makes_no_speedup() -> None:
    assert card(row(), row("awq", engines=())).lines[1].speedup is None


@pytest.mark.parametrize(("own", "saved"), [(4.0, 0.75), (16.0, 0.0), (20.0, -0.25)])
def test_saved_is_the_share_of_the_baselines_weights(own: float, saved: float) -> None:
    full, part = engine(weight_bytes=16.0 * GIB), engine(weight_bytes=own * GIB)
    assert card(row("bf16", full), row("awq", part)).lines[1].saved == saved


def test_nothing_is_saved_where_weights_are_unknown() -> None:
    known, unknown = engine(weight_bytes=4.0), engine()
    assert card(row("bf16", known), row("awq", unknown)).lines[1].saved is None
    assert card(row("bf16", unknown), row("awq", known)).lines[1].saved is None


def test_agreement_is_with_the_baselines_outputs() -> None:
    made = card(row("awq", outputs=((1, 2, 9, 4), (9, 9))), row(outputs=((1, 2, 3, 4), (5, 6))))
    assert [line.agreement for line in made.lines] == [0.25, None]


@pytest.mark.parametrize(
    ("own", "reference"), [((), ()), (((1,),), ()), ((), ((1,),)), (((1,), (2,)), ((1,),)), (((1,),), ((1,), (2,)))]
)
def test_outputs_of_other_prompts_do_not_agree_or_disagree(
    own: tuple[tuple[int, ...], ...], reference: tuple[tuple[int, ...], ...]
) -> None:
    assert card(row(outputs=reference), row("awq", outputs=own)).lines[1].agreement is None


def test_a_smaller_model_in_the_same_memory_is_explained() -> None:
    made = card(
        with_memory("bf16", 16, 70, kv_cache_tokens=100_000.0),
        with_memory("fp8", 8, 70),
        with_memory("awq", 4, 69.3, kv_cache_tokens=225_000.0),
    )
    assert made.notes == (
        "awq has 25% of the weights of bf16 and uses the same device memory, because vLLM gives the rest of "
        "gpu_memory_utilization to the KV cache. A smaller model therefore leaves room for more KV cache tokens. "
        "Here it grew from 100,000 to 225,000 tokens, 2.25x.",
    )


def test_capacity_that_nobody_knows_is_not_told() -> None:
    (told,) = card(with_memory("bf16", 16, 70, kv_cache_tokens=1.0), with_memory("awq", 4, 70)).notes
    assert told.endswith("A smaller model therefore leaves room for more KV cache tokens.")


@pytest.mark.parametrize(
    ("weights", "used", "told"),
    [
        (12.5, 70.0, True),
        (13.0, 70.0, False),  # no smaller model to speak of
        (4.0, 68.7, True),
        (4.0, 68.5, False),  # the memory did shrink
        (4.0, 71.3, True),
        (4.0, 71.5, False),
    ],
)
def test_only_a_paradox_is_explained(weights: float, used: float, told: bool) -> None:
    assert bool(card(with_memory("bf16", 16, 70), with_memory("awq", weights, used)).notes) is told


def test_an_engine_that_takes_what_it_needs_is_no_paradox() -> None:
    assert card(with_memory("bf16", 16, 70, rest=False), with_memory("awq", 4, 70)).notes == ()
    assert card(with_memory("bf16", 16, 70), with_memory("awq", 4, 70, rest=False)).notes == ()


@pytest.mark.parametrize("missing", ["weight_bytes", "device_memory_used"])
def test_memory_that_nobody_knows_is_no_paradox(missing: str) -> None:
    facts = {"weight_bytes": 4.0 * GIB, "device_memory_used": 70.0 * GIB}
    del facts[missing]
    assert card(with_memory("bf16", 16, 70), row("awq", engine(**facts), takes_the_rest=True)).notes == ()


SPEEDS = ([1000.0, 900.0, 2000.0], [3000.0] * 3)
"""Of two engines: the median of 1000 and 3000 tokens a second."""


@pytest.mark.parametrize(
    ("gpus", "price", "cost"),
    [(1, 7.2, 1.0), (4, 7.2, 4.0), (1, 0.0, 0.0), (1, None, None), (0, 7.2, None)],
)
def test_a_cost_is_of_a_million_output_tokens(gpus: int, price: float | None, cost: float | None) -> None:
    """At 2000 tokens a second an hour makes 7.2 million."""
    priced = {"gpus": gpus, "gpu_hour_price": price}
    made = card(row("bf16", *map(engine, SPEEDS), **priced), row("awq", *map(engine, SPEEDS), **priced))
    assert [line.cost for line in made.lines] == [cost, cost]
    alone = card(row("awq", *map(engine, SPEEDS), **priced))  # whatever it is compared with
    assert [line.cost for line in alone.lines] == [cost]


def test_what_was_not_measured_or_is_void_has_no_cost() -> None:
    priced: dict[str, Any] = {"gpus": 1, "gpu_hour_price": 7.2}
    void = row("awq", engine([2000.0] * 3), problems=(Problem("length", "cut short"),), **priced)
    made = card(row("bf16", engine([2000.0] * 3), **priced), void, row("gptq", engine(), **priced))
    assert [line.cost for line in made.lines] == [1.0, None, None]
    beside = card(
        row("bf16", engine([1.0]), problems=(Problem("length", "cut short"),)),
        row("awq", engine([2000.0] * 3), **priced),
    )
    assert [line.cost for line in beside.lines] == [None, 1.0]


def test_rows_of_before_have_no_price() -> None:
    older = row().model_dump(exclude={"gpus", "gpu_hour_price"})
    assert card(Row.model_validate(older)).lines[0].cost is None

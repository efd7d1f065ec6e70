"""What the terminal shows of comparisons."""

from __future__ import annotations

import math
from typing import Any

import pytest

from pytest_vllmperf.harness.results import Results
from pytest_vllmperf.lab.sharing import SHARE, Sharing, Way
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.results import ComparisonRecord, TestResults
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.report import terminal

THROUGHPUT = Ratio(metric="output_throughput", ratio=2.0, low=1.8123, high=2.2071, rounds=1)
LATENCY = Ratio(metric="ttft.p50", ratio=0.51234, low=0.4, high=0.6543, rounds=3)
QUALITY = Quality(prompts=16, tokens=32, agreement=0.934, logprob_difference=0.01234, top1_agreement=0.987)
TARGETS = (Target(EngineSpec.create("a")), Target(EngineSpec.create("b")))


def record(*ratios: Ratio, **changed: Any) -> ComparisonRecord:
    told: dict[str, Any] = {"a": "llama quantization=awq", "b": "llama", "way": "both resident", "ratios": ratios}
    return ComparisonRecord(**{**told, **changed})


def lines_of(*compared: tuple[str, ComparisonRecord], width: int = 80) -> list[str]:
    return terminal.comparisons(compared, terminal.names([], compared, width))


def shown(*ratios: Ratio, **changed: Any) -> list[str]:
    return lines_of(("test_x.py::test_awq", record(*ratios, **changed)))


def test_a_comparison_is_told_with_its_engines_its_way_and_its_ratio() -> None:
    assert shown(THROUGHPUT) == [
        "test_awq: llama quantization=awq against llama, both resident",
        "  output throughput 2x [1.81, 2.21] (99 % CI, 1 round)",
    ]


@pytest.mark.parametrize(
    ("sharing", "way"),
    [
        (Sharing(Way.RESIDENT, TARGETS, SHARE), "both resident, 0.45 of the memory each"),
        (Sharing(Way.SLEEP, TARGETS), "asleep in turns"),
        (Sharing(Way.RESTART, TARGETS), "started in turns"),
    ],
)
def test_the_way_that_was_used(sharing: Sharing, way: str) -> None:
    assert " ".join(line.strip() for line in shown(way=sharing.described)) == (
        f"test_awq: llama quantization=awq against llama, {way}"
    )


def test_every_metric_that_was_asked_for_has_its_line_in_that_order() -> None:
    assert shown(LATENCY, THROUGHPUT)[1:] == [
        "  TTFT p50 0.512x [0.4, 0.654] (99 % CI, 3 rounds)",
        "  output throughput 2x [1.81, 2.21] (99 % CI, 1 round)",
    ]


def test_quality_stands_behind_speed() -> None:
    assert shown(THROUGHPUT, quality=QUALITY)[1:] == [
        "  output throughput 2x [1.81, 2.21] (99 % CI, 1 round)",
        "  greedy agreement 93% of 32 tokens, log-probability difference 0.012, top-1",
        "    agreement 99% (16 prompts)",
    ]


def test_one_prompt_is_singular() -> None:
    assert shown(quality=Quality(1, 8, 1.0, 0.0, 1.0))[-1].endswith("(1 prompt)")


def test_a_comparison_of_which_nothing_could_be_measured_still_tells_what_was_compared() -> None:
    assert shown() == ["test_awq: llama quantization=awq against llama, both resident"]


def test_comparisons_follow_one_another() -> None:
    awq, fp8 = "test_x.py::test_awq", "test_x.py::test_fp8"
    lines = lines_of((awq, record(LATENCY)), (awq, record()), (fp8, record()))
    assert [line.split(":")[0] for line in lines] == [
        "test_awq",
        "  TTFT p50 0.512x [0.4, 0.654] (99 % CI, 3 rounds)",
        "test_awq",
        "test_fp8",
    ]
    assert lines_of() == []


@pytest.mark.parametrize(
    ("width", "start"), [(80, f"test_{'x' * 31}...{'x' * 32}[awq]:"), (120, f"test_{'x' * 90}[awq]:")]
)
def test_long_names_are_shortened_and_lines_folded_at_the_width_of_the_terminal(width: int, start: str) -> None:
    engine = "Meta-Llama-3-8B-Instruct " + " ".join(f"argument_{number}=True" for number in range(9))
    name = "test_x.py::test_" + "x" * 90 + "[awq]"
    lines = lines_of((name, record(THROUGHPUT, a=engine, b=engine, quality=QUALITY)), width=width)
    assert max(map(len, lines)) <= width
    assert lines[0].startswith(start)
    assert " ".join(line.strip() for line in lines).count(engine) == 2
    told = [line for line in lines[1:] if not line.startswith("    ")]
    assert told[0] == "  output throughput 2x [1.81, 2.21] (99 % CI, 1 round)"
    assert told[1].startswith("  greedy agreement 93% of 32 tokens, log-probability difference 0.012, top-1")


def test_what_a_worker_hands_on_is_shown_as_it_is() -> None:
    """Even what is not a number: the engine gave a token no probability at all."""
    strange = record(
        Ratio(metric="ttft.p50", ratio=1.0, low=0.0, high=math.inf, rounds=1),
        quality=Quality(2, 8, 0.5, math.nan, math.nan),
    )
    told = TestResults(comparisons=(("test_x.py::test_awq", strange),)).model_dump(mode="json")
    results = Results()
    results.add(TestResults.model_validate(told), passed=False)
    assert lines_of(*results.comparisons)[1:] == [
        "  TTFT p50 1x [0, inf] (99 % CI, 1 round)",
        "  greedy agreement 50% of 8 tokens, log-probability difference nan, top-1",
        "    agreement nan% (2 prompts)",
    ]


def test_a_round_that_was_left_out_is_told() -> None:
    lines = shown(excluded=(Problem("processes", "a busy neighbour"),))
    assert lines[-1] == "  one round left out: a busy neighbour [processes]"
    assert not any("left out" in line for line in shown())

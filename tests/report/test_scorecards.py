"""Scorecards as text."""

from __future__ import annotations

import re
from typing import Any

import pytest

from pytest_vllmperf.comparing.scorecards import scorecards
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.scorecard import Row, Scorecard
from pytest_vllmperf.report.scorecards import markdown, terminal

GIB = 2**30
LABELS = ("req/s", "tok/s", "TTFT p50", "TPOT p50", "speedup", "agrees", "weights", "KV tokens", "device", "load")


def row(
    configuration: str, speed: float | None, *, weights: float | None = None, watts: float | None = None, **changed: Any
) -> Row:
    samples = {} if speed is None else {
        "request_throughput": [speed / 128] * 3,
        "output_throughput": [speed] * 3,
        "ttft.p50": [60 / speed] * 3,
        "tpot.p50": [8 / speed] * 3,
    }  # fmt: skip
    if speed is not None and watts is not None:
        joules = watts / speed
        samples |= {
            "gpu_power": [watts] * 3,
            "joules_per_token": [joules] * 3,
            "tokens_per_joule": [1 / joules] * 3,
            "model_bandwidth_utilization": [speed / 16000] * 3,
        }
    once = {} if weights is None else {
        "weight_bytes": weights * GIB,
        "kv_cache_tokens": 1_000_000 - 16_000 * weights,
        "device_memory_used": 126.5 * GIB,
        "load_time": 12.5 + weights,
    }  # fmt: skip
    told: dict[str, Any] = {
        "card": "Llama 3 8B",
        "configuration": configuration,
        "baseline": "bf16",
        "engine": f"llama {configuration}",
        "profile": "nvidia-h200",
        "workload": {"key": "abc"},
        "engines": (EngineSamples(discarded=0, iterations=3, samples=samples, once=once),),
        "outputs": ((1, 2, 3, 4),),
        "takes_the_rest": True,
    }
    return Row(**{**told, **changed})


def card(*rows: Row) -> Scorecard:
    (made,) = scorecards(rows)
    return made


FULL = card(
    row("bf16", 4812.0, weights=14.96),
    row("bitsandbytes-nf4", 2406.0, weights=5.3125, outputs=((1, 2, 3, 9),)),
    row("awq-marlin", 9624.0, weights=5.3125, outputs=((1, 9, 3, 4),)),
)


def cells(line: str) -> list[str]:
    """A table's line as its cells: columns are two spaces apart, a number and its unit one."""
    return re.split(r" {2,}", line.strip())


def table(lines: list[str], head: str) -> list[list[str]]:
    """The table with that column, up to the first line behind it."""
    start = next(number for number, line in enumerate(lines) if head in cells(line))
    return [cells(line) for line in lines[start : start + 4]]


def test_the_terminal_shows_speed_and_memory_in_tables_of_their_own() -> None:
    lines = terminal(FULL)
    assert table(lines, "tok/s") == [
        ["Llama 3 8B", "req/s", "tok/s", "TTFT p50", "TPOT p50", "speedup", "agrees"],
        ["bf16", "37.59", "4,812", "12.47 ms", "1.663 ms", "-", "-"],
        ["bitsandbytes-nf4", "18.8", "2,406", "24.94 ms", "3.325 ms", "0.5x", "75%"],
        ["awq-marlin", "75.19", "9,624", "6.234 ms", "831.3 us", "2x", "25%"],
    ]
    assert lines[4] == ""
    assert table(lines, "weights") == [
        ["Llama 3 8B", "weights", "KV tokens", "device", "load", "saved"],
        ["bf16", "14.96 GiB", "760,640", "126.5 GiB", "27.46 s", "-"],
        ["bitsandbytes-nf4", "5,440 MiB", "915,000", "126.5 GiB", "17.81 s", "64%"],
        ["awq-marlin", "5,440 MiB", "915,000", "126.5 GiB", "17.81 s", "64%"],
    ]


POWERED = card(
    row("bf16", 4800.0, weights=14.96, watts=600.0, gpus=2, gpu_hour_price=2.5),
    row("awq-marlin", 9600.0, weights=5.3125, watts=480.0, gpus=1, gpu_hour_price=2.5),
    row("gptq", None, weights=5.3125),
)


def test_energy_and_cost_are_a_third_table() -> None:
    lines = terminal(POWERED)
    assert table(lines, "power") == [
        ["Llama 3 8B", "power", "J/tok", "tok/J", "bandwidth", "cost/Mtok"],
        ["bf16", "600 W", "0.125", "8", "30 %", "0.2894"],  # two GPUs for 1e6 / 4800 s
        ["awq-marlin", "480 W", "0.05", "20", "60 %", "0.07234"],
        ["gptq", "-", "-", "-", "-", "-"],
    ]
    heads = [number for number, line in enumerate(lines) if line.startswith("Llama 3 8B")]
    assert [lines[number - 1] for number in heads[1:]] == ["", ""]
    assert len(heads) == 3
    assert lines[heads[2] + 4].startswith("awq-marlin has 36% of the weights")  # the remarks
    assert max(map(len, lines)) <= 80


def test_energy_alone_is_one_table_without_a_line_in_front() -> None:
    only = EngineSamples(discarded=0, iterations=1, samples={"gpu_power": [321.5]})
    assert terminal(card(row("bf16", None, engines=(only,))))[:2] == ["Llama 3 8B      power", "bf16          321.5 W"]


def test_energy_and_cost_are_columns_in_markdown() -> None:
    head, _, first, *_ = markdown(POWERED).splitlines()[2:]
    assert [cell.strip() for cell in head.strip("|").split("|")][-5:] == [
        "power", "J/tok", "tok/J", "bandwidth", "cost/Mtok"
    ]  # fmt: skip
    assert [cell.strip() for cell in first.strip("|").split("|")][-5:] == ["600 W", "0.125", "8", "30 %", "0.2894"]


@pytest.mark.parametrize(
    ("price", "shown"), [(None, None), (0.001, "0.002778"), (36.0, "100"), (3600.0, "10,000"), (4000.0, "11,111")]
)
def test_a_cost_is_in_the_currency_of_its_price_whatever_that_is(price: float | None, shown: str | None) -> None:
    lines = terminal(card(row("bf16", 100.0, watts=1.0, gpus=1, gpu_hour_price=price)))
    assert table(lines, "power")[0][-1] == ("bandwidth" if shown is None else "cost/Mtok")
    if shown is not None:
        assert table(lines, "power")[1][-1] == shown


def test_columns_are_aligned() -> None:
    head, *rows = terminal(FULL)[:4]
    assert {len(line) for line in (head, *rows)} == {len(head)}
    assert all(line.startswith(("bf16 ", "bitsandbytes-nf4 ", "awq-marlin ")) for line in rows)


def test_nothing_is_wider_than_80_columns_and_every_word_is_there() -> None:
    lines = terminal(FULL)
    assert max(map(len, lines)) <= 80
    text = " ".join(line.strip() for line in lines)
    assert len(FULL.notes) == 1
    assert FULL.notes[0] in text


def test_the_speedups_are_told_last_fastest_first_with_their_intervals() -> None:
    text = " ".join(line.strip() for line in terminal(FULL))
    found = [line.speedup for line in (FULL.lines[2], FULL.lines[1])]
    told = [f"{one.ratio:.3g}x [{one.low:.3g}, {one.high:.3g}]" for one in found if one is not None]
    assert told[0].startswith("2x [1.")
    assert text.endswith(f"output throughput over bf16 (99 % CI): awq-marlin {told[0]}, bitsandbytes-nf4 {told[1]}")


def test_without_a_comparison_no_speedups_are_told() -> None:
    for text in ("\n".join(terminal(card(row("bf16", 100.0)))), markdown(card(row("bf16", 100.0)))):
        assert "output throughput over" not in text


def test_a_missing_value_is_a_dash() -> None:
    lines = terminal(card(row("bf16", 100.0, weights=16), row("awq", None), row("gptq", 200.0, weights=4)))
    assert table(lines, "tok/s")[2] == ["awq", "-", "-", "-", "-", "-", "100%"]
    assert table(lines, "weights")[2] == ["awq", "-", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    ("rows", "shown"),
    [
        ([row("bf16", 100.0)], {"req/s", "tok/s", "TTFT p50", "TPOT p50"}),
        ([row("bf16", None, weights=16)], {"weights", "KV tokens", "device", "load"}),
        (
            [row("bf16", 100.0), row("awq", 200.0, outputs=())],
            {"req/s", "tok/s", "TTFT p50", "TPOT p50", "speedup"},
        ),
        (
            [row("bf16", 100.0, weights=16), row("awq", 200.0)],
            {*LABELS},
        ),
    ],
)
def test_a_column_in_which_nobody_has_a_value_is_left_out(rows: list[Row], shown: set[str]) -> None:
    heads = {word for line in terminal(card(*rows)) for word in cells(line)}
    assert heads & {*LABELS, "saved"} == shown
    columns = {word.strip() for word in markdown(card(*rows)).splitlines()[2].split("|")} - {""}
    renamed = {"agrees": "agreement", "saved": "weights saved"}
    assert columns == {"configuration", *(renamed.get(word, word) for word in shown)}


def test_markdown_is_one_table_with_the_same_words() -> None:
    lines = markdown(FULL).splitlines()
    assert lines[:2] == ["# Llama 3 8B: nvidia-h200", ""]
    made = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:7]]
    found = FULL.lines[1].speedup
    assert found is not None
    interval = f"0.5x [{found.low:.3g}, {found.high:.3g}]"
    assert made[0] == [
        "configuration", "weights", "KV tokens", "device", "load",
        "req/s", "tok/s", "TTFT p50", "TPOT p50", "speedup", "weights saved", "agreement",
    ]  # fmt: skip
    assert all(re.fullmatch(":?-+:?", cell) for cell in made[1])
    assert made[3] == [
        "bitsandbytes-nf4", "5,440 MiB", "915,000", "126.5 GiB", "17.81 s",
        "18.8", "2,406", "24.94 ms", "3.325 ms", interval, "64%", "75%",
    ]  # fmt: skip
    assert lines[7:9] == ["", FULL.notes[0]]
    assert lines[9] == ""
    assert lines[10].startswith("output throughput over bf16 (99 % CI): awq-marlin 2x [")
    assert len(lines) == 11


@pytest.mark.parametrize("one", [FULL, card(row("bf16", 100.0)), card(row("awq", 100.0))])
def test_markdown_ends_in_one_newline(one: Scorecard) -> None:
    assert markdown(one).endswith("\n")
    assert not markdown(one).endswith("\n\n")


def test_as_good_as_nothing_saved_has_no_sign() -> None:
    told = card(row("bf16", 1000.0, weights=16.0), row("transformers", 900.0, weights=16.01))
    assert "-0%" not in markdown(told)
    assert table(terminal(told), "saved")[2][-1] == "0%"

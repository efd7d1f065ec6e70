"""Values as a person reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.report import units

relaxed = settings(max_examples=200)

SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
BYTES = {"GiB": 2**30, "MiB": 2**20, "KiB": 2**10, "B": 1}


def parsed(shown: str, table: dict[str, float]) -> float:
    number, unit = shown.split(" ")
    return float(number.replace(",", "")) * table[unit]


@relaxed
@given(st.floats(1e-9, 1e6))
def test_seconds_keep_four_digits(number: float) -> None:
    assert parsed(units.seconds(number), SECONDS) == pytest.approx(number, rel=6e-4)
    assert units.seconds(-number) == f"-{units.seconds(number)}"


@relaxed
@given(st.integers(0, 2**45))
def test_sizes_keep_four_digits(number: int) -> None:
    assert parsed(units.size(number), BYTES) == pytest.approx(number, rel=6e-4)


@relaxed
@given(st.integers(-(2**50), 2**50))
def test_counts_are_whole(number: int) -> None:
    assert int(units.count(number).replace(",", "")) == number


@relaxed
@given(st.floats(1e-6, 1e4))
def test_the_unit_is_the_one_that_a_person_would_take(number: float) -> None:
    value, unit = units.seconds(number).split(" ")
    assert float(value.replace(",", "")) < 1000 or unit == "s"


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 s"),
        (1, "1 s"),
        (12.3456, "12.35 s"),
        (1234.5678, "1,235 s"),
        (0.5, "500 ms"),
        (0.0123456, "12.35 ms"),
        (0.001, "1 ms"),
        (0.000123456, "123.5 us"),
    ],
)
def test_seconds(number: float, shown: str) -> None:
    assert units.seconds(number) == shown


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1,023 B"),
        (10 * 2**10, "10 KiB"),
        (9 * 2**30, "9,216 MiB"),
        (10 * 2**30, "10 GiB"),
        (139.8 * 2**30, "139.8 GiB"),
        (2048 * 2**30, "2,048 GiB"),
    ],
)
def test_sizes(number: float, shown: str) -> None:
    assert units.size(number) == shown


@pytest.mark.parametrize(
    ("metric", "number", "shown"),
    [
        ("output_throughput", 4812.4, "4,812 tok/s"),
        ("output_throughput", 12.5, "12.5 tok/s"),
        ("ttft.p50", 0.0481, "48.1 ms"),
        ("resident_bytes", 2.0**34, "16 GiB"),
        ("engine_steps", 1024.0, "1,024"),
        ("preemptions", 0.0, "0"),
        ("kv_cache_tokens", 65536.0, "65,536 tokens"),
        ("gpu_utilization", 0.973, "97 %"),
        ("model_bandwidth_utilization", 0.0612, "6.1 %"),
        ("gpu_sm_clock", 1.98e9, "1,980 MHz"),
        ("gpu_sm_clock", 345_500_000.0, "345.5 MHz"),
        ("gpu_power", 612.34, "612.3 W"),
        ("gpu_temperature", 61.0, "61 °C"),
        ("joules_per_token", 0.12345, "0.1235 J/tok"),
        ("tokens_per_joule", 8.1, "8.1 tok/J"),
        ("gpu_energy", 12345.6, "12,346 J"),
    ],
)
def test_a_metrics_value_has_its_unit(metric: str, number: float, shown: str) -> None:
    assert units.value(metric, number) == shown


@pytest.mark.parametrize("metric", ["output_throughput", "ttft.p50", "resident_bytes", "engine_steps"])
def test_missing_is_told_in_words(metric: str) -> None:
    assert units.value(metric, None) == "not measured"


@pytest.mark.parametrize(
    ("metric", "before", "now", "shown"),
    [
        ("output_throughput", 4812.0, 4391.0, "4,812 -> 4,391 tok/s"),
        ("ttft.p50", 0.05, 0.06, "50 -> 60 ms"),
        ("ttft.p50", 0.5, 1.5, "500 ms -> 1.5 s"),
        ("engine_steps", 10.0, 12.0, "10 -> 12"),
        ("resident_bytes", 2.0**34, 2.0**33, "16 GiB -> 8,192 MiB"),
        ("ttft.p50", None, 0.06, "not measured -> 60 ms"),
        ("ttft.p50", 0.05, None, "50 ms -> not measured"),
        ("engine_steps", 12.0, None, "12 -> not measured"),
        ("gpu_utilization", 0.5, 0.973, "50 -> 97 %"),
        ("gpu_sm_clock", 1.98e9, 1.2e9, "1,980 -> 1,200 MHz"),
        ("joules_per_token", 0.5, 0.6, "0.5 -> 0.6 J/tok"),
    ],
)
def test_a_pair_has_its_unit_once(metric: str, before: float | None, now: float | None, shown: str) -> None:
    assert units.pair(metric, before, now) == shown


@pytest.mark.parametrize(
    ("ratio", "shown"), [(0.0513, "+5.1 %"), (-0.2, "-20.0 %"), (0.0, "+0.0 %"), (12.0, "+1200.0 %"), (None, "")]
)
def test_percent(ratio: float | None, shown: str) -> None:
    assert units.percent(ratio) == shown


def test_absurd_percentages_say_that_they_are() -> None:
    assert units.percent_range(-1.0, 7.6e6) == "[-100.0, >+10,000]"
    assert units.percent_range(-0.03, 0.161) == "[-3.0, +16.1]"
    assert (units.plain_percent(12.3e6), units.plain_percent(9.9)) == ("over 10,000 %", "990 %")
    assert units.percent(350.2) == ">+10,000 %"


def test_measured_and_chosen_fractions() -> None:
    assert [units.plain_percent(value) for value in (0.01, 0.0994, 0.0996, 0.114)] == ["1.0 %", "9.9 %", "10 %", "11 %"]
    assert [units.margin(value) for value in (0.05, 0.125, 0.0)] == ["5 %", "12.5 %", "0 %"]

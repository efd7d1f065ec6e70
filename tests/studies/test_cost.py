"""What a month of a daily volume costs on this machine at the measured rate, against a price per million tokens.

`VLLMPERF_STUDY_HOUR_PRICE`, `VLLMPERF_STUDY_API_PRICE` (of a million tokens) and `VLLMPERF_STUDY_DAILY_TOKENS` say what
is compared. Published: from $14,000 a month through an API to $200 on one's own card.
"""

from __future__ import annotations

import os

import pytest

from pytest_vllmperf import Measurement, Workload
from pytest_vllmperf.errors import NotMeasuredError
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.metrics.cost import cost_per_million_tokens

from .conftest import Study, Tell

HOUR_PRICE = float(os.environ.get("VLLMPERF_STUDY_HOUR_PRICE") or 0.40)
API_PRICE = float(os.environ.get("VLLMPERF_STUDY_API_PRICE") or 10.0)
DAILY_TOKENS = float(os.environ.get("VLLMPERF_STUDY_DAILY_TOKENS") or 46e6)
DAYS = 30


def monthly(per_million: float) -> float:
    """The price of all tokens of a month."""
    return per_million * DAILY_TOKENS * DAYS / 1e6


def energy(run: Measurement) -> float | None:
    """Kilowatt-hours of a month's tokens, where the device tells its energy."""
    try:
        return run.joules_per_token * DAILY_TOKENS * DAYS / 3.6e6
    except NotMeasuredError:
        return None


@pytest.mark.vllmperf(iterations=4, warmup=1, device_pass="off")
def test_a_month_here_against_a_price_per_million_tokens(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    engine = vllmperf.engine(**study.light(max_num_seqs=64))
    run = vllmperf.measure(Workload.synthetic(requests=128, input_tokens=64, output_tokens=64), engine=engine)
    rate = run.output_throughput
    per_million = cost_per_million_tokens(rate, 1, HOUR_PRICE)
    hours = DAILY_TOKENS / rate / 3600
    machines = -(-hours // 24)
    rented = machines * 24 * DAYS * HOUR_PRICE
    tell(
        f"{DAILY_TOKENS:,.0f} tokens a day",
        ["", "per million tokens", "a month", "kWh a month"],
        [
            ["here, busy hours alone", per_million, monthly(per_million), energy(run)],
            [f"here, {machines:.0f} rented all day", rented / (DAILY_TOKENS * DAYS / 1e6), rented, None],
            ["API", API_PRICE, monthly(API_PRICE), None],
        ],
    )
    tell(
        "what the sum is made of",
        ["tok/s", "hours of work a day", "price of an hour", "API price per million tokens", "tokens a day"],
        [[rate, hours, HOUR_PRICE, API_PRICE, DAILY_TOKENS]],
    )
    if study.on_gpu:
        assert run.cost_per_million_tokens(HOUR_PRICE) == pytest.approx(per_million)
    # Price by tokens, and price by the hours that the machine works for them, are two ways to one sum.
    assert monthly(per_million) == pytest.approx(hours * DAYS * HOUR_PRICE)

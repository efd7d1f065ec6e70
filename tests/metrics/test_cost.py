"""What tokens cost, against sums done by hand."""

import pytest

from pytest_vllmperf.metrics.cost import cost_per_million_tokens


@pytest.mark.parametrize(
    ("throughput", "gpus", "price", "cost"),
    [
        (1000.0, 1, 3.6, 1.0),  # 3.6 million tokens an hour
        (1000.0, 4, 3.6, 4.0),
        (5000.0, 1, 2.5, 2.5 / 18),
        (1000.0, 1, 0.0, 0.0),
    ],
)
def test_what_a_million_tokens_cost(throughput: float, gpus: int, price: float, cost: float) -> None:
    assert cost_per_million_tokens(throughput, gpus, price) == pytest.approx(cost)

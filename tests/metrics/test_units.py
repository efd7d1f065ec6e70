"""How a unit writes its values."""

import pytest

from pytest_vllmperf.metrics import units
from pytest_vllmperf.metrics.units import Unit


@pytest.mark.parametrize(
    ("unit", "number", "text"),
    [
        (units.SECONDS, 0.0232, "23.2 ms"),
        (units.BYTES, 2**34, "16 GiB"),
        (units.SHARE, 0.26, "26 %"),
        (units.HERTZ, 1.98e9, "1,980 MHz"),
        (units.COUNT, 1234, "1,234"),
        (units.TOKENS_PER_SECOND, 4812.4, "4,812 tok/s"),
        (units.CELSIUS, 61.0, "61 °C"),
    ],
)
def test_a_value_as_a_report_shows_it(unit: Unit, number: float, text: str) -> None:
    assert unit.text(number) == text
    assert text.rpartition(" ")[2] in unit.shown.split(", ") or not unit.symbol

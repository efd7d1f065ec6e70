"""Units of metrics, each with how a person reads a value in it: seconds as ms, bytes as GiB, thousands with a comma."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

_MOST: Final = 100.0


@dataclass(frozen=True)
class Unit:
    """A unit.

    Attributes:
        symbol: of stored samples and of what a test asserts on; empty for a plain count.
        shown: the symbols that a report uses instead, by size.
        text: writes a value as a report shows it, with its symbol.
    """

    symbol: str
    shown: str
    text: Callable[[float], str]


def seconds(number: float) -> str:
    """Four significant digits in s, ms or us."""
    for factor, unit in ((1.0, "s"), (1e3, "ms")):
        if float(f"{abs(number) * factor:.4g}") >= 1:
            return f"{_digits(number * factor)} {unit}"
    return f"{_digits(number * 1e6)} us" if number else "0 s"


def size(number: float) -> str:
    """Four significant digits in GiB, MiB or KiB; small sizes in bytes."""
    for unit, power in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if abs(number) >= power * 10:
            return f"{_digits(number / power)} {unit}"
    return f"{count(number)} B"


def count(number: float) -> str:
    """Whole numbers whole, others with four significant digits, thousands with a comma."""
    return f"{int(number):,}" if float(number).is_integer() else _digits(number)


def plain_percent(fraction: float) -> str:
    """A measured fraction without a sign: one decimal below ten per cent, none above."""
    if fraction > _MOST:
        return f"over {_MOST * 100:,.0f} %"
    return f"{fraction * 100:.1f} %" if fraction < 0.0995 else f"{fraction * 100:.0f} %"


def share_percent(share: float) -> str:
    """A share that is to be near the whole, where 98.6 % and 99.4 % are two results: four digits."""
    return f"{share * 100:.4g} %"


def _megahertz(number: float) -> str:
    return f"{_digits(number / 1e6)} MHz"


def _digits(number: float) -> str:
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.4g}"


def plain(symbol: str) -> Unit:
    """A unit that a report shows as it is stored."""
    return Unit(symbol, symbol, lambda number: f"{count(number)} {symbol}".rstrip())


SECONDS: Final = Unit("s", "s, ms, us", seconds)
BYTES: Final = Unit("B", "GiB, MiB, KiB, B", size)
SHARE: Final = Unit("share", "%", plain_percent)
NEAR_WHOLE: Final = Unit("share", "%", share_percent)
HERTZ: Final = Unit("Hz", "MHz", _megahertz)
COUNT: Final = plain("")
TOKENS: Final = plain("tokens")
TOKENS_PER_SECOND: Final = plain("tok/s")
REQUESTS_PER_SECOND: Final = plain("req/s")
WATTS: Final = plain("W")
JOULES: Final = plain("J")
JOULES_PER_TOKEN: Final = plain("J/tok")
TOKENS_PER_JOULE: Final = plain("tok/J")
CELSIUS: Final = plain("°C")

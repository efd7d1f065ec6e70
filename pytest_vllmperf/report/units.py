"""Values as a person reads them: seconds to s, ms or us, bytes to GiB or MiB, thousands with a comma."""

from __future__ import annotations

from pytest_vllmperf.metrics.table import METRICS

NOT_MEASURED = "not measured"
_MOST = 100.0


def value(metric: str, number: float | None) -> str:
    """A metric's value with its unit; missing is told in words, never as zero."""
    if number is None:
        return NOT_MEASURED
    unit = METRICS[metric].unit
    if unit == "s":
        return seconds(number)
    if unit == "B":
        return size(number)
    if unit == "share":
        return plain_percent(number)
    if unit == "Hz":
        return f"{_digits(number / 1e6)} MHz"
    return f"{count(number)} {unit}".rstrip()


def pair(metric: str, before: float | None, now: float | None) -> str:
    """Two values of one metric, the unit once where it is the same: `4,812 -> 4,391 tok/s`."""
    first, second = value(metric, before), value(metric, now)
    unit = second.rpartition(" ")[2]
    if before is not None and now is not None and " " in first and first.endswith(f" {unit}"):
        first = first.removesuffix(f" {unit}")
    return f"{first} -> {second}"


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


def many(number: int, noun: str) -> str:
    """A count with its noun: `1 prompt`, `2 prompts`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def _digits(number: float) -> str:
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.4g}"


def percent(ratio: float | None) -> str:
    """A relative change with its sign; empty where it has none."""
    return "" if ratio is None else f"{_per_cent(ratio)} %"


def percent_range(low: float, high: float) -> str:
    """Two relative changes, such as an interval, in per cent: `[-3.0, +16.1]`."""
    return f"[{_per_cent(low)}, {_per_cent(high)}]"


def _per_cent(ratio: float) -> str:
    """Beyond a hundredfold the number says nothing but that."""
    return f"{ratio * 100:+.1f}" if ratio <= _MOST else f">+{_MOST * 100:,.0f}"


def plain_percent(fraction: float) -> str:
    """A measured fraction without a sign: one decimal below ten per cent, none above."""
    if fraction > _MOST:
        return f"over {_MOST * 100:,.0f} %"
    return f"{fraction * 100:.1f} %" if fraction < 0.0995 else f"{fraction * 100:.0f} %"


def margin(fraction: float) -> str:
    """A fraction that somebody chose, as it was chosen."""
    return f"{fraction * 100:.4g} %"

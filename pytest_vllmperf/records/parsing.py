"""Parsers of what a user gave: flags, ini settings, arguments of markers and calls. One line says what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pytest_vllmperf.errors import SpecError

Parser = Callable[[str, Any], Any]
"""Takes where a value was given, for the error, and the value. Raises `SpecError` for one that is not valid."""

MOST: Final = 2**53
"""The largest count: a float holds every whole number up to here."""


def count(lowest: int) -> Callable[[str, Any], int]:
    """A parser of whole numbers from `lowest` on."""

    def parse(where: str, value: Any) -> int:
        try:
            number = int(str(value))
        except ValueError:
            number = lowest - 1
        if number < lowest or isinstance(value, (bool, float)):
            raise SpecError(f"{where}: {value!r} is not a whole number of at least {lowest}")
        if number > MOST:
            raise SpecError(f"{where}: {value!r} is too large; give at most {MOST}")
        return number

    return parse


def number(lowest: float, *, exclusive: bool) -> Callable[[str, Any], float]:
    """A parser of finite numbers from `lowest` on, without it where `exclusive`."""

    def parse(where: str, value: Any) -> float:
        try:
            found = float("nan") if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = float("nan")
        if not (found > lowest if exclusive else found >= lowest) or found == float("inf"):
            raise SpecError(f"{where}: {value!r} is not a number {'above' if exclusive else 'of at least'} {lowest:g}")
        return found

    return parse


def choice(*known: str) -> Callable[[str, Any], str]:
    """A parser of one word out of several."""

    def parse(where: str, value: Any) -> str:
        if value not in known:
            raise SpecError(f"{where}: {value!r} is not valid; choose one of {', '.join(known)}")
        return str(value)

    return parse


def words(where: str, value: Any, of: str) -> list[str]:
    """The words of a text, or of all texts of a list; commas separate as spaces do.

    Args:
        where: where the value was given.
        value: the text or the list.
        of: what is listed, for the error.

    Raises:
        SpecError: for what is neither text nor list.
    """
    if not isinstance(value, (str, list, tuple)):
        raise SpecError(f"{where}: {value!r} is not a list of {of}")
    listed = [value] if isinstance(value, str) else value
    return [word for item in listed for word in str(item).replace(",", " ").split()]

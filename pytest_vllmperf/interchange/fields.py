"""Values out of foreign JSON: each is what it has to be, or one line says where it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, Final

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.records.masking import masked

_LONGEST: Final = 60
_PRIVATE: Final = ("headers", "api_key")


def shown(value: object) -> str:
    """A value for a message: on one line, and cut where it is long."""
    text = ascii(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


class Fields:
    """An object of a report.

    Args:
        data: what the JSON holds there.
        place: where that is, for messages; empty for the outermost object.

    Raises:
        ReportError: when it is no object.
    """

    def __init__(self, data: Any, place: str = "") -> None:
        if not isinstance(data, Mapping):
            raise ReportError(f"{place or 'the report'}: {shown(data)} is not an object")
        self._data = data
        self._place = place

    def __len__(self) -> int:
        return len(self._data)

    def path(self, name: str) -> str:
        """Where a field lies, for a message."""
        return f"{self._place}.{name}" if self._place else name

    def get(self, name: str) -> Any:
        """Whatever is there; None where nothing is."""
        return self._data.get(name)

    def inside(self, name: str) -> Fields:
        """The object of that name; an empty one where there is none."""
        found = self.get(name)
        return Fields({} if found is None else found, self.path(name))

    def text(self, name: str) -> str:
        """The text of that name; empty where there is none."""
        found = self.get(name)
        if found is not None and not isinstance(found, str):
            raise self.wrong(name, "is not a text")
        return found or ""

    def number(self, name: str) -> float | None:
        """A finite number that is not negative; None where there is none."""
        found = self.get(name)
        return None if found is None else self._number(name, found)

    def count(self, name: str) -> int | None:
        """A whole number that is not negative; None where there is none."""
        found = self.number(name)
        if found is not None and found != int(found):
            raise self.wrong(name, "is not a whole number")
        return None if found is None else int(found)

    def needed_count(self, name: str) -> int:
        """A whole number that has to be there."""
        found = self.count(name)
        if found is None:
            raise self.missing(name)
        return found

    def items(self, name: str) -> list[Any] | None:
        """The list of that name; None where there is none."""
        found = self.get(name)
        if found is not None and not isinstance(found, list):
            raise self.wrong(name, "is not a list")
        return found

    def numbers(self, name: str) -> list[float] | None:
        """A list of finite numbers that are not negative; None where there is none."""
        found = self.items(name)
        return None if found is None else [self._number(f"{name}[{at}]", one) for at, one in enumerate(found)]

    def rows(self, name: str) -> list[list[float]] | None:
        """A list of lists of finite numbers that are not negative; None where there is none."""
        found = self.items(name)
        if found is None:
            return None
        each = Fields({f"{name}[{at}]": one for at, one in enumerate(found)}, self._place)
        return [each.numbers(f"{name}[{at}]") or [] for at in range(len(found))]

    def objects(self, name: str) -> list[Fields] | None:
        """A list of objects; None where there is none."""
        found = self.items(name)
        return None if found is None else [Fields(one, f"{self.path(name)}[{at}]") for at, one in enumerate(found)]

    def missing(self, name: str) -> ReportError:
        """The error for a field that has to be there."""
        return ReportError(f"{self.path(name)} is missing; the report is truncated, or of an unsupported version")

    def wrong(self, name: str, problem: str) -> ReportError:
        """The error for a field that is not what it has to be."""
        return ReportError(f"{self.path(name)}: {shown(self.get(name))} {problem}")

    def _number(self, name: str, value: object) -> float:
        try:
            found = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        except OverflowError:
            found = math.inf
        if not 0 <= found < math.inf:
            raise ReportError(f"{self.path(name)}: {shown(value)} is not a finite number of at least 0")
        return found


def moment(seconds: float | None) -> str:
    """A time since 1970 as an ISO date and time in UTC; empty for none, and for one that no calendar has."""
    try:
        return "" if seconds is None else datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return ""


def iso(text: str, form: str | None = None) -> str:
    """A date and time as ISO writes it, to the second; empty for a text that is not a date.

    Args:
        text: as the report has it.
        form: of `datetime.strptime`; None for ISO's own.
    """
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00")) if form is None else datetime.strptime(text, form)
    except ValueError:
        return ""
    return found.isoformat(timespec="seconds")


def portable(value: Any) -> Any:
    """A value of a configuration as it is on any machine, and may be shared.

    Of a path only the last part; no secrets, no headers, nothing that is null; whole numbers without a decimal point.
    """
    if isinstance(value, Mapping):
        kept = {str(key): one for key, one in value.items() if one is not None and key not in _PRIVATE}
        return {key: portable(masked(key, one)) for key, one in kept.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [portable(one) for one in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value.startswith(("/", "~", "./", "../")):
        return value.rstrip("/").rsplit("/", 1)[-1]
    return value

"""The parsers that the table of options names. An unarmed run does not import them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pytest_vllmperf.errors import HistoryError, SpecError
from pytest_vllmperf.history import opening
from pytest_vllmperf.records.parsing import Parser, choice, count, number
from pytest_vllmperf.records.settings import AUTO
from pytest_vllmperf.records.spec import interpreter
from pytest_vllmperf.report.pages import PAGE, SUFFIXES, library
from pytest_vllmperf.storage.names import slug
from pytest_vllmperf.validity.allowed import rule_names
from pytest_vllmperf.verdict.words import gate_words, limits, margins

OFF = "off"
"""What an option that names something is given to name nothing."""


_LONGEST_PROFILE = 64
"""Characters of a profile's name, which is a folder's."""


def _warmup(where: str, value: Any) -> int | Literal["auto"]:
    if value == AUTO:
        return AUTO
    try:
        return count(0)(where, value)
    except SpecError as error:
        raise SpecError(f"{error}, nor 'auto'") from None


def _device_pass(where: str, value: Any) -> int:
    if value == OFF or value is False:
        return 0
    try:
        return count(0)(where, value)
    except SpecError as error:
        raise SpecError(f"{error}, nor 'off'") from None


def _reason(where: str, value: Any) -> str:
    text = str(value).strip()
    if not text:
        raise SpecError(f"{where} is empty")
    if bad := next((sign for sign in text if unicodedata.category(sign) in ("Cc", "Cs")), None):
        kind = "text in UTF-8" if unicodedata.category(bad) == "Cs" else "text on one line, without control characters"
        raise SpecError(f"{where}: {text!r} is not {kind}")
    return text


def _folder(where: str, value: Any) -> Path:
    text = str(value)
    if not text.strip():
        raise SpecError(f"{where} is empty; name a folder")
    if "\0" in text:
        raise SpecError(f"{where}: {text!r} is not a valid folder name")
    return Path(text)


def _folder_or_none(where: str, value: Any) -> Path | None:
    return _folder(where, value) if str(value).strip() else None


def _file_or_none(where: str, value: Any) -> Path | None:
    text = str(value)
    if not text.strip():
        return None
    if text == "-":
        raise SpecError(f"{where}: '-' is not supported, as pytest writes to standard output; name a file")
    if "\0" in text or text.endswith("/"):
        raise SpecError(f"{where}: {text!r} is not the name of a file")
    return Path(text)


def _report_files(where: str, value: Any) -> tuple[Path, ...]:
    files = tuple(file for one in value if (file := _file_or_none(where, one)))
    for file in files:
        if file.suffix not in SUFFIXES:
            raise SpecError(f"{where}: {str(file)!r} is not a report's name; it has to end in {' or '.join(SUFFIXES)}")
    if any(file.suffix == PAGE for file in files) and not library.installed():
        raise SpecError(f"{where}: {library.MISSING}")
    return files


def _interpreter(where: str, value: Any) -> str:
    return "" if value == OFF else interpreter(f"{where}: ", value)


def _profile_name(where: str, value: Any) -> str:
    text = str(value).strip()
    if text == OFF:
        return ""
    if slug(text) != text or len(text) > _LONGEST_PROFILE:
        near = f", such as {slug(text)[:_LONGEST_PROFILE]!r}" if re.search("[a-z0-9]", text.lower()) else ""
        raise SpecError(
            f"{where}: {text[:_LONGEST_PROFILE]!r} cannot name a profile; use at most {_LONGEST_PROFILE} lower-case "
            f"letters, digits, dots and dashes{near}"
        )
    return text


def _noisy_fails(where: str, value: Any) -> bool:
    return choice("warn", "fail")(where, value) == "fail"


def _history(where: str, value: Any) -> str:
    """A file or URL, `auto`, or empty for none. What cannot be opened later on is refused, without its password."""
    text = str(value).strip()
    if text == OFF:
        return ""
    if not text:
        raise SpecError(f"{where} is empty; name a database, or write {OFF!r}")
    try:
        opening.opened(opening.place("" if text == AUTO else text))
    except HistoryError as error:
        raise SpecError(f"{where}: {error}") from None
    return text


def _github(where: str, value: Any) -> bool:
    return choice(AUTO, OFF)(where, value) == AUTO


PARSERS: Mapping[str, Parser] = {
    "above_zero": number(0, exclusive=True),
    "count": count(1),
    "device_pass": _device_pass,
    "file_or_none": _file_or_none,
    "folder": _folder,
    "folder_or_none": _folder_or_none,
    "from_zero": number(0, exclusive=False),
    "gate": gate_words,
    "github": _github,
    "history": _history,
    "interpreter": _interpreter,
    "limits": limits,
    "margins": margins,
    "noisy": _noisy_fails,
    "profile_name": _profile_name,
    "reason": _reason,
    "report_files": _report_files,
    "rules": rule_names,
    "unsupported": choice("fail", "skip"),
    "warmup": _warmup,
}
"""By the name that a row of `flags.OPTIONS` has for it."""

PARSERS_OF_TESTS: Mapping[str, Parser] = {
    **PARSERS,
    "gate": partial(gate_words, custom=True),
    "limits": partial(limits, custom=True),
    "margins": partial(margins, custom=True),
}
"""The same for markers and calls, which may name the custom metrics of their test."""

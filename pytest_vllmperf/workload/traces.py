"""Recorded traffic with its clock: `vllm bench`'s timed traces, and Azure's tables of LLM requests."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload.entries import UnusableError, shown, take
from pytest_vllmperf.workload.textfiles import decoded, first_line, lines, parsed

UNITS: Final = {"s": 1.0, "ms": 1e-3}
"""Seconds in a unit of a trace's clock."""

FAMILIES: Final = {16: "s", 512: "ms"}
"""Published traces by the tokens of a block, with their clock's unit: Qwen's (Alibaba) has blocks of 16 tokens and
seconds, which are also the defaults of `vllm bench serve`; Moonshot's (Mooncake) has 512 and milliseconds."""

_LATEST: Final = 1e15
"""Of a clock, in its unit: above, floating point loses milliseconds."""

_LONGEST: Final = 10_000_000
"""Tokens of one request: above, a broken line would only be noticed when memory ends."""

_AZURE: Final = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True)
class Arrived:
    """One request of a trace.

    Attributes:
        line: its number in the file.
        clock: when it came, in the file's unit; of Azure's tables nanoseconds since 1970.
        input_tokens: of the prompt.
        output_tokens: that were generated.
        blocks: names of the prompt's blocks, which hold the same tokens wherever they come again; empty where the
            trace does not tell.
    """

    line: int
    clock: int | float
    input_tokens: int
    output_tokens: int
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class Trace:
    """A trace as it was read.

    Attributes:
        arrived: its requests, in order.
        due: seconds of each from the first.
        block_tokens: tokens of a block; 0 where the trace names none.
    """

    arrived: tuple[Arrived, ...]
    due: tuple[float, ...]
    block_tokens: int


def read_trace(
    name: str, file: Path, requests: int | None, unit: str | None = None, block_tokens: int | None = None
) -> Trace:
    """The requests of a trace, with their times from the first one.

    Args:
        name: as the user wrote it.
        file: its path.
        requests: how many; None for all.
        unit: of a JSON trace's clock, `s` or `ms`; None for that of the published traces with such blocks, else
            seconds.
        block_tokens: tokens that one of `hash_ids` stands for; None for 16 or 512, whichever fits every line.

    Raises:
        WorkloadError: for another unit, a file that is neither kind of trace, broken lines, a clock that runs
            backwards, or blocks that fit no known size.
    """
    if unit is not None and unit not in tuple(UNITS):
        raise WorkloadError(f"unit={shown(unit)} must be one of {', '.join(map(repr, UNITS))}")
    first = first_line(name, file)
    if first[:1] == b"{":
        arrived = take(name, lines(name, file), lambda number, line: [_timed(number, line)], requests)
        block_tokens = _block_tokens(name, arrived, block_tokens)
        seconds = UNITS[unit or FAMILIES.get(block_tokens, "s")]
    else:
        if unit is not None or block_tokens is not None:
            raise WorkloadError(
                f"{name}: unit= and block_tokens= are valid only for traces in JSON lines, not for a table"
            )
        columns = _columns(name, first)
        arrived = take(name, _rows(name, file), lambda number, line: [_azure(number, line, columns)], requests)
        block_tokens, seconds = 0, 1e-9
    return Trace(tuple(arrived), _due(name, arrived, seconds), block_tokens)


def content(arrived: Arrived) -> str:
    """What a workload keeps of a request: JSON of its prompt's length, then the names of its blocks."""
    return json.dumps([arrived.input_tokens, *arrived.blocks], separators=(",", ":"))


def _timed(number: int, line: bytes) -> Arrived:
    row = parsed(line)
    if not isinstance(row, Mapping):
        raise UnusableError(f"must be an object with timestamp, input_length and output_length, not {shown(row)}")
    clock: Any = row.get("timestamp")
    if type(clock) not in (int, float) or not abs(clock) < _LATEST:
        raise UnusableError(f"timestamp={shown(clock)} must be a number below {_LATEST:g}")
    blocks = row.get("hash_ids") or ()
    if not isinstance(blocks, (list, tuple)) or not all(type(one) is int for one in blocks):
        raise UnusableError(f"hash_ids={shown(blocks)} must be a list of whole numbers")
    return Arrived(number, clock, _length(row, "input_length"), _length(row, "output_length"), tuple(blocks))


def _length(row: Mapping[str, Any], key: str) -> int:
    value = row.get(key)
    if type(value) is not int or not 1 <= value <= _LONGEST:
        raise UnusableError(f"{key}={shown(value)} must be a whole number from 1 to {_LONGEST:,}")
    return value


def _block_tokens(name: str, arrived: Sequence[Arrived], given: int | None) -> int:
    told = [one for one in arrived if one.blocks]
    if given is not None or not told:
        return given if given is not None and told else 0
    fitting = [size for size in FAMILIES if all(-(-one.input_tokens // size) == len(one.blocks) for one in told)]
    if len(fitting) == 1:
        return fitting[0]
    sizes = " and ".join(map(str, FAMILIES))
    one = told[0]
    why = f"blocks of {sizes} tokens both fit" if fitting else f"blocks of neither {sizes} tokens fit"
    raise WorkloadError(
        f"{name}: {why} its hash_ids (line {one.line}: {one.input_tokens} tokens, {len(one.blocks)} ids); "
        "pass the number of tokens per block with block_tokens="
    )


def _due(name: str, arrived: Sequence[Arrived], seconds: float) -> tuple[float, ...]:
    before = arrived[0]
    for one in arrived:
        if one.clock < before.clock:
            raise WorkloadError(
                f"{name}, line {one.line}: this request is earlier than the one before it; sort the trace by time"
            )
        before = one
    return tuple((one.clock - arrived[0].clock) * seconds for one in arrived)


def _columns(name: str, first: bytes) -> Sequence[int]:
    """Where Azure's three columns stand."""
    try:
        heads = [head.strip() for head in _fields(first)]
    except UnusableError:
        heads = []
    if not set(_AZURE) <= set(heads):
        raise WorkloadError(
            f"{name} is not a trace: neither JSON lines with timestamp, input_length and output_length, nor a "
            f"table with "
            f"the columns {', '.join(_AZURE)}"
        )
    return [heads.index(one) for one in _AZURE]


def _rows(name: str, file: Path) -> Iterator[tuple[int, bytes]]:
    rows = lines(name, file)
    next(rows)
    return rows


def _azure(number: int, line: bytes, columns: Sequence[int]) -> Arrived:
    cells = _fields(line)
    if len(cells) <= max(columns):
        raise UnusableError(f"has {len(cells)} columns, fewer than its header")
    time, *lengths = (cells[column].strip() for column in columns)
    tokens = dict(zip(_AZURE[1:], lengths, strict=True))
    numbers = {key: int(text) if text.isascii() and text.isdigit() else text for key, text in tokens.items()}
    prompt, answer = (_length(numbers, key) for key in _AZURE[1:])
    return Arrived(number, _nanoseconds(time), prompt, answer)


def _fields(line: bytes) -> list[str]:
    try:
        return next(csv.reader([decoded(line)]), [])
    except csv.Error as error:
        raise UnusableError(f"not a valid table row: {error}") from None


def _nanoseconds(text: str) -> int:
    """A time as nanoseconds since 1970, with all digits of its fraction: `datetime` keeps six of seven."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise UnusableError(f"TIMESTAMP={shown(text)} must be a time such as 2023-11-16 18:15:46.6805900")
    day, clock, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in (None, 'Z') else zone}")
    except ValueError as error:
        raise UnusableError(f"TIMESTAMP={shown(text)} is not a time: {error}") from None
    passed = moment - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (passed.days * 86_400 + passed.seconds) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))

"""What an engine's own log tells: its tail, the phase it is in, why it failed, and how long parts of loading took."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pytest_vllmperf.engines import folders

TAIL_LINES = 20
TAIL_BYTES = 4096
LINE_CHARACTERS = 300
MESSAGE_CHARACTERS = 1000
_READ_BYTES = 64 * 1024
_PREFIX = re.compile(r"^(?:\((?:\w+ )?pid=\d+\) ?)?(?:(?:INFO|WARNING|ERROR|DEBUG) [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
_RAISED = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception): (.+)")
_ELSEWHERE = "root cause"
# Not every line with torch.compile in it: vLLM also says that enforce_eager disables it.
_COMPILING = r"(?:Starting|for vLLM's) torch\.compile|torch\.compile took|Compiling a graph|Dynamo bytecode"
_PHASES = (
    (re.compile(r"Capturing CUDA graph|Graph capturing"), "capturing CUDA graphs"),
    (re.compile(_COMPILING), "compiling"),
    (
        re.compile(r"init engine|KV cache size|Loading weights took|Model loading took"),
        "preparing the KV cache",
    ),
    (re.compile(r"Starting to load model|Loading .*checkpoint shards"), "loading weights"),
)
_WEIGHTS = re.compile(r"Loading weights took ([\d.]+) seconds")


def read_end(path: Path, most: int = _READ_BYTES, since: int = 0) -> str:
    """The last `most` bytes as text, of those behind the first `since`; empty where there is no file."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, min(since, end), end - most))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def opened(path: Path) -> int:
    """A descriptor that appends to a log, made if need be.

    Raises:
        OSError: when it cannot be written, as on a full disk.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"\n")
    except OSError as error:
        os.close(fd)
        raise OSError(error.errno, error.strerror, str(path)) from None
    return fd


def size(path: Path) -> int:
    """Its bytes so far; 0 where there is no file."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines with something on them, with vLLM's time stamps and process numbers taken off.

    An engine may write anything: long lines are cut, and the whole holds at most `TAIL_BYTES`.
    """
    text = read_end(path).replace("\r", "\n")
    shown: list[str] = []
    room = TAIL_BYTES
    for line in reversed([line for line in text.splitlines() if line.strip()][-lines:]):
        short = cut(_PREFIX.sub("", line).rstrip(), LINE_CHARACTERS)
        room -= len(short.encode()) + 1
        if room < 0:
            break
        shown.append(short)
    return "\n".join(reversed(shown))


def kept_tail(path: Path) -> str:
    """The tail of a log that is kept from now on, and its path; empty where the log says nothing."""
    shown = tail(path)
    if not shown:
        return ""
    folders.keep(path)
    return f"{shown}\nfull log: {path}"


def cut(text: str, characters: int) -> str:
    """A text that is not longer than that, with an ellipsis where it was cut."""
    return text if len(text) <= characters else f"{text[: characters - 3]}..."


def points_elsewhere(message: str) -> bool:
    """Whether an error of vLLM's only says that another process of its knows why."""
    return _ELSEWHERE in message.lower()


def root_cause(text: str) -> str | None:
    """What the failing process said: the newest exception's message that does not point to another one itself."""
    raised = [_RAISED.match(_PREFIX.sub("", line)) for line in text.splitlines()]
    told = [found[1].strip() for found in raised if found is not None and not points_elsewhere(found[1])]
    return cut(told[-1], MESSAGE_CHARACTERS) if told else None


def phase(text: str) -> str:
    """What a loading engine is doing, from the newest line that tells; `starting` before there is one."""
    for line in reversed(text.splitlines()):
        for pattern, name in _PHASES:
            if pattern.search(line):
                return name
    return "starting"


def weights_seconds(text: str) -> float | None:
    """VLLM's own figure for reading the weights; the slowest worker's. None where it did not say."""
    found = [float(seconds) for seconds in _WEIGHTS.findall(text)]
    return max(found) if found else None

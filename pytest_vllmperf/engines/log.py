"""What an engine's own log tells: its tail, the phase it is in, why it failed, and how long parts of loading took."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_LINES = 20
_READ_BYTES = 64 * 1024
_PREFIX = re.compile(r"^(?:\((?:\w+ )?pid=\d+\) ?)?(?:(?:INFO|WARNING|ERROR|DEBUG) [\d-]+ [\d:]+ \[[^\]]*\] ?)?")
_RAISED = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception): (.+)")
_ELSEWHERE = "root cause"
_PHASES = (
    (re.compile(r"Capturing CUDA graph|Graph capturing"), "capturing CUDA graphs"),
    (re.compile(r"torch\.compile|Compiling a graph|Dynamo bytecode"), "compiling"),
    (
        re.compile(r"init engine|KV cache size|Loading weights took|Model loading took"),
        "preparing the KV cache",
    ),
    (re.compile(r"Starting to load model|Loading .*checkpoint shards"), "loading weights"),
)
_WEIGHTS = re.compile(r"Loading weights took ([\d.]+) seconds")


def read_end(path: Path, size: int = _READ_BYTES) -> str:
    """The last `size` bytes as text; empty where there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - size))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def tail(path: Path, lines: int = TAIL_LINES) -> str:
    """The last lines with something on them, with vLLM's time stamps and process numbers taken off."""
    text = read_end(path).replace("\r", "\n")
    shown = [_PREFIX.sub("", line).rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(shown[-lines:])


def points_elsewhere(message: str) -> bool:
    """Whether an error of vLLM's only says that another process of its knows why."""
    return _ELSEWHERE in message.lower()


def root_cause(text: str) -> str | None:
    """What the failing process said: the newest exception's message that does not point to another one itself."""
    raised = [_RAISED.match(_PREFIX.sub("", line)) for line in text.splitlines()]
    told = [found[1].strip() for found in raised if found is not None and not points_elsewhere(found[1])]
    return told[-1] if told else None


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

"""Calibration prompts: a file of JSON lines, read whole or refused with the line at fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_vllmperf.errors import ModelError, WorkloadError
from pytest_vllmperf.workload import Message, Workload

_TEXT = ("prompt", "text")


@dataclass(frozen=True)
class CalibrationPrompt:
    """One line of the file; exactly one of the two is set.

    Attributes:
        text: taken as it is.
        messages: rendered by the model's chat template.
    """

    text: str | None = None
    messages: tuple[Message, ...] | None = None


def read_prompts(path: Path, samples: int) -> tuple[CalibrationPrompt, ...]:
    """The first `samples` prompts of a file with one JSON object a line.

    A line is `{"messages": [{"role": …, "content": …}, …]}`, `{"prompt": "…"}` or `{"text": "…"}`; other keys are
    left alone, empty lines left out.

    Raises:
        ModelError: naming file and line, when it is missing, empty, no JSON lines, or has fewer prompts.
    """
    if samples < 1:
        raise ModelError(f"--samples {samples} must be at least 1")
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # splitlines() cuts strings at U+2028 too
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: not UTF-8 text (byte {error.start}); write JSON lines in UTF-8") from None
    except OSError as error:
        raise ModelError(f"{path}: calibration prompts cannot be read: {error.strerror or error}") from None
    prompts = [_prompt(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not prompts:
        raise ModelError(f"{path}: no calibration prompts; write one JSON object per line, such as {_EXAMPLE}")
    if len(prompts) < samples:
        raise ModelError(
            f"{path}: {len(prompts)} prompts, but --samples asks for {samples}; add prompts, or take fewer samples"
        )
    return tuple(prompts[:samples])


_EXAMPLE = '{"messages": [{"role": "user", "content": "…"}]}'


def _prompt(path: Path, number: int, line: str) -> CalibrationPrompt:
    try:
        content = json.loads(line)
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}:{number}: not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # numbers too long and levels too deep for Python
        raise ModelError(f"{path}:{number}: not valid JSON: {error}") from None
    if isinstance(content, dict) and "messages" in content:
        return CalibrationPrompt(messages=_messages(path, number, content["messages"]))
    texts = [content[name] for name in _TEXT if name in content] if isinstance(content, dict) else []
    if len(texts) != 1 or not isinstance(texts[0], str) or not texts[0].strip():
        raise ModelError(f"{path}:{number}: needs 'messages', 'prompt' or 'text', such as {_EXAMPLE}")
    return CalibrationPrompt(text=texts[0])


def _messages(path: Path, number: int, messages: Sequence[Message]) -> tuple[Message, ...]:
    try:
        (request,) = Workload.chat([messages], output_tokens=1).requests(0)
    except WorkloadError as error:
        raise ModelError(f"{path}:{number}: {str(error).replace('chat 0', 'messages')}") from None
    except RecursionError:
        raise ModelError(f"{path}:{number}: messages are nested too deeply") from None
    return request.messages or ()

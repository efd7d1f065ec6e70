"""A first test for a machine: one that runs there, without a network. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_ROOM = 0.05
"""Share of a GPU's memory that is left free beside what others hold."""
_ALMOST_ALL = 0.9
"""Free share from which on vLLM's own gpu_memory_utilization fits."""


@dataclass(frozen=True)
class FirstTest:
    """What a first test says.

    Attributes:
        model: a built-in one.
        arguments: of the engine.
        gpu: what the marker `gpu` names; empty for any GPU, None on a CPU.
        requests: of the workload.
        input_tokens: of each request.
        output_tokens: of each request.
    """

    model: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    gpu: str | None = None
    requests: int = 32
    input_tokens: int = 64
    output_tokens: int = 32

    @property
    def markers(self) -> str:
        """The markers, as they stand above a test."""
        arguments = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        lines = [f"@pytest.mark.gpu({_quoted(self.gpu) if self.gpu else ''})"] if self.gpu is not None else []
        return "\n".join([*lines, f"@pytest.mark.vllm({_quoted(self.model)}{arguments})"])

    @property
    def on_gpu(self) -> bool:
        """Whether it needs a GPU."""
        return self.gpu is not None

    @property
    def module(self) -> str:
        """A whole test module."""
        return MODULE.format(
            requests=self.requests,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            markers=self.markers,
        )


MODULE = '''\
"""Performance tests of vLLM, with pytest-vllmperf.

pytest --vllmperf-update    record the baseline of this machine; commit the file below baselines/
pytest --vllmperf           gate: fails on a regression
"""

import pytest

from pytest_vllmperf import Workload

CHAT = Workload.synthetic(requests={requests}, input_tokens={input_tokens}, output_tokens={output_tokens})


{markers}
def test_chat(vllmperf):
    run = vllmperf.measure(CHAT)
    vllmperf.check(run)  # against the baseline of this machine
'''


def on_cpu() -> FirstTest:
    """A test of the tiny model: seconds on two cores, without compilation."""
    return FirstTest("vllmperf:tiny", {"enforce_eager": True, "max_model_len": 512})


def on_gpu(name: str, free_share: float = 1.0) -> FirstTest:
    """A test of a model that is large enough for a GPU, and small enough for any.

    Args:
        name: the GPU's, as NVML gives it; empty for any.
        free_share: of its memory, 0 .. 1; where others hold some, the marker says how much the engine may have.
    """
    arguments: dict[str, object] = {"max_model_len": 2048}
    if free_share < _ALMOST_ALL + _ROOM:
        arguments["gpu_memory_utilization"] = max(_ROOM, int((free_share - _ROOM) * 20) / 20)
    short = name.removeprefix("NVIDIA ")
    pattern = short if re.fullmatch(r"[\w. -]+", short) else re.escape(short)
    return FirstTest("vllmperf:qwen3-0.6b", arguments, pattern, requests=128, input_tokens=128, output_tokens=128)


def _quoted(text: str) -> str:
    """A string as Python source, in double quotes where that is the same."""
    shown = repr(text)
    return f'"{text}"' if shown == f"'{text}'" else shown

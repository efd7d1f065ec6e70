"""The sets of metrics that a gate can name. Light: what lists options may import it in every pytest run."""

from __future__ import annotations

from enum import Enum
from typing import Final

AUTO: Final = "auto"
"""The word that stands for the set that suits the device."""


LIMITS: Final = "limits"
"""The word of a gate that absolute limits alone decide, without a baseline."""


class Gate(Enum):
    """A set of metrics; each metric declares the sets that it belongs to.

    Attributes:
        word: its name in a gate.
        about: what is in it, in words.
    """

    EXACT = ("exact", "counters and sizes that are the same on any machine")
    CLOCK = ("clock", "output throughput and median latencies")
    CPU = ("cpu", "CPU time of the engine's processes")
    VRAM = ("vram", "weights, KV cache and torch's peak")
    DEVICE = ("device", "the GPU's own time, where it was measured")
    ENERGY = ("energy", "energy per output token")

    def __init__(self, word: str, about: str) -> None:
        self.word = word
        self.about = about


def automatic(device: str) -> tuple[Gate, ...]:
    """The sets that `auto` stands for: on a CPU, wall time depends on the neighbours more than on the engine.

    Args:
        device: the engine's device, `cuda`, `cpu` or `simulated`, or where it is driven over HTTP.
    """
    return (Gate.EXACT,) if device == "cpu" else (Gate.CLOCK, Gate.DEVICE)


def gate_words() -> tuple[str, ...]:
    """All words of a gate that name a set."""
    return (AUTO, *(gate.word for gate in Gate))


def gate_help() -> str:
    """The help text of a gate, with all sets and without a default."""
    return f"metrics that decide: names, or the sets {', '.join(gate_words())}"

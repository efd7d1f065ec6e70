"""Baselines of other hardware, for a check that has none of its own: which there are, in words."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.lab.targets import parallel_arguments


def only_elsewhere(profiles: Sequence[str], target: Target | None) -> str:
    """Which profiles have a baseline, and how an engine is spread over GPUs where the test says so; may be empty.

    Args:
        profiles: those that have one.
        target: the engine; None where nobody knows.
    """
    if not profiles:
        return ""
    spread = {} if target is None or not target.gpus else parallel_arguments(target.spec.args)
    if target is None or not spread:
        return f", only for {', '.join(profiles)}"
    gpus = f"{len(target.gpus)} GPU{'' if len(target.gpus) == 1 else 's'}"
    given = ", ".join(f"{name}={size}" for name, size in spread.items())
    return f", only for {', '.join(profiles)}; this engine uses {gpus} ({given})"

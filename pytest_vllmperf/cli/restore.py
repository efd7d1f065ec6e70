"""`vllmperf baseline restore`: what a run could not write, from its rescue file into the baselines."""

from __future__ import annotations

from pathlib import Path

from pytest_vllmperf.storage import rescue
from pytest_vllmperf.storage.baselines import BaselineStore


def restore(file: Path, folder: Path) -> tuple[str, bool]:
    """Write what a rescue file holds; what was written is taken out of it.

    Args:
        file: as a run has written it.
        folder: of the baselines.

    Returns:
        What was done, in words, and whether that was all.

    Raises:
        BaselineError: for a file that is no rescue file.
    """
    written, problems = rescue.restore(file, BaselineStore(folder))
    lines = [f"written: {one.path}" for one in written]
    refused = [
        f"{one.path}: {name}: not appended: its baseline was {reason}"
        for one in written
        for name, reason in one.refused.items()
    ]
    lines += [*refused, *(f"left in {file}: {problem}" for problem in problems)]
    return "\n".join(lines) or "nothing to restore", not refused and not problems

"""The processes of an engine."""

from __future__ import annotations

import psutil

from pytest_vllmperf.engines.base import Engine


def tree(engine: Engine) -> set[int]:
    """The process ids of an engine; none where its process is gone, or where it has none."""
    if engine.pid is None:
        return set()
    try:
        leader = psutil.Process(engine.pid)
        return {leader.pid, *(child.pid for child in leader.children(recursive=True))}
    except psutil.NoSuchProcess:
        return set()

"""The time left, counted down on a terminal while an iteration runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from pytest_vllmperf.lab.pace import Stage
from pytest_vllmperf.records.engine import Progress

_EVERY_S: Final = 1.0


@contextmanager
def ticking(
    progress: Progress,
    prefix: str,
    every: float = _EVERY_S,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Callable[[str], None]]:
    """Show each iteration as it begins, and again every second with the time that is left by then.

    Only a stage whose time left is known is shown again. The thread that does so ends before this returns.

    Args:
        progress: shows a line; called from a second thread too.
        prefix: of each line.
        every: seconds between two lines.
        clock: in seconds.
    """
    shown: list[tuple[str, float]] = []
    lock, over = threading.Lock(), threading.Event()

    def show(stage: str) -> None:
        with lock:
            shown[:] = [(stage, clock())]
            progress(f"{prefix}{stage}", 0.0)

    def again() -> None:
        while not over.wait(every):
            with lock:
                for stage, began in shown:
                    if isinstance(stage, Stage) and stage.left is not None:
                        progress(f"{prefix}{stage.after(clock() - began)}", 0.0)

    thread = threading.Thread(target=again, name="vllmperf-ticks", daemon=True)
    thread.start()
    try:
        yield show
    finally:
        over.set()
        thread.join()

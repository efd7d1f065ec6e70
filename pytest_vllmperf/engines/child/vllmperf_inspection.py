"""Has vLLM look at a model's class in a forked process, where it would start an interpreter that imports vLLM anew.

vLLM does so once for a class, and keeps what it found in its cache: a file that says for which version. An empty cache,
as in a fresh container, costs the import; so does each start of an engine where two versions share a cache, as when
they are compared: each finds the other's file, and replaces it.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
from collections.abc import Callable
from typing import Any

REGISTRY = "vllm.model_executor.models.registry"
TIMEOUT_S = 120.0
_CHUNK = 1 << 16


def prepare(timeout: float = TIMEOUT_S) -> None:
    """Replace vLLM's function that starts an interpreter; a version without it is left as it is.

    Args:
        timeout: seconds that a forked process may take.
    """
    registry: Any = sys.modules.get(REGISTRY)
    original = getattr(registry, "_run_in_subprocess", None)
    if original is not None:
        registry._run_in_subprocess = forking(original, timeout)


def forking(original: Callable[[Callable[[], Any]], Any], timeout: float) -> Callable[[Callable[[], Any]], Any]:
    """A function that returns what another one returns in a forked process.

    Args:
        original: takes over where that fails, and says why in vLLM's own words; also where CUDA is in use already,
            which a forked process cannot share.
        timeout: seconds until it has failed.
    """

    def run(function: Callable[[], Any]) -> Any:
        if _uses_cuda():
            return original(function)
        try:
            return pickle.loads(_told(function, timeout))  # noqa: S301 - from a process forked from this one
        except Exception as error:
            print(f"no answer from a forked process ({type(error).__name__}: {error})", file=sys.stderr)
            return original(function)

    return run


def _uses_cuda() -> bool:
    torch: Any = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _told(function: Callable[[], Any], timeout: float) -> bytes:
    """What the function returns in a forked process, pickled; nothing where it fails or takes too long."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _tell(function, write)
    os.close(write)
    told = b""
    try:
        poll = select.poll()
        poll.register(read, select.POLLIN)
        while poll.poll(timeout * 1000):
            chunk = os.read(read, _CHUNK)
            if not chunk:
                return told
            told += chunk
        return b""
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)  # it has ended, or never will
        os.waitpid(child, 0)


def _tell(function: Callable[[], Any], write: int) -> None:
    """In the forked process; does not return."""
    try:
        data = pickle.dumps(function())
        while data:
            data = data[os.write(write, data) :]
    finally:
        os._exit(0)

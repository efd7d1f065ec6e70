"""Has vLLM look at a model's class in a forked process, where it would start an interpreter that imports vLLM anew.

vLLM does so once for a class, and keeps what it found in its cache: a file that says for which version. An empty cache,
as in a fresh container, costs the import; so does each start of an engine where two versions share a cache, as when
they are compared: each finds the other's file, and replaces it.

What is found is the same: vLLM's own function runs in the forked process. A fresh interpreter only adds vLLM's
plugins, and vLLM loads those before it asks for the class (`EngineArgs.__post_init__`).
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

REGISTRY = "vllm.model_executor.models.registry"
LEAST_S = 10.0
_CHUNK = 1 << 16


def prepare(import_seconds: float) -> None:
    """Replace vLLM's function that starts an interpreter; a version without it is left as it is.

    Args:
        import_seconds: how long the import of vLLM took here. A forked process may take as long, and `LEAST_S` where
            that was less. It imports a module or two, most of them read already: one that takes longer hangs. So a
            hang costs no more than the import that it was to save.
    """
    registry: Any = sys.modules.get(REGISTRY)
    original = getattr(registry, "_run_in_subprocess", None)
    if original is not None:
        registry._run_in_subprocess = forking(original, max(LEAST_S, import_seconds))


def forking(original: Callable[[Callable[[], Any]], Any], timeout: float) -> Callable[[Callable[[], Any]], Any]:
    """A function that returns what another one returns in a forked process.

    Args:
        original: does it where a forked process cannot, and where that fails: it says why in vLLM's own words.
        timeout: seconds until it has failed.
    """

    def run(function: Callable[[], Any]) -> Any:
        if (reason := _not_to_be_forked()) is not None:
            print(f"vLLM starts a new interpreter to inspect the model class: {reason}", file=sys.stderr)
            return original(function)
        try:
            # Unpickling runs what the bytes say. These come from a copy of this process, through a pipe that no other
            # program has opened, and are never stored: who could write them could run code here anyway.
            return pickle.loads(_told(function, timeout))  # noqa: S301
        except Exception as error:
            print(f"no answer from a forked process ({type(error).__name__}: {error})", file=sys.stderr)
            return original(function)

    return run


def _not_to_be_forked() -> str | None:
    """Why a process forked from this one might fail or hang; None where nothing speaks against it."""
    torch: Any = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "a forked process cannot use CUDA where this one does"
    if (others := _threads() - 1) > 0:
        return f"a lock that one of {others} other threads holds would stay locked in a forked process"
    return None


def _threads() -> int:
    """How many this process has, by the kernel's own list: Python does not know of those of libraries."""
    return len(os.listdir("/proc/self/task"))


def _told(function: Callable[[], Any], timeout: float) -> bytes:
    """What the function returns in a forked process, pickled.

    Raises:
        TimeoutError: when it takes too long.
        OSError: when no process can be forked.
    """
    read, write = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            _tell(function, write)
    except OSError:
        os.close(read)
        raise
    finally:
        os.close(write)
    return _read_all(read, child, timeout)


def _read_all(read: int, child: int, timeout: float) -> bytes:
    """All that a process writes until it ends; it is gone afterwards."""
    deadline = time.monotonic() + timeout
    told: list[bytes] = []
    try:
        poll = select.poll()
        poll.register(read, select.POLLIN)
        while poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            chunk = os.read(read, _CHUNK)
            if not chunk:
                return b"".join(told)
            told.append(chunk)
        raise TimeoutError(f"it took more than {timeout:.0f} s")
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

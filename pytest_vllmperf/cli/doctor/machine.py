"""The processor, memory, container and temporary folder, and the hub of models."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psutil

from pytest_vllmperf.cli.doctor.finding import Finding, State
from pytest_vllmperf.lab.environment import cpu_instructions, cpu_model
from pytest_vllmperf.models.location import hub_caches, offline_variable
from pytest_vllmperf.records.masking import MASK

_GIB = 2**30
_CGROUP = Path("/sys/fs/cgroup")
_NEEDED_BYTES = 3 * _GIB
"""Free memory that an engine of the tiny model needs on the CPU: vLLM itself, and a KV cache of 1 GiB."""
_NEEDED_FREE_DISK = 2 * _GIB
_HUB = "https://huggingface.co"
HUB_TIMEOUT_S = 3.0
_TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")


def processor() -> Iterator[Finding]:
    """The processor, its cores, and the instruction sets that decide which kernels of the CPU build run."""
    cores, allowed = os.cpu_count() or 1, len(os.sched_getaffinity(0))
    quota = _cpu_quota()
    flags = cpu_instructions()
    limits = [f"{allowed} of {cores} cores allowed"] if allowed < cores else []
    limits += [f"container's limit {quota:g} cores"] if quota is not None and quota < allowed else []
    words = [
        cpu_model(),
        platform.machine(),
        f"{cores} cores",
        *limits,
        flags or "none of the known vector instructions",
    ]
    data = {"model": cpu_model(), "cores": cores, "allowed": allowed, "quota": quota, "instructions": flags}
    yield Finding("processor", State.FINE, ", ".join(words), data=data)


def memory(*, on_cpu: bool, cgroup: Path = _CGROUP) -> Iterator[Finding]:
    """The machine's memory, and what a container has of it.

    Args:
        on_cpu: whether engines run on the CPU, and have their weights and KV cache there.
        cgroup: where the container's limits stand.
    """
    found = psutil.virtual_memory()
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    free = int(found.available) if limit is None else min(int(found.available), max(0, limit - (used or 0)))
    text = f"{found.total / _GIB:.1f} GiB, {free / _GIB:.1f} GiB free"
    if limit is not None and limit < found.total:
        text += f"; the container's limit is {limit / _GIB:.1f} GiB"
    data = {"total_bytes": int(found.total), "free_bytes": free, "container_bytes": limit}
    if on_cpu and free < _NEEDED_BYTES:
        yield Finding("memory", State.WARNING, text, f"an engine needs some {_NEEDED_BYTES / _GIB:g} GiB: free memory, "
                      "or raise the container's limit", data)  # fmt: skip
    else:
        yield Finding("memory", State.FINE, text, data=data)


def container(env: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Iterator[Finding]:
    """Which kind of container this is, as far as it tells.

    Args:
        env: this process's variables.
        root: of the file system.
    """
    kinds = {
        "Kubernetes": bool(env.get("KUBERNETES_SERVICE_HOST")),
        "SLURM": bool(env.get("SLURM_JOB_ID")),
        "Docker": (root / ".dockerenv").exists(),
        "Podman": (root / "run/.containerenv").exists(),
    }
    named = [name for name, there in kinds.items() if there]
    yield Finding("container", State.FINE, ", ".join(named) or "none that is known", data={"kinds": named})


def temporary() -> Iterator[Finding]:
    """The folder of temporary files: whether it can be written, and its free space."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    state = State.FINE if free >= _NEEDED_FREE_DISK else State.WARNING
    remedy = "" if state is State.FINE else "logs, and what vLLM compiles, need more: set TMPDIR to another folder"
    yield Finding("temporary folder", state, f"{folder}, {free / _GIB:.0f} GiB free", remedy, {"free_bytes": free})


def hub(
    env: Mapping[str, str] = os.environ, *, ask: Callable[[str, float], str] | None, timeout: float = HUB_TIMEOUT_S
) -> Iterator[Finding]:
    """Whether models can be fetched: the variables that forbid it, else whether the hub answers.

    Args:
        env: this process's variables.
        ask: such as `answer`; None to ask nobody.
        timeout: seconds to wait.
    """
    cache = next(iter(hub_caches(env)))
    token = next((name for name in _TOKENS if env.get(name)), None)
    about = f"cache {cache}" + (f", {token}={MASK}" if token else ", no token set")
    remedy = "name models by path, or use built-in ones such as vllmperf:tiny, which need no network"
    data: dict[str, object] = {"cache": cache, "token": token is not None}
    offline = offline_variable(env)
    if offline is not None:
        text = f"{offline}={env[offline]} forbids downloads; {about}"
        yield Finding("model hub", State.ABSENT, text, remedy, {**data, "offline": offline, "reachable": None})
        return
    address = env.get("HF_ENDPOINT") or _HUB
    if ask is None:
        yield Finding("model hub", State.UNKNOWN, f"not asked; {about}", data={**data, "address": address})
        return
    failure = ask(address, timeout)
    data |= {"address": address, "reachable": not failure, "offline": None}
    if failure:
        yield Finding("model hub", State.ABSENT, f"{address} cannot be reached: {failure}; {about}", remedy, data)
    else:
        yield Finding("model hub", State.FINE, f"{address} answers; {about}", data=data)


def answer(address: str, timeout: float) -> str:
    """Why an address does not answer over HTTP; empty where it does, be it with an error.

    Asked in a thread: no time-out of a socket bounds the look-up of a name.

    Args:
        address: a URL.
        timeout: seconds to wait.
    """
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(_asked(address, timeout)), daemon=True)
    thread.start()
    thread.join(timeout)
    return said[0] if said else f"no answer within {timeout:g} s"


def _asked(address: str, timeout: float) -> str:
    if not address.startswith(("http://", "https://")):
        return "it is not an HTTP address"
    request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - checked above
    try:
        with urllib.request.urlopen(request, timeout=timeout):  # noqa: S310 - the same
            return ""
    except urllib.error.HTTPError:  # somebody answered
        return ""
    except Exception as error:
        # http.client, ssl and socket have exceptions of their own; whatever it is, there was no answer.
        return str(getattr(error, "reason", error)) or type(error).__name__


def _cpu_quota(cgroup: Path = _CGROUP) -> float | None:
    """How many cores the container may use; None without a limit. Of cgroup v2."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # no file, or `max` in it
        return None


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no file, or `max` in it
        return None

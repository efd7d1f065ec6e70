"""Names of files and folders."""

from __future__ import annotations

import re


def slug(name: str) -> str:
    """A folder name of lower-case letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.") or "unknown"

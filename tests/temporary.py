"""What runs leave in a folder for temporary files."""

from __future__ import annotations

from pathlib import Path


def left(folder: Path) -> list[Path]:
    """What is in a folder, but for torch's compiled code, which is to stay for the next run."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith("torchinductor_")]

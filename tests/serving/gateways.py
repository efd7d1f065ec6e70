"""The gateway seen from tests: one runs for as long as a block."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SCRIPT = Path(__file__).with_name("gateway.py")


@contextmanager
def gateway(*arguments: str) -> Iterator[str]:
    """The URL of a gateway in a process of its own, which ends with this block."""
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}/v1"
    finally:
        process.kill()
        process.communicate()

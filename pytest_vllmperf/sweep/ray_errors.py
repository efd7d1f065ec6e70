"""What Ray's errors mean, in a line. Pure."""

from __future__ import annotations

import re
from typing import Final

from pytest_vllmperf.errors import in_one_line

_MISSING: Final = re.compile(r"No module named '([\w.]+)'")
_PARTS: Final = re.compile(r"(Ray|Python): (\S+)")
_LONGEST: Final = 300


def in_words(error: BaseException) -> str:
    """One line about an error of Ray's, which has many with a traceback in them.

    Args:
        error: as Ray raises it.
    """
    text = str(error)
    if missing := _MISSING.search(text):
        package = missing[1].partition(".")[0].replace("pytest_vllmperf", "pytest-vllmperf")
        return f"a node of the Ray cluster has no package {package}; install the same packages on every node"
    if "Version mismatch" in text:
        found = [f"{name} {version}" for name, version in _PARTS.findall(text)]
        there, here = ", ".join(found[:2]), ", ".join(found[2:4])
        return f"the Ray cluster runs {there}, and this command {here}; both must be the same"
    if "Could not find any running Ray instance" in text:
        return "none runs on this machine; start one with ray start --head, or leave the address out for a local one"
    if (cause := getattr(error, "cause", None)) is not None:
        text = in_one_line(cause)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    words = lines[0] if lines else type(error).__name__
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"

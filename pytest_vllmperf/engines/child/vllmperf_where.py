"""Tells where this interpreter finds a library, without importing it: `python vllmperf_where.py LIBRARY`.

Run as a script, like the server process, so that both search the same folders. Prints the package's folders and its
version as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def folders(library: str) -> list[str]:
    """The folders of a package; none where there is no such package."""
    found = importlib.util.find_spec(library)
    return list(found.submodule_search_locations or ()) if found is not None else []


def version(library: str, found: list[str]) -> str:
    """What the package's own file says, else the first metadata folder of its distribution; empty where neither is."""
    for folder in found:
        try:
            with open(os.path.join(folder, "_version.py"), encoding="utf-8") as file:
                told = re.search(r"^__version__\b.*?=\s*['\"]([^'\"]+)['\"]", file.read(), re.MULTILINE)
        except (OSError, ValueError):
            continue
        if told is not None:
            return told[1]
    for folder in sys.path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            match = re.fullmatch(rf"{re.escape(library)}(?:_cpu)?-([^-]+)\.(?:dist|egg)-info", name)
            if match is not None:
                return match[1]
    return ""


if __name__ == "__main__":
    sys.path[:] = [*(entry for entry in sys.path if entry != HERE), HERE]
    places = folders(sys.argv[1])
    print(json.dumps({"folders": places, "version": version(sys.argv[1], places)}))

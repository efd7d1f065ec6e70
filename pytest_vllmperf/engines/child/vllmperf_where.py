"""Tells where this interpreter finds a library, without importing it: `python vllmperf_where.py LIBRARY`.

Run as a script, like the server process, so that both search the same folders. Prints the package's folders as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def folders(library: str) -> list[str]:
    """The folders of a package; none where there is no such package."""
    found = importlib.util.find_spec(library)
    return list(found.submodule_search_locations or ()) if found is not None else []


if __name__ == "__main__":
    sys.path[:] = [*(entry for entry in sys.path if entry != HERE), HERE]
    print(json.dumps(folders(sys.argv[1])))

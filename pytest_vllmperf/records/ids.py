"""Names of tests and checks, as they stand in node ids and baseline files."""

from __future__ import annotations

CHECK_SEPARATOR = " # "
"""Between a test's name and the name of one of its checks, in a baseline file."""


def module_of(nodeid: str) -> str:
    """The test module's path in a node id."""
    return nodeid.split("::", 1)[0]


def split_name(name: str) -> tuple[str, str]:
    """The test's name, and the check's own name behind it, empty where it has none.

    What stands in a parameter's brackets belongs to the test, whatever it looks like.
    """
    own = name.rpartition("]")[2].partition(CHECK_SEPARATOR)[2]
    return (name.removesuffix(CHECK_SEPARATOR + own), own) if own else (name, "")

"""Ids of tests and checks, as they stand in node ids and baseline files. Parsed here, and nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

CHECK_SEPARATOR = " # "
"""Between a test's name and the name of one of its checks, in a baseline file."""

_NODE_SEPARATOR = "::"

_ESCAPED = re.compile(r"\\u(d[89a-f][0-9a-f]{2})")


def writable(text: str) -> str:
    """A text that can be stored: unpaired surrogates, as of file names that are not UTF-8, become escapes.

    pytest writes them in the same way in the names of parameters. Doing it twice changes nothing more.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def module_stem(module: str) -> str:
    """A module's path without its suffix, as it names the module's baseline file; empty for no module."""
    path = PurePath(module)
    return path.with_suffix("").as_posix() if path.name else ""


def raw(text: str) -> str:
    """The text that `writable` was given: the name of a file, say."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text)


@dataclass(frozen=True, order=True)
class TestId:
    """A test: its module and its name.

    Attributes:
        module: the module's path, as pytest writes it, from the root directory.
        name: the rest of the node id: class, function and parameters; empty for a file that is a test by itself.
    """

    __test__ = False

    module: str
    name: str

    @classmethod
    def parse(cls, nodeid: str) -> TestId:
        """Read a node id. Parameters may hold anything, `::` too: the first one ends the module's path."""
        module, _, name = writable(nodeid).partition(_NODE_SEPARATOR)
        return cls(module, name)

    def __str__(self) -> str:
        """The node id."""
        return f"{self.module}{_NODE_SEPARATOR}{self.name}" if self.name else self.module


@dataclass(frozen=True, order=True)
class CheckId:
    """A check of a test.

    Attributes:
        test: the test.
        own: the check's own name; empty where it has none.
    """

    test: TestId
    own: str = ""

    @classmethod
    def parse(cls, module: str, name: str) -> CheckId:
        """Read a name in the baseline file of a module.

        What stands in the brackets of the parameters belongs to the test, whatever it looks like.
        """
        own = name.rpartition("]")[2].partition(CHECK_SEPARATOR)[2]
        return cls(TestId(module, name.removesuffix(CHECK_SEPARATOR + own) if own else name), own)

    @property
    def name(self) -> str:
        """The check's name in the baseline file."""
        test = self.test.name or self.test.module
        return f"{test}{CHECK_SEPARATOR}{writable(self.own)}" if self.own else test

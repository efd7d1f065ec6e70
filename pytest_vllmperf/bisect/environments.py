"""Interpreters of versions: made by a command of the user, or found by a path."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from packaging.version import InvalidVersion, Version

from pytest_vllmperf.bisect import commands
from pytest_vllmperf.engines.interpreter import Interpreter, look_anew
from pytest_vllmperf.errors import BisectError, SpecError, UnpreparedError
from pytest_vllmperf.records.bisect import Point
from pytest_vllmperf.records.spec import interpreter

VERSION: Final = "{version}"
"""What stands for a version in a command or a path."""


class Source(Protocol):
    """Makes the environment of a version."""

    def reference(self, point: Point) -> Interpreter:
        """The interpreter of a version that others are judged by. It stays until another reference is asked for.

        Raises:
            UnpreparedError: when it cannot be made, or has no vLLM, or another version's.
            BisectError: when nothing can be made any more.
        """

    def version(self, point: Point) -> Interpreter:
        """The interpreter of a version that is judged. It stays until another one is asked for.

        Raises:
            UnpreparedError: as for `reference`.
            BisectError: as for `reference`.
        """


@dataclass(frozen=True)
class Releases:
    """Environments of releases.

    Attributes:
        command: for the shell, with `{version}`; the last line of its output is the path of the interpreter. Empty
            where there is none.
        path: of the interpreter, with `{version}`; empty where the command tells it.
        log: a file that all the command writes is added to.
    """

    command: str
    path: str
    log: Path
    _told: dict[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.command and not self.path:
            raise BisectError("name the interpreter of a version with --python-for COMMAND or --python PATH")
        if self.command and VERSION not in self.command and not self.path:
            raise BisectError(
                f"--python-for {self.command!r} has no {VERSION} in it, so that all versions would be the same"
            )
        if self.path and VERSION not in self.path:
            raise BisectError(f"--python {self.path!r} has no {VERSION} in it, so that all versions would be the same")

    def reference(self, point: Point) -> Interpreter:
        """See `Source`."""
        return self.version(point)

    def version(self, point: Point) -> Interpreter:
        """See `Source`."""
        path = self.path.replace(VERSION, point.id)
        if self.command:
            if point.id not in self._told:  # an environment takes minutes, and the last comparison asks for two again
                self._told[point.id] = self._made(point)
            path = path or self._told[point.id]
        found = found_at(path)
        if not _is(found.version, point.id):
            raise UnpreparedError(f"{found.python} has vLLM {found.version or 'of an unknown version'}, not {point.id}")
        return found

    def _made(self, point: Point) -> str:
        """Run the command; the last line that it prints."""
        ended = commands.run(self.command.replace(VERSION, point.id), self.log)
        if ended.code:
            raise UnpreparedError(f"--python-for ended with {ended.code}: {ended.last_lines}")
        lines = [line.strip() for line in ended.output.splitlines() if line.strip()]
        if not lines and not self.path:
            raise UnpreparedError("--python-for printed nothing; its last line has to be the path of an interpreter")
        return lines[-1] if lines else ""


def found_at(path: str) -> Interpreter:
    """The interpreter at a path, with its vLLM.

    Raises:
        UnpreparedError: when it is none, or has no vLLM.
    """
    try:
        return look_anew("", interpreter("", path))
    except SpecError as error:
        raise UnpreparedError(str(error)) from None


def _is(found: str, wanted: str) -> bool:
    """Whether an installed version is the wanted one; a local part, such as `+cu129`, counts only where it is asked."""
    try:
        installed, asked = Version(found), Version(wanted)
    except InvalidVersion:
        return False
    return installed == asked if asked.local else Version(installed.public) == asked

"""What the summary calls a test or check: never two of them alike, however long their names are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.report.escaping import terminal_line

WIDTH = 80
"""Columns that a summary needs at least."""

_CUT = "..."
_LINE_ROOM = 4
"""Columns that a line of the summary keeps for what stands around a name: an indent and a colon."""


class Names:
    """The names of all checks of one summary.

    A name is the one in the baseline file. Where two modules have the same one, as much of the module's path stands
    in front as tells them apart.

    Args:
        checks: all that the summary names; a comparison is named like its test.
        width: columns of the terminal.
    """

    def __init__(self, checks: Iterable[CheckId], width: int = WIDTH) -> None:
        self.width = max(width, WIDTH)
        self._full = {check: terminal_line(name) for check, name in _unambiguous(sorted(set(checks))).items()}
        self._in_line = self.within(self.width - _LINE_ROOM)

    def within(self, width: int) -> Mapping[CheckId, str]:
        """All names in so many columns, no two of them equal."""
        shown = distinct(list(self._full.values()), width)
        return {check: shown[name] for check, name in self._full.items()}

    def whole(self, check: CheckId) -> str:
        """A check's name, however long."""
        return self._full[check]

    def __getitem__(self, check: CheckId) -> str:
        """A check's name in a line of the summary."""
        return self._in_line[check]


def _unambiguous(checks: Sequence[CheckId]) -> dict[CheckId, str]:
    """Names with what is needed of their modules; the whole node id wherever that is not enough."""
    modules: dict[str, list[str]] = {}
    for check in checks:
        modules.setdefault(check.name, []).append(check.test.module)
    names = {check: _with_module(check, modules[check.name]) for check in checks}
    if len(set(names.values())) == len(names):
        return names
    return {check: str(TestId(check.test.module, check.name)) for check in checks}


def _with_module(check: CheckId, modules: Sequence[str]) -> str:
    """A check's name behind as many of the last parts of its module's path as no other of `modules` ends with."""
    if len(modules) == 1:
        return check.name
    own = _parts(check.test.module)
    others = [_parts(module) for module in modules if module != check.test.module]
    number = next((n for n in range(1, len(own)) if all(own[-n:] != other[-n:] for other in others)), len(own))
    return str(TestId("/".join(own[-number:]), check.name))


def _parts(module: str) -> tuple[str, ...]:
    return PurePosixPath(module).with_suffix("").parts


def distinct(names: Sequence[str], width: int) -> dict[str, str]:
    """Different names in at most so many characters each, and still different.

    A long name loses its middle. Names that this would make equal keep the place where they differ; a number tells
    apart what not even that does.

    Args:
        names: all different.
        width: at least 12.
    """
    shown: dict[str, str] = {}
    for alike in _grouped({name: shorten(name, width) for name in names}):
        shown |= _apart(alike, width) if len(alike) > 1 else {alike[0]: shorten(alike[0], width)}
    return _numbered(shown, width)


def shorten(name: str, width: int) -> str:
    """A name of at most so many characters, without its middle: beginning and end say most."""
    if len(name) <= width:
        return name
    kept = width - len(_CUT)
    return f"{name[: kept // 2]}{_CUT}{name[-(kept - kept // 2) :]}"


def _grouped(shown: Mapping[str, str]) -> list[list[str]]:
    """Names that are shown alike, together."""
    groups: dict[str, list[str]] = {}
    for name, text in shown.items():
        groups.setdefault(text, []).append(name)
    return list(groups.values())


def _apart(names: Sequence[str], width: int) -> dict[str, str]:
    """Names that begin and end alike, each with the place where it first differs from the others."""
    columns = enumerate(zip(*names, strict=False))
    start = next((at for at, signs in columns if len(set(signs)) > 1), min(map(len, names)))
    shown = {name: _window(name, start, width) for name in names}
    for alike in _grouped(shown):
        if 1 < len(alike) < len(names):
            shown |= _apart(alike, width)
    return shown


def _window(name: str, start: int, width: int) -> str:
    """A name's beginning, what stands at `start`, and its end."""
    side = (width - 2 * len(_CUT)) // 3
    middle = width - 2 * len(_CUT) - 2 * side
    if start + middle >= len(name) - side - len(_CUT):
        return f"{name[:side]}{_CUT}{name[-(width - side - len(_CUT)) :]}"
    return f"{name[:side]}{_CUT}{name[start : start + middle]}{_CUT}{name[-side:]}"


def _numbered(shown: Mapping[str, str], width: int) -> dict[str, str]:
    """The same, with a number at the end of what is still shown alike; names that were not cut stay as they are."""
    counts = Counter(shown.values())
    taken = {text for name, text in shown.items() if counts[text] == 1 or name == text}
    found = {}
    for name, text in shown.items():
        if text not in taken or counts[text] == 1 or name == text:
            found[name] = text
            taken.add(text)
            continue
        number = 1
        while (marked := text[: width - len(f"~{number}")] + f"~{number}") in taken:
            number += 1
        found[name] = marked
        taken.add(marked)
    return found

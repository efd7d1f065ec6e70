"""The releases between a good one and a bad one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from packaging.version import InvalidVersion, Version

from pytest_vllmperf.bisect import commands
from pytest_vllmperf.errors import BisectError
from pytest_vllmperf.records.bisect import Point


def between(good: str, bad: str, known: Iterable[str], *, every: bool) -> tuple[Point, ...]:
    """The releases from the good one to the bad one, in their order.

    Args:
        good: the good end.
        bad: the bad end, a later release.
        known: releases in any order, repeated or not; those before `good` and after `bad` are left out.
        every: whether pre-releases and development releases between the ends count; where not, only the ends may be
            such.

    Raises:
        BisectError: for what is no version, and for ends that are equal or in the wrong order.
    """
    first, last = _version("--good", good), _version("--bad", bad)
    if first == last:
        raise BisectError(f"--good and --bad are the same version, {good}")
    if first > last:
        raise BisectError(f"--good {good} is later than --bad {bad}; bisect looks for what has become worse")
    inner = {_version("the list of versions", one) for one in known}
    chosen = sorted(one for one in inner if first < one < last and (every or not one.is_prerelease))
    return tuple(Point(id=str(one)) for one in (first, *chosen, last))


def listed(command: str, log: Path) -> Sequence[str]:
    """The versions that a command prints: as `pip index versions --json` does, or separated by commas, blanks or lines.

    Args:
        command: for the shell.
        log: a file that all it writes is added to.

    Raises:
        BisectError: when it fails, or prints no version.
    """
    ended = commands.run(command, log)
    if ended.code:
        raise BisectError(f"--versions-from {command!r} ended with {ended.code}: {ended.last_lines}")
    try:
        told = json.loads(ended.output)
    except ValueError:
        told = re.split(r"[\s,]+", ended.output)
    found = told.get("versions") if isinstance(told, dict) else told
    names = [one for one in found if isinstance(one, str) and one] if isinstance(found, list) else []
    if not names:
        raise BisectError(f"--versions-from {command!r} printed no versions")
    return names


def _version(where: str, text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:
        raise BisectError(f"{where}: {text!r} is not a version, such as 0.31.0") from None

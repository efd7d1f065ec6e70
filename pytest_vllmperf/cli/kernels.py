"""`vllmperf kernels`: what the GPU spent an iteration on, by kernel, of one baseline file or of two."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_vllmperf.cli import judging
from pytest_vllmperf.errors import BaselineError, SpecError, did_you_mean
from pytest_vllmperf.lab.environment import profile_of
from pytest_vllmperf.metrics.kernel_sums import kernel_sums, no_device_pass
from pytest_vllmperf.metrics.table import AllMetrics
from pytest_vllmperf.records.attribution import Attribution, KernelChange
from pytest_vllmperf.records.samples import Entry, Session
from pytest_vllmperf.report import kernels as report
from pytest_vllmperf.report import units
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.verdict.attribution import attribute, stored_interval
from pytest_vllmperf.verdict.settings import VerdictSettings


def kernels(a: Path, b: Path | None, test: str | None, top: int, *, as_json: bool, width: int = WIDTH) -> str:
    """The kernels of the newest session of each check: of one file, or of two beside each other.

    Args:
        a: a baseline file.
        b: another one, of any hardware, that is compared with it by the names of kernels; None for `a` alone.
        test: only this check; None for all.
        top: so many kernels have a row of their own.
        as_json: print JSON with all stored kernels.
        width: columns of a line.

    Raises:
        BaselineError: for a file that is not there or cannot be read, without such a check, or without a device pass.
        SpecError: for a number of rows below 1.
    """
    if top < 1:
        raise SpecError(f"--top is {top}; it must be at least 1")
    files = [path for path in (a, b) if path is not None]
    tests = [judging.read(path).tests for path in files]
    names = _names(files, tests, test)
    shown: dict[str, Any] = {}
    lines: list[str] = []
    without: list[str] = []
    for name in names:
        entries = [found[name] for found in tests]
        if reason := _no_kernels(files, name, entries):
            without.append(reason)
        elif as_json:
            shown[name] = _data(entries)
        else:
            lines += [name, *(f"  {line}" for line in _lines(entries, top, width - 2))]
    if not shown and not lines:
        raise BaselineError(without[0])
    if as_json:
        return json.dumps(shown, indent=1)
    only = dict.fromkeys(name for found in tests for name in found if name not in names and test is None)
    lines += [part for reason in without for part in folded(f"left out: {reason}", width)]
    return "\n".join([*lines, *(f"{name}: only in one of the files" for name in only)])


def _names(files: Sequence[Path], tests: Sequence[Mapping[str, Entry]], test: str | None) -> list[str]:
    """The checks that all files have, or the one that was asked for."""
    if test is not None:
        for path, found in zip(files, tests, strict=True):
            if test not in found:
                raise BaselineError(f"{path} has no check {test!r}{did_you_mean(test, found) or _there_is(found)}")
        return [test]
    names = [name for name in tests[0] if all(name in found for found in tests)]
    if not names and len(files) > 1:
        raise BaselineError(f"{files[0]} and {files[1]} have no check in common")
    if not names:
        raise BaselineError(f"{files[0]}: holds no check")
    return names


def _there_is(found: Mapping[str, Entry]) -> str:
    return f"; it has {', '.join(sorted(found)) or 'none'}"


def _no_kernels(files: Sequence[Path], name: str, entries: Sequence[Entry]) -> str:
    """Why a check has no table of kernels in one of the files; empty where it has."""
    for path, entry in zip(files, entries, strict=True):
        engines = _newest(entry).engines
        if not any(engine.kernels for engine in engines):
            why = no_device_pass(engines)
            return f"{path}: {name} has no device pass{f': {why}' if why else ''}"
    return ""


def _newest(entry: Entry) -> Session:
    return entry.sessions[-1]


def _lines(entries: Sequence[Entry], top: int, width: int) -> list[str]:
    if len(entries) == 1:
        session = _newest(entries[0])
        sums = kernel_sums(session.engines)
        head = f"{_hardware(session)}, session of {session.recorded[:10]}, mean of {units.many(sums.engines, 'engine')}"
        table = report.table_lines(sums, top=top, width=width)
        return [*folded(head, width), *table]
    before, after = (_newest(entry) for entry in entries)
    sides = [f"{_hardware(one)}, session of {one.recorded[:10]}" for one in (before, after)]
    lines = report.comparison_lines(_compared(entries), (sides[0], sides[1]), top=top, width=width)
    if _hardware(before) != _hardware(after):
        lines += folded(f"the hardware differs: {_hardware(before)} -> {_hardware(after)}", width)
    return lines


def _hardware(session: Session) -> str:
    hard = session.environment.hard
    return hard.get("gpu") or profile_of(hard)


def _compared(entries: Sequence[Entry]) -> Attribution:
    """Both sides; an interval would say nothing where they ran on two kinds of hardware."""
    before, after = (_newest(entry) for entry in entries)
    if _hardware(before) != _hardware(after):
        return attribute(before.engines, after.engines)
    rule = VerdictSettings((AllMetrics.gpu_time.name,)).rule(AllMetrics.gpu_time)
    return attribute(before.engines, after.engines, stored_interval([before], after.engines, rule))


def _data(entries: Sequence[Entry]) -> dict[str, Any]:
    """All that is stored of one side, or of both, in seconds."""
    if len(entries) == 1:
        sums = kernel_sums(_newest(entries[0]).engines)
        return {"kernels": [one._asdict() for one in sums.named.values()], "others": sums.rest._asdict()}
    return as_data(_compared(entries))


def as_data(found: Attribution) -> dict[str, Any]:
    """Both sides for a program, all kernels that are stored, in seconds."""
    return {
        "gpu_time": None if found.gpu_time is None else asdict(found.gpu_time),
        "interval": None if found.interval is None else asdict(found.interval),
        "kernels": [_both(one) for one in found.kernels],
        "not_among_the_largest_of_both": [_both(one) for one in found.unsure],
        "others": None if found.others is None else _both(found.others),
        "levels": {name: asdict(change) for name, change in found.levels.items()},
    }


def _both(one: KernelChange) -> dict[str, Any]:
    return {"name": one.name, "seen": one.seen.value, "times": asdict(one.times), "seconds": asdict(one.seconds)}

"""`vllmperf baseline merge`: sessions that were recorded on several machines or branches, brought into one file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_vllmperf import stats
from pytest_vllmperf.cli import judging
from pytest_vllmperf.errors import BaselineError, SpecError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import Entry, Session
from pytest_vllmperf.report import units
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.stats import ANCHOR_SESSIONS
from pytest_vllmperf.storage.baselines import BaselineStore, Changes, change, load
from pytest_vllmperf.storage.merging import MergedEntry, NotAlikeError, merge_entries
from pytest_vllmperf.verdict import VerdictSettings
from pytest_vllmperf.verdict.samples import metric_samples

MERGED, DIFFERENT_LEVELS = 0, 1


@dataclass(frozen=True)
class Level:
    """A gated metric of one check, before and after.

    Attributes:
        metric: its name.
        files: its level in each file that has the check, by the file's place among all.
        before: what the first of these files judges by: the level of its first sessions.
        after: the same of the merged sessions.
        apart: whether two files differ by more than the margin, or in any way for an exact metric.
        margin: tolerated change.
    """

    metric: str
    files: Mapping[int, float]
    before: float
    after: float
    apart: bool
    margin: float

    @property
    def looser(self) -> float:
        """By which share the level moved for the worse; 0 where it did not."""
        if not self.before or not self.after:
            return 0.0
        ratio = self.after / self.before
        return max(0.0, METRICS[self.metric].better.sign * (ratio - 1))


@dataclass(frozen=True)
class MergedCheck:
    """One check.

    Attributes:
        name: in the file.
        sources: places of the files that have it.
        counts: sessions in each of these.
        merged: what it comes to.
        levels: of its gated metrics.
    """

    name: str
    sources: tuple[int, ...]
    counts: tuple[int, ...]
    merged: MergedEntry
    levels: tuple[Level, ...] = ()


@dataclass(frozen=True)
class MergedFile:
    """One file that is to be written.

    Attributes:
        inputs: the files that are merged.
        output: where to.
        checks: all of them.
        before: what the output holds now.
    """

    inputs: tuple[Path, ...]
    output: Path
    checks: tuple[MergedCheck, ...]
    before: Mapping[str, Entry] = field(default_factory=dict)

    def write(self) -> None:
        """Write it.

        Raises:
            BaselineError: when it cannot be, or another program has changed it meanwhile. It is then what it was.
        """
        entries = {check.name: check.merged.entry for check in self.checks}
        expected: dict[str, Entry | None] = {name: self.before.get(name) for name in entries}
        change(self.output, Changes(entries=entries, expected=expected))

    @property
    def apart(self) -> bool:
        """Whether files differ in the level of a gated metric."""
        return any(level.apart for check in self.checks for level in check.levels)


def plan(inputs: Sequence[Path], output: Path) -> list[MergedFile]:
    """What a merge comes to; nothing is written.

    Args:
        inputs: two or more files, or two or more folders of baselines, whose files are merged by their paths.
        output: a file, or a folder of baselines; it may be one of the inputs.

    Raises:
        SpecError: for files and folders mixed, or an output that exists and is none of the inputs.
        BaselineError: for a file that cannot be read, or checks that cannot be compared, with the difference.
    """
    if len(inputs) < 2:
        raise SpecError("name two or more files, or two or more folders")
    folders = {path.is_dir() for path in inputs}
    if len(folders) > 1:
        raise SpecError("some of the inputs are files and others folders; name files only, or folders only")
    if folders == {False}:
        if output.is_dir():
            raise SpecError(f"--output: {output} is a folder, but the inputs are files; name a file")
        return [_file(tuple(inputs), output)]
    places = dict.fromkeys(place for folder in inputs for place in BaselineStore(folder).modules())
    if not places:
        raise BaselineError(f"no baselines below {', '.join(map(str, inputs))}")
    return [
        _file(
            tuple(path for folder in inputs if os.path.lexists(path := _path(folder, place))),
            _path(output, place),
            among=inputs,
        )
        for place in sorted(places)
    ]


def _path(folder: Path, place: tuple[str, str]) -> Path:
    return BaselineStore(folder).path(place[0], f"{place[1]}.py")


def _file(inputs: tuple[Path, ...], output: Path, among: Sequence[Path] = ()) -> MergedFile:
    """One file of the merge."""
    owned = [path for path in inputs if _same(path, output)]
    if os.path.lexists(output) and not owned:
        advice = "name it among the inputs too, or name another output" if not among else "name its folder as an input"
        raise SpecError(f"--output: {output} exists and would be overwritten; {advice}")
    files = [judging.read(path).tests for path in inputs]
    names = dict.fromkeys(name for tests in files for name in tests)
    checks = tuple(_check(inputs, files, name) for name in sorted(names))
    return MergedFile(inputs, output, checks, load(output).tests if owned else {})


def _same(path: Path, other: Path) -> bool:
    return os.path.realpath(path) == os.path.realpath(other)


def _check(inputs: Sequence[Path], files: Sequence[Mapping[str, Entry]], name: str) -> MergedCheck:
    sources = tuple(place for place, tests in enumerate(files) if name in tests)
    entries = [files[place][name] for place in sources]
    try:
        merged = merge_entries(entries)
    except NotAlikeError as error:
        raise BaselineError(
            f"{name}: cannot be merged: {error}, in {', '.join(str(inputs[place]) for place in sources)}; nothing was "
            f"written"
        ) from None
    levels = tuple(_levels(sources, entries, merged.entry)) if len(sources) > 1 else ()
    return MergedCheck(name, sources, tuple(len(entry.sessions) for entry in entries), merged, levels)


def _levels(sources: Sequence[int], entries: Sequence[Entry], merged: Entry) -> list[Level]:
    """The gated metrics that every file has."""
    gate = tuple(dict.fromkeys(name for entry in entries for name in entry.judging.gate))
    found = []
    for name in gate:
        own = [_values(name, entry.sessions) for entry in entries]
        if not all(own):
            continue
        margin = min(
            VerdictSettings(gate, one.judging.margin, one.judging.margins).margin_of(METRICS[name]) for one in entries
        )
        levels = [_level_of(name, engines) for engines in own]
        found.append(
            Level(
                metric=name,
                files=dict(zip(sources, levels, strict=True)),
                before=_anchored(name, entries[0].sessions),
                after=_anchored(name, merged.sessions),
                apart=max(levels) - min(levels) > margin * min(map(abs, levels)),
                margin=margin,
            )
        )
    return found


def _level_of(metric: str, engines: Sequence[Sequence[float]]) -> float:
    """The level of a metric; of an exact one the worst value that was seen, as that is what still passes."""
    declared = METRICS[metric]
    if not declared.exact:
        return stats.center(engines)
    return max((value for engine in engines for value in engine), key=lambda value: value * declared.better.sign)


def _values(metric: str, sessions: Sequence[Session]) -> Sequence[Sequence[float]]:
    return metric_samples(METRICS[metric], sessions, ()).stored_engines


def _anchored(metric: str, sessions: Sequence[Session]) -> float:
    """What later sessions are judged by: the level of the first that measured the metric; all for an exact one."""
    if METRICS[metric].exact:
        return _level_of(metric, _values(metric, sessions))
    measured = [session for session in sessions if _values(metric, [session])]
    return stats.center(_values(metric, measured[:ANCHOR_SESSIONS]))


def lines(files: Sequence[MergedFile]) -> list[str]:
    """What a merge comes to, for a person."""
    found: list[str] = []
    for file in files:
        found.append(str(file.output))
        for check in file.checks:
            found += [f"  {line}" for line in folded(_counts(file, check), 78)]
            for level in check.levels:
                if level.apart or level.looser or level.before != level.after:
                    found += [f"    {line}" for line in folded(_level(file, level), 76)]
    return found


def _counts(file: MergedFile, check: MergedCheck) -> str:
    parts = ", ".join(
        f"{count} of {file.inputs[place]}" for place, count in zip(check.sources, check.counts, strict=True)
    )
    merged = check.merged
    told = f"{check.name}: {len(merged.entry.sessions)} sessions ({parts}"
    told += f"; {merged.repeated} in more than one file" if merged.repeated else ""
    told += (
        f"; {merged.left_out} between the first {ANCHOR_SESSIONS} and the newest left out" if merged.left_out else ""
    )
    if len(check.sources) > 1:
        first = zip(check.sources, merged.anchors, strict=True)
        told += f"; level from {', '.join(f'{count} of {file.inputs[place]}' for place, count in first)}"
    return told + ")"


def _level(file: MergedFile, level: Level) -> str:
    label = METRICS[level.metric].label
    told = f"{label}: level {units.pair(level.metric, level.before, level.after)}"
    if level.before and level.before != level.after:
        told += f" ({units.percent(level.after / level.before - 1)})"
    if level.looser:
        told += f": a slowdown of {units.percent(level.looser).lstrip('+')} more than before now passes"
    if level.apart:
        each = ", ".join(f"{units.value(level.metric, one)} in {file.inputs[at]}" for at, one in level.files.items())
        told += f". The files differ by more than the margin of {units.margin(level.margin)}: {each}"
    return told


def as_json(files: Sequence[MergedFile], *, written: bool) -> str:
    """What a merge comes to, for a program."""
    return json.dumps({"written": written, "files": [_data(file) for file in files]}, indent=1)


def _data(file: MergedFile) -> dict[str, Any]:
    return {
        "output": str(file.output),
        "inputs": [str(path) for path in file.inputs],
        "checks": {
            check.name: {
                "sessions": len(check.merged.entry.sessions),
                "repeated": check.merged.repeated,
                "left_out": check.merged.left_out,
                "levels": {
                    level.metric: {
                        "before": level.before,
                        "after": level.after,
                        "files": {str(file.inputs[place]): value for place, value in level.files.items()},
                        "apart": level.apart,
                    }
                    for level in check.levels
                },
            }
            for check in file.checks
        },
    }

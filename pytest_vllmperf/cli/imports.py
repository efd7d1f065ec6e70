"""`vllmperf import` and `vllmperf export`: reports of other benchmarks as baseline files, and the way back."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vllmperf.cli import judging
from pytest_vllmperf.errors import ReportError, SpecError, did_you_mean
from pytest_vllmperf.interchange import entries, export, formats
from pytest_vllmperf.metrics.table import resolve_gate
from pytest_vllmperf.records import ids
from pytest_vllmperf.records.parsing import choice, words
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.records.settings import DEFAULTS
from pytest_vllmperf.report import units
from pytest_vllmperf.storage import regular
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from pytest_vllmperf.storage.names import slug
from pytest_vllmperf.verdict.comparability import differences
from pytest_vllmperf.verdict.words import gate_words, margins

LIMIT: Final = 256 * regular.MIB
"""The largest report that is read, in bytes."""
_DEVICE: Final = "cuda"
"""Whose meaning of `auto` counts: on an unknown device, the clock is all that a report has."""


@dataclass(frozen=True)
class Asked:
    """What the command line says of an import.

    Attributes:
        name: of the check.
        format: the name of a format, or `auto`.
        append: whether the session is added to a file that is there.
        gate: words, as for `--vllmperf-gate`; None for the clock.
        margin: as for `--vllmperf-margin`; None for the default.
        allow: words of `entries.ALLOWED`, as the user wrote them.
        profile: the name of the hardware; empty where nobody said.
        model: its name, in place of the reports' own.
    """

    name: str
    format: str = formats.AUTO
    append: bool = False
    gate: str | None = None
    margin: str | None = None
    allow: Sequence[str] = ()
    profile: str = ""
    model: str = ""


def take(files: Sequence[Path], output: Path, asked: Asked) -> str:
    """Write the runs of one benchmark as one session of one check.

    Args:
        files: each holds a run, or several that were appended; or the folder of one.
        output: the baseline file.
        asked: what the command line says.

    Returns:
        What was done, in words.

    Raises:
        ReportError: for reports that cannot be taken.
        SpecError: for an option that is not valid.
        BaselineError: when the file cannot be read or written. It is then what it was before.
    """
    wanted = _wanted(asked)
    form = choice(formats.AUTO, *formats.FORMATS)("--format", asked.format)
    name = ids.writable(asked.name.strip())
    if not name:
        raise SpecError("--name: give the check a name")
    _check_output(output, append=asked.append)
    runs = [run for file in files for run in _read(file, form)]
    new = entries.entry(runs, wanted)
    _write(output, name, new, append=asked.append)
    gated = ", ".join(new.judging.gate)
    return (
        f"{output}: {name}: {len(runs)} {'run' if len(runs) == 1 else 'runs'} of {runs[0].report.tool}; "
        f"gated: {gated}, within {units.margin(new.judging.margin)}"
    )


def results(file: Path, name: str | None, form: str) -> str:
    """The checks of a baseline file as results of another tool, an object a line.

    Args:
        file: the baseline file.
        name: of one check; None for all of them.
        form: `vllm`, the one format that is written.

    Raises:
        BaselineError: for a file that cannot be read.
        SpecError: for a check that is not in it, or a format that is not written.
    """
    choice("vllm")("--format", form)
    tests = judging.read(file).tests
    if name is not None and name not in tests:
        raise SpecError(f"{file} has no check {name!r}{did_you_mean(name, tests)}")
    chosen = tests if name is None else {name: tests[name]}
    if not chosen:
        raise ReportError(f"{file} holds no check")
    return export.lines([one for each, entry in chosen.items() for one in export.vllm_results(each, entry)])


def _wanted(asked: Asked) -> entries.Wanted:
    general, by_metric = (None, {}) if asked.margin is None else margins("--margin", asked.margin)
    allow = [word for one in asked.allow for word in words("--allow", one, "words")]
    for word in allow:
        choice(*entries.ALLOWED)("--allow", word)
    default = DEFAULTS.margin
    assert default is not None
    return entries.Wanted(
        gate=None if asked.gate is None else resolve_gate(gate_words("--gate", asked.gate), _DEVICE),
        margin=default if general is None else general,
        margins=by_metric,
        allow=frozenset(allow),
        profile=slug(asked.profile) if asked.profile else "",
        model=asked.model,
    )


def _check_output(output: Path, *, append: bool) -> None:
    if output.suffix != ".json":
        raise SpecError(f"--output: {output} is not a baseline file; its name must end in .json")
    if not append and os.path.lexists(output):
        raise SpecError(f"--output: {output} exists; add to it with --append, or choose another file")


def _read(file: Path, form: str) -> list[entries.Named]:
    found = formats.parts(sorted(one.name for one in file.iterdir())) if file.is_dir() else []
    if file.is_dir() and not found:
        known = ", ".join(name for one in formats.FORMATS.values() for name in one.files)
        raise ReportError(
            f"{file}: the folder holds no report with a known file name ({known}); pass the files instead"
        )
    try:
        contents = [regular.read(one, LIMIT) for one in ([file / name for name in found] or [file])]
        reports = formats.read(contents, form)
    except regular.TooLargeError as error:
        raise ReportError(f"{file}: {error.strerror}; leave the requests out of the report") from None
    except ReportError as error:
        raise ReportError(f"{file}: {error}") from None
    several = len(reports) > 1
    return [
        entries.Named(f"{file}, run {at}" if several else str(file), report) for at, report in enumerate(reports, 1)
    ]


def _write(output: Path, name: str, new: Entry, *, append: bool) -> None:
    place = Path(os.path.abspath(output))  # noqa: PTH100 - links stay
    stored = judging.read(output).tests.get(name) if append and os.path.lexists(output) else None
    if stored is not None:
        told = differences(stored.sessions[-1].environment.hard, new.sessions[-1].environment.hard)
        if told:
            raise ReportError(f"{output}: {name} cannot be appended to: {'; '.join(told)}; use another --name")
        if entries.repeated(stored, new):
            raise ReportError(f"{output}: {name} already holds one of these runs; each run can be appended only once")
    changes = Changes(entries={name: new}) if stored is None else Changes(appended={name: new})
    written = BaselineStore(place.parent.parent).write(place.parent.name, place.name, changes)
    if written.refused:
        raise ReportError(f"{output}: {name}: not appended: another run has {written.refused[name]} it")

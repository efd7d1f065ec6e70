"""`vllmperf export`: a baseline file in vllm bench serve's fields, or the file of a run in the form of another tool."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pytest_vllmperf.cli import imports
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.interchange.runs.formats import RUN_FORMATS
from pytest_vllmperf.interchange.runs.points import DEFAULT, choose
from pytest_vllmperf.records.parsing import choice, words
from pytest_vllmperf.storage import atomic, regular, runs

VLLM: Final = "vllm"
"""The form of a baseline file; all others are forms of a run."""
_OURS: Final = b'"pytest-vllmperf/'
_HEAD: Final = 4096


@dataclass(frozen=True)
class Asked:
    """What the command line says.

    Attributes:
        format: the name of a form; empty where nobody said.
        name: of one check; None for all.
        metrics: words for what is taken of a run; None for the default.
        output: the file to write; None for standard output.
    """

    format: str = ""
    name: str | None = None
    metrics: str | None = None
    output: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What is printed.

    Attributes:
        text: the export, or where it was written.
        is_json: whether the text is JSON.
        notes: for standard error: what was left out.
    """

    text: str
    is_json: bool
    notes: Sequence[str] = ()


def export(file: Path, asked: Asked) -> Exported:
    """A file of ours in the form of another tool.

    Raises:
        SpecError: for what the command line says and cannot be done.
        BaselineError: for a baseline file that cannot be read.
        ReportError: for the file of a run that cannot be read, or that has nothing to export.
        OSError: for an output that cannot be written.
    """
    form = choice(VLLM, *RUN_FORMATS)("--to", asked.format) if asked.format else VLLM
    if form == VLLM:
        return _of_baseline(file, asked)
    made = RUN_FORMATS[form]
    report = runs.load(file)
    chosen = choose(
        report, words("--metrics", DEFAULT if asked.metrics is None else asked.metrics, "metrics"), asked.name
    )
    content = made.make(chosen, report)
    if asked.output is None and isinstance(content, bytes):
        raise SpecError(f"--to {form} is not text: name a file with --output")
    return _given(content, asked.output, is_json=made.is_json, notes=chosen.notes)


def _of_baseline(file: Path, asked: Asked) -> Exported:
    with suppress(OSError):  # the reader says what is wrong with it
        if runs.FORMAT.concerns(file):
            raise SpecError(f"{file} is the file of a run; say what to make of it: --to {', '.join(RUN_FORMATS)}")
    if asked.metrics is not None:
        raise SpecError(f"--metrics chooses what is taken of a run; {file} is no file of --vllmperf-json")
    return _given(imports.results(file, asked.name, VLLM), asked.output, is_json=True)


def _given(content: str | bytes, output: Path | None, *, is_json: bool, notes: Sequence[str] = ()) -> Exported:
    if output is None:
        assert isinstance(content, str)
        return Exported(content.removesuffix("\n"), is_json, notes)
    with suppress(FileNotFoundError):
        if _OURS in regular.head(output, _HEAD):
            raise SpecError(f"--output: {output} is a file of pytest-vllmperf; it is not replaced")
    if isinstance(content, str):
        content = (content if content.endswith("\n") else f"{content}\n").encode("utf-8", "backslashreplace")
    atomic.write_bytes(output, content)
    return Exported(f"written: {output}", is_json=False, notes=notes)

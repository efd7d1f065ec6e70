"""The table of formats, and which of them a file is of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange import aiperf, guidellm, inference_perf, vllm_serve
from pytest_vllmperf.interchange.documents import documents
from pytest_vllmperf.interchange.report import Format, Report

AUTO: Final = "auto"
FORMATS: Final[dict[str, Format]] = {
    one.name: one for one in (vllm_serve.FORMAT, guidellm.FORMAT, aiperf.FORMAT, inference_perf.FORMAT)
}


def parts(names: Sequence[str]) -> list[str]:
    """The files of a folder that are read as one run, by their names; none where no tool is known by them."""
    for form in FORMATS.values():
        if found := [name for name in form.files if name in names]:
            return found
    return []


def read(contents: Sequence[bytes], wanted: str = AUTO) -> list[Report]:
    """The runs of one file, or of the files of one folder.

    Args:
        contents: of each file.
        wanted: the name of a format; `auto` for the one that recognises everything.

    Raises:
        ReportError: for what is no JSON, of no format that is known, or not as its format has it.
    """
    found = [one for content in contents for one in documents(content)]
    return _format(found, wanted).read(found)


def _format(found: Sequence[Any], wanted: str) -> Format:
    for form in FORMATS.values():
        if wanted in (AUTO, form.name) and all(form.recognise(one) for one in found):
            return form
    known = "; ".join(f"{form.name} ({form.about})" for form in FORMATS.values())
    if wanted == AUTO:
        raise ReportError(f"not a report in a supported format: {known}")
    raise ReportError(f"not a report of {FORMATS[wanted].about}; formats: {AUTO}; {known}")

"""Tables of the studies' pages, out of the files that the studies have written.

A folder of `results` is a machine: what `VLLMPERF_STUDY_RESULTS=docs/studies/results/MACHINE` had written there, and
`about.md`, a sentence on how it was measured. Needs nothing but Python.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results"
PLOTS = "plots"
FORMAT = 1
PART = re.compile(r"(<!-- results: [^\n]*-->\n).*?(<!-- /results -->)", re.DOTALL)

Row = dict[str, Any]


class ResultsError(Exception):
    """A results file that cannot be published, and why."""


@dataclass(frozen=True)
class Table:
    """One table of a study, with the numbers as they were measured."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def records(self) -> list[Row]:
        """Its rows by header."""
        return [dict(zip(self.headers, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Results:
    """What one machine measured of one study.

    Attributes:
        study: name of its page.
        folder: name of the machine's folder.
        machine: the GPU, or the processor with its cores.
        vllm: version.
        dates: the first and the last day.
        about: how it was measured; may be empty.
        tables: in the order of the test file.
    """

    study: str
    folder: str
    machine: str
    vllm: str
    dates: tuple[str, str]
    about: str
    tables: tuple[Table, ...]

    @property
    def plot(self) -> str:
        """Its plot, from the page's folder."""
        return f"{PLOTS}/{self.study}-{self.folder}.svg"

    def having(self, *headers: str) -> list[Table]:
        """The tables that have these columns."""
        return [table for table in self.tables if set(headers) <= set(table.headers)]


def read(study: str, results: Path = RESULTS) -> list[Results]:
    """What all machines measured of a study, by machine.

    Raises:
        ResultsError: for a file of another format, or of a test that failed.
    """
    found = []
    for folder in sorted(path for path in results.iterdir() if path.is_dir()):
        parts = [part for part in map(_content, sorted(folder.glob("*.json"))) if part["study"] == study]
        if parts:
            found.append(_together(study, folder, parts))
    return found


def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.get("format") != FORMAT:
        raise ResultsError(f"{path}: its format is {content.get('format')!r}, not {FORMAT}; run the study again")
    if not content["passed"]:
        raise ResultsError(f"{path}: {content['test']} failed there; publish what a passing run has measured")
    return content


def _together(study: str, folder: Path, parts: Sequence[Mapping[str, Any]]) -> Results:
    dates = sorted(part["date"] for part in parts)
    tables = [
        Table(one["title"], tuple(one["headers"]), tuple(tuple(row) for row in one["rows"]))
        for part in parts
        for one in part["tables"]
    ]
    about = folder / "about.md"
    return Results(
        study,
        folder.name,
        " and ".join(dict.fromkeys(part["machine"]["name"] for part in parts)),
        " and ".join(dict.fromkeys(str(part["vllm"]) for part in parts)),
        (dates[0], dates[-1]),
        about.read_text(encoding="utf-8").strip() if about.exists() else "",
        tuple(tables),
    )


def cell(value: object) -> str:
    """A number with three digits at least, thousands with a comma; nothing for what was not measured."""
    if not isinstance(value, float):
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if value.is_integer() or abs(value) >= 100 else f"{value:.3g}"


def _markdown(table: Table) -> str:
    lines = [table.headers, ["---"] * len(table.headers), *([cell(value) for value in row] for row in table.rows)]
    body = "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)
    return f"{table.title[0].upper()}{table.title[1:]}:\n\n{body}"


def _section(one: Results) -> Iterator[str]:
    days = " to ".join(dict.fromkeys(one.dates))
    yield f"### {one.machine}: vLLM {one.vllm}, {days}"
    if one.about:
        yield one.about
    yield f"![{one.study.replace('-', ' ')} on {one.machine}]({one.plot})"
    yield from map(_markdown, one.tables)


def part(study: str, results: Path = RESULTS) -> str:
    """What a page says between its markers."""
    found = read(study, results)
    if not found:
        return "Not run yet."
    return "\n\n".join(line for one in found for line in _section(one))


def made(text: str, make: Callable[[], str]) -> str:
    """A page's text with its results made anew.

    Raises:
        ResultsError: for a page without the markers, or with two pairs of them.
    """
    if len(PART.findall(text)) != 1:
        raise ResultsError("the page needs one part between '<!-- results: ... -->' and '<!-- /results -->'")
    return PART.sub(lambda found: f"{found[1]}\n{make()}\n\n{found[2]}", text)


def pages() -> dict[str, Path]:
    """Study -> its page, of all pages with the markers."""
    return {page.stem: page for page in sorted(FOLDER.glob("*.md")) if PART.search(page.read_text(encoding="utf-8"))}


def write_pages() -> None:
    """Make the results of all pages anew."""
    for study, page in pages().items():
        text = page.read_text(encoding="utf-8")
        page.write_text(made(text, lambda study=study: part(study)), encoding="utf-8")  # type: ignore[misc]
        print(f"written: {page.relative_to(FOLDER)}")

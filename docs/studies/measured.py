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
OVERVIEW = FOLDER / "README.md"
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


def made(text: str, results: str) -> str:
    """A page's text with other results between its markers.

    Raises:
        ResultsError: for a page without the markers, or with two pairs of them.
    """
    if len(PART.findall(text)) != 1:
        raise ResultsError("the page needs one part between '<!-- results: ... -->' and '<!-- /results -->'")
    return PART.sub(lambda found: f"{found[1]}\n{results}\n\n{found[2]}", text)


def _ratio(one: Results, name: str) -> str:
    """The speedup of a row of claims, with its interval; where its test was not run to the end it says so."""
    claims = (row for table in one.having("ratio", "low") for row in table.records() if name in (row[""], table.title))
    row = next(claims, None)
    if row is None:
        return "not run"
    return f"{row['ratio']:.2f}x [{row['low']:.2f}, {row['high']:.2f}]"


def _concurrency(one: Results) -> str:
    roomy = next(table for table in one.having("tok/s each") if "room for all" in table.title).records()
    small = next(table for table in one.having("tok/s each") if "holds" in table.title).records()
    begins = next((row["clients"] for row in small if row["preemptions"]), None)
    at = next((row for row in roomy if row["clients"] == 64), roomy[-1])
    return f"{cell(at['tok/s each'])} tokens/s each at {at['clients']}; with room for 16, preempted at {begins}"


def _pays(one: Results) -> str:
    rows = one.having("twice the batch gives")[0].records()
    paying = [str(row["batch"]) for row in rows if row[""] == "pays"]
    used = rows[-1]["bandwidth used %"]
    share = "" if used is None else f"; {used:.0f} % of the bandwidth at the largest batch"
    return f"twice the batch pays at {', '.join(paying) or 'none'}{share}"


def _useful(one: Results) -> str:
    rows = one.having("useful %")[0].records()
    return f"{rows[-1]['useful %']:.0f} % in one piece, {rows[0]['useful %']:.0f} % in {rows[0]['reserved as']}"


def _kv(one: Results) -> str:
    parts = [f"{row['used / formula']:.3g}" for row in one.having("used / formula")[0].records()]
    return f"blocks in use over the formula: {', '.join(parts)}"


def _cost(one: Results) -> str:
    rows = one.having("per million tokens", "a month")[0].records()
    return f"{cell(round(rows[2]['a month']))} to {cell(round(rows[1]['a month']))}, at example prices"


HEADLINES: dict[str, tuple[str, str, Callable[[Results], str]]] = {
    "continuous-batching": ("five prompts together", "far less than five times as long",
                            lambda one: f"{_ratio(one, 'throughput')} the throughput of one after the other"),
    "prefix-caching": ("75 % of the prompt shared", "some 4x",
                       lambda one: f"{_ratio(one, 'total throughput')} the throughput"),
    "kv-accounting": ("Qwen3-0.6B", "7, 28, 112, 448 MB, 4.4 GB", _kv),
    "paged-attention": ("useful share of what is reserved", "20-38 % before, above 96 % with blocks", _useful),
    "concurrency": ("1 to 64 clients, 256 on a GPU", "50 and more, some 30 tokens/s each", _concurrency),
    "memory-bound": ("batches of 1 to 64", "", _pays),
    "cost": ("of a month", "$14,000 to $200", _cost),
    "speculative-decoding": ("by n-grams", "", lambda one: f"{_ratio(one, 'n-grams over plain')} as fast"),
    "memory-optimised": ("95 % of the card, 64 sequences", "",
                         lambda one: f"{_ratio(one, 'throughput')} the default's throughput"),
    "ttft-tuning": ("tuned over before", "340 to 112 ms, 3.0x", lambda one: f"TTFT p50: {_ratio(one, 'TTFT p50')}"),
}  # fmt: skip
"""Page -> what is asked, what is published, and the result in a line."""


def summary(results: Path = RESULTS) -> str:
    """The overview of all studies: what is published, and what each machine measured."""
    found = {study: read(study, results) for study in HEADLINES}
    machines = {one.folder: one.machine for ran in found.values() for one in ran}
    lines = [["study", "published", *(machines[name] for name in sorted(machines))]]
    lines.append(["---"] * len(lines[0]))
    for study, (asked, published, headline) in HEADLINES.items():
        by_machine = {one.folder: headline(one) for one in found[study]}
        shown = [by_machine.get(name, "not run") for name in sorted(machines)]
        lines.append([f"[{study.replace('-', ' ')}]({study}.md): {asked}", published, *shown])
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)


def pages() -> dict[str, Path]:
    """Study -> its page, of all pages with the markers."""
    found = (page for page in sorted(FOLDER.glob("*.md")) if page != OVERVIEW)
    return {page.stem: page for page in found if PART.search(page.read_text(encoding="utf-8"))}


def write_pages() -> None:
    """Make the results of all pages anew, and the overview."""
    for study, page in pages().items():
        page.write_text(made(page.read_text(encoding="utf-8"), part(study)), encoding="utf-8")
        print(f"written: {page.name}")
    OVERVIEW.write_text(made(OVERVIEW.read_text(encoding="utf-8"), summary()), encoding="utf-8")
    print(f"written: {OVERVIEW.name}")

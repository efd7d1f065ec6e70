"""Write the parts of the documentation that are made from the code: `python docs/generate.py`, or `nox -s docs`.

With `--check`, nothing is written, and the exit code is 1 where a file is not up to date.

A part stands between two comments of a Markdown file, `<!-- NAME: ... -->` and `<!-- /NAME -->`. Other files are made
whole.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_vllmperf.cli import command
from pytest_vllmperf.harness.flags import OPTIONS, Option
from pytest_vllmperf.metrics.declaration import Metric, MetricClass
from pytest_vllmperf.metrics.distribution import DistributionMetrics
from pytest_vllmperf.metrics.gates import Gate, automatic
from pytest_vllmperf.metrics.table import DECLARATIONS, GATES, IF_MEASURED
from pytest_vllmperf.report.units import margin
from pytest_vllmperf.storage import runs
from pytest_vllmperf.verdict.settings import DEFAULT_MARGIN

ROOT = Path(__file__).parents[1]


def options_table() -> str:
    """All options of the plugin."""
    rows = [_row(option) for option in OPTIONS]
    return _table(("option", "marker", "meaning", "default"), rows)


def _row(option: Option) -> Sequence[str]:
    flag = option.flag_name if option.kind == "switch" else f"{option.flag_name}={option.value}"
    default = "off" if option.kind == "switch" else _code(option.default)
    meaning = re.sub(r"(?<!\w)'([^']+)'(?!\w)", r"`\1`", _in_cell(option.help))
    marker = _code(f"{option.name}=" if option.marker else "")
    return _code(flag if option.flag else ""), marker, meaning, default


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def commands() -> str:
    """All commands of `vllmperf`: how each is called, and its options."""
    return "\n\n".join("\n\n".join(_command(one)) for one in _ends(command.parser()))


def _ends(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The commands below a parser that have no commands of their own, in the order of the help text."""
    groups = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    if not groups:
        yield parser
    for group in groups:
        for below in group.choices.values():
            below.description = below.description or next(
                (one.help for one in group._choices_actions if below.prog.endswith(f" {one.dest}")), None
            )
            yield from _ends(below)


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    taken = [one for one in parser._actions if one.help != argparse.SUPPRESS and one.dest != "help"]
    yield f"## `{parser.prog}`"
    if parser.description:
        yield _sentence(parser.description % {"prog": parser.prog})
    names = " ".join(_bracketed(one) for one in taken if not one.option_strings)
    needed = " ".join(_flag(one) for one in taken if one.option_strings and one.required)
    others = "[OPTIONS]" if any(one.option_strings and not one.required for one in taken) else ""
    yield f"```text\n{' '.join(filter(None, (parser.prog, names, needed, others)))}\n```"
    rows = [(f"`{_in_cell(_flag(one) or _named(one))}`", _meaning(one, parser.prog)) for one in taken]
    if rows:
        yield _table(("argument", "meaning"), rows)


def _sentence(text: str) -> str:
    text = text[0].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


def _named(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _bracketed(action: argparse.Action) -> str:
    name = _named(action)
    return f"[{name}]" if action.nargs in ("?", "*") else f"{name} ..." if action.nargs == "+" else name


def _flag(action: argparse.Action) -> str:
    if not action.option_strings:
        return ""
    name = next((one for one in action.option_strings if one.startswith("--")), action.option_strings[0])
    if action.nargs == 0:
        return name
    value = "|".join(map(str, action.choices)) if action.choices and not action.metavar else _named(action)
    return f"{name} [{value}]" if action.nargs == "?" else f"{name} {value}"


def _in_cell(text: str) -> str:
    """As a cell of a table holds it; in code, too, a bar would end the cell on GitHub."""
    return text.replace("|", "\\|")


def _meaning(action: argparse.Action, prog: str) -> str:
    text = (action.help or "") % {**vars(action), "prog": prog}
    return _in_cell(text) + ("; may be given several times" if _repeats(action) else "")


def _repeats(action: argparse.Action) -> bool:
    return isinstance(action, argparse._AppendAction) and "several times" not in (action.help or "")


def metrics() -> str:
    """All metrics; a distribution is one row."""
    heads = ("name", "unit", "better", "class", "clock", "starts", "sets", "what it is", "source")
    return _table(heads, map(_metric_row, DECLARATIONS))


def _metric_row(declared: Metric | DistributionMetrics) -> Sequence[str]:
    first = declared.metrics[0]
    points = len(declared.metrics) > 1
    kinds = dict.fromkeys(metric.kind.value for metric in declared.metrics)
    sets = ", ".join(f"`{gate.word}`" for gate in declared.gates)
    unit = first.unit
    return (
        f"`{declared.name}.*`" if points else f"`{declared.name}`",
        unit.symbol if unit.symbol == unit.shown else f"{unit.symbol} ({unit.shown})",
        first.better.value,
        ", ".join(kinds),
        first.clock.value,
        first.start.value,
        f"{sets} (p50)" if points and sets else sets,
        declared.formula,
        declared.source,
    )


def gates() -> str:
    """The sets that a gate can name."""
    auto = f"{_automatic('cuda')} on a GPU and for a server, {_automatic('cpu')} for an engine in process on a CPU"
    rows = [(f"`{gate.word}`", gate.about, _in_set(gate)) for gate in Gate]
    return _table(("set", "what is in it", "metrics"), [("`auto`", auto, ""), *rows])


def _automatic(device: str) -> str:
    return " and ".join(f"`{gate.word}`" for gate in automatic(device))


def _in_set(gate: Gate) -> str:
    """Its metrics; behind them those that belong to it only where they were measured."""
    always, if_measured = ([f"`{name}`" for name in names[gate.word]] for names in (GATES, IF_MEASURED))
    return ", ".join([*always, *(f"{name} where measured" for name in if_measured)])


def classes() -> str:
    """How each class is judged."""
    rows = [
        (
            kind.value,
            "exactly; a second engine confirms a difference" if kind.exact else "by the rule",
            _margin(kind),
        )
        for kind in MetricClass
    ]
    return _table(("class", "judged", "margin unless given"), rows)


def _margin(kind: MetricClass) -> str:
    if kind.exact:
        return "none"
    if kind.own_margin is not None:
        return f"{margin(kind.own_margin)}, whatever the margin for all is"
    return margin(max(kind.least_margin, DEFAULT_MARGIN))


def percentiles() -> str:
    """From how many observations on the points of a distribution decide."""
    points = next(one for one in DECLARATIONS if isinstance(one, DistributionMetrics)).metrics
    rows = [(f"`{one.name.rpartition('.')[2]}`", one.kind.value, f"{one.decides_from or 1:,}") for one in points]
    return _table(("point", "class", "decides from"), rows)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("  ", " ") for line in lines)


def run_schema() -> str:
    """The JSON schema of the file that `--vllmperf-json` writes."""
    return json.dumps(runs.schema(), indent=2, ensure_ascii=False) + "\n"


WHOLE: Mapping[str, Callable[[], str]] = {"docs/schema/run.json": run_schema}
"""File -> what makes all of it."""

PARTS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "docs/options.md": {"options": options_table},
    "docs/command-line.md": {"commands": commands},
    "docs/metrics.md": {"metrics": metrics, "gates": gates, "classes": classes, "percentiles": percentiles},
}
"""File -> name of the part -> what makes it."""


def made(text: str, parts: Mapping[str, Callable[[], str]]) -> str:
    """A file's text with its parts made anew.

    Raises:
        ValueError: for a part that the text does not have, or has twice.
    """
    for name, make in parts.items():
        pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"no part, or more than one, is called {name!r}")
        text = pattern.sub(lambda found, make=make: f"{found[1]}{make()}\n{found[2]}", text)
    return text


def main(arguments: Sequence[str]) -> int:
    """Write every file that has such parts; with `--check`, say which are not up to date, and write nothing."""
    texts = {name: made((ROOT / name).read_text(encoding="utf-8"), parts) for name, parts in PARTS.items()}
    texts |= {name: make() for name, make in WHOLE.items()}
    old = [name for name, text in texts.items() if (ROOT / name).read_text(encoding="utf-8") != text]
    if "--check" in arguments:
        for name in old:
            print(f"not up to date: {name}; run `python docs/generate.py`")
        return 1 if old else 0
    for name in old:
        (ROOT / name).write_text(texts[name], encoding="utf-8")
        print(f"written: {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Draw the studies' plots and write their tables, out of `results`: `python docs/studies/plots.py`, or `nox -s plots`.

One SVG a study and machine. A rerun with the same matplotlib writes the same bytes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

import matplotlib as mpl
import measured
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measured import Results, Row

INK, GRID, PAPER = "#24292f", "#d0d7de", "#fefefe"
FIRST, SECOND, THIRD = "#3b82d6", "#d97a1f", "#2f9e62"
DARK = {"ink": (INK, "#e6edf3"), "grid": (GRID, "#3a424c"), "paper": (PAPER, "#0d1117")}
"""Name -> the colour on white, and on black."""
SETTINGS: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "studies",
    "font.size": 10,
    "font.family": "sans-serif",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    **{f"{what}.color": INK for what in ("text", "xtick", "ytick")},
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
}


def column(rows: Sequence[Row], name: str) -> list[Any]:
    """The values of one column."""
    return [row[name] for row in rows]


def doubling(axes: Axes, points: Sequence[float]) -> None:
    """An axis of powers of two that names each point."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(points, [measured.cell(point) for point in points])
    axes.xaxis.set_minor_locator(ticker.NullLocator())


def thousands(axes: Axes) -> None:
    """Numbers with commas on the upright axis, no powers of ten."""
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))


def bars(axes: Axes, names: Sequence[str], values: Sequence[float], label: str, color: str = FIRST) -> None:
    """Horizontal bars from top to bottom, each with its value."""
    drawn = axes.barh(names, values, color=color, height=0.6)
    axes.bar_label(drawn, [measured.cell(float(value)) for value in values], padding=4)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.margins(x=0.15)
    axes.grid(visible=False, axis="y")


def continuous_batching(one: Results, axes: Sequence[Axes]) -> None:
    """The time of five prompts together and in series."""
    rows = one.having("times one prompt's time")[0].records()
    (claim,) = one.having("ratio", "low")[0].records()
    serial = rows[1]["times one prompt's time"]
    values = column(rows, "times one prompt's time")
    axes[0].barh(column(rows, ""), values, color=[FIRST, SECOND], height=0.6)
    low, high = (serial / claim[bound] for bound in ("high", "low"))
    axes[0].errorbar([values[0]], [0], xerr=[[values[0] - low], [high - values[0]]], color=INK, capsize=5, lw=1.2)
    axes[0].invert_yaxis()
    axes[0].grid(visible=False, axis="y")
    axes[0].set_xlabel("time of five prompts, in times of one prompt alone (line: 99 % interval)")


def prefix_caching(one: Results, axes: Sequence[Axes]) -> None:
    """TTFT and throughput over the share of the prompt that is shared."""
    table = one.having("shared %")[0]
    rows = table.records()
    places = [place for place, name in enumerate(table.headers) if name == "off"]
    shared = column(rows, "shared %")
    for axis, on, place, label in (
        (axes[0], "TTFT ms on", places[1], "TTFT p50, ms"),
        (axes[1], "tok/s on", places[0], "all tokens a second"),
    ):
        axis.plot(shared, column(rows, on), "o-", color=FIRST, label="prefix cache on")
        axis.plot(shared, [row[place] for row in table.rows], "s-", color=SECOND, label="off")
        axis.set(xlabel="share of the prompt that is shared, %", ylabel=label, ylim=(0, None), xticks=shared)
        thousands(axis)
    axes[0].legend()


def kv_accounting(one: Results, axes: Sequence[Axes]) -> None:
    """Bytes by the formula, and of the blocks in use, over tokens."""
    rows = one.having("MiB by formula")[0].records()
    tokens = [row["requests"] * row["tokens each"] for row in rows]
    axes[0].plot(tokens, column(rows, "MiB by formula"), "-", color=SECOND, label="formula")
    axes[0].plot(tokens, column(rows, "MiB used"), "o", color=FIRST, label="blocks in use")
    doubling(axes[0], tokens)
    axes[0].set_yscale("log", base=2)
    axes[0].set(xlabel="tokens, all requests together", ylabel="KV cache, MiB")
    thousands(axes[0])
    axes[0].legend()


def paged_attention(one: Results, axes: Sequence[Axes]) -> None:
    """What of each reservation holds tokens, and what is wasted."""
    rows = one.having("useful %")[0].records()
    names = column(rows, "reserved as")
    useful = [row["MiB"] * row["useful %"] / 100 for row in rows]
    wasted = [row["MiB"] - part for row, part in zip(rows, useful, strict=True)]
    axes[0].barh(names, useful, color=FIRST, height=0.6, label="holds tokens")
    drawn = axes[0].barh(names, wasted, left=useful, color=SECOND, height=0.6, label="wasted")
    axes[0].bar_label(drawn, [f"{row['useful %']:.0f} % useful" for row in rows], padding=4)
    axes[0].invert_yaxis()
    axes[0].margins(x=0.22)
    axes[0].grid(visible=False, axis="y")
    axes[0].set_xlabel("KV cache reserved, MiB")
    axes[0].legend(loc="upper right")


def concurrency(one: Results, axes: Sequence[Axes]) -> None:
    """Throughput and tokens/s of each client, and where preemption begins."""
    colors = {"room": FIRST, "holds": SECOND}
    for table in one.having("clients", "preemptions"):
        rows = table.records()
        color = next(color for word, color in colors.items() if word in table.title)
        clients = column(rows, "clients")
        label = table.title.removeprefix("a KV cache ").removeprefix("that ").removeprefix("with ")
        for axis, name in ((axes[0], "tok/s"), (axes[1], "tok/s each")):
            axis.plot(clients, column(rows, name), "o-", color=color, label=label)
        first = next((row["clients"] for row in rows if row["preemptions"]), None)
        for axis in axes if first else ():
            axis.axvline(first, color=color, lw=1.2, ls="--")
    for axis, name in ((axes[0], "tokens a second"), (axes[1], "tokens a second of each client")):
        doubling(axis, clients)
        axis.set(xlabel="clients (dashed: first with preemptions)", ylabel=name, ylim=(0, None))
        thousands(axis)
    axes[0].legend(loc="upper left")


def memory_bound(one: Results, axes: Sequence[Axes]) -> None:
    """The roofline: what the memory allows, and what was measured."""
    rows = one.having("batch", "attainable tok/s")[0].records()
    (limit,) = one.having("memory bandwidth")[0].records()
    batches = column(rows, "batch")
    if limit["GB/s"] is not None:
        label = f"the memory allows: {limit['GB/s']:,.0f} GB/s, {limit['memory bandwidth']}"
        axes[0].plot(batches, column(rows, "attainable tok/s"), "-", color=SECOND, label=label)
    axes[0].plot(batches, column(rows, "tok/s"), "o-", color=FIRST, label="measured")
    doubling(axes[0], batches)
    axes[0].set_yscale("log")
    axes[0].set(xlabel="batch size", ylabel="tokens a second")
    thousands(axes[0])
    axes[0].legend()


def cost(one: Results, axes: Sequence[Axes]) -> None:
    """The price of a month over the tokens of a day."""
    (given,) = one.having("hours of work a day")[0].records()
    days, a_day = 30, given["tok/s"] * 86400
    daily = [10 ** (5 + step / 60) for step in range(301)]
    here = [ceil(tokens / a_day) * 24 * days * given["price of an hour"] for tokens in daily]
    api = [tokens * days / 1e6 * given["API price per million tokens"] for tokens in daily]
    axes[0].plot(
        daily[::300], api[::300], "-", color=SECOND, label=f"API, {given['API price per million tokens']:g} a million"
    )
    axes[0].plot(
        daily,
        here,
        "-",
        color=FIRST,
        drawstyle="steps-post",
        label=f"here, rented all day at {given['price of an hour']:g} an hour",
    )
    axes[0].axvline(given["tokens a day"], color=INK, lw=1, ls="--", label=f"{given['tokens a day'] / 1e6:g} million")
    axes[0].set(xscale="log", yscale="log", xlabel="tokens a day", ylabel="price of a month")
    thousands(axes[0])
    axes[0].legend(loc="upper left")


def speculative_decoding(one: Results, axes: Sequence[Axes]) -> None:
    """Speedups with their intervals, and acceptance."""
    claims = {table.title: table.records()[0] for table in one.having("ratio", "low")}
    names, values = [title.removesuffix(" over plain") for title in claims], column(list(claims.values()), "ratio")
    spread = [
        [row["ratio"] - row["low"] for row in claims.values()],
        [row["high"] - row["ratio"] for row in claims.values()],
    ]
    axes[0].barh(names, values, color=FIRST, height=0.5)
    axes[0].errorbar(values, range(len(values)), xerr=spread, fmt="none", ecolor=INK, capsize=5, lw=1.2)
    axes[0].axvline(1, color=SECOND, lw=1.2, ls="--")
    axes[0].invert_yaxis()
    axes[0].set_xlabel("times as fast as plain (99 % interval)")
    rows = [table.records()[0] for table in one.having("accepted %")]
    bars(axes[1], column(rows, ""), column(rows, "accepted %"), "proposed tokens accepted, %", THIRD)
    for axis in axes:
        axis.grid(visible=False, axis="y")


def ttft_tuning(one: Results, axes: Sequence[Axes]) -> None:
    """TTFT of each tuning, and by prompt length cold and warmed up."""
    rows = one.having("TTFT p50 ms", "ITL p99 ms")[0].records()
    bars(axes[0], column(rows, ""), column(rows, "TTFT p50 ms"), "TTFT p50, ms")
    found = one.having("prompt", "engine warmed up")
    if not found:  # not run to the end on this machine
        axes[1].set_visible(False)
        return
    warmed = found[0]
    prompts = [row[0] for row in warmed.rows]
    for place, (name, color) in enumerate(
        (("first of its length", SECOND), ("engine warmed up", FIRST), ("prefix warmed up", THIRD)), start=1
    ):
        axes[1].plot(prompts, [row[place] for row in warmed.rows], "o-", color=color, label=name)
    doubling(axes[1], prompts)
    axes[1].set(xlabel="tokens of the prompt", ylabel="TTFT, ms", ylim=(0, None))
    axes[1].legend()


def memory_optimised(one: Results, axes: Sequence[Axes]) -> None:
    """Throughput and room of two configurations."""
    rows = one.having("KV cache tokens")[0].records()
    bars(axes[0], column(rows, ""), column(rows, "tok/s"), "tokens a second")
    bars(axes[1], column(rows, ""), column(rows, "requests of max_model_len"), "requests of max_model_len", THIRD)


DRAWN: dict[str, tuple[int, float, Callable[[Results, Sequence[Axes]], None]]] = {
    "concurrency": (2, 3.4, concurrency),
    "continuous-batching": (1, 2.0, continuous_batching),
    "cost": (1, 3.6, cost),
    "kv-accounting": (1, 3.6, kv_accounting),
    "memory-bound": (1, 3.6, memory_bound),
    "memory-optimised": (2, 2.0, memory_optimised),
    "paged-attention": (1, 2.6, paged_attention),
    "prefix-caching": (2, 3.4, prefix_caching),
    "speculative-decoding": (2, 2.2, speculative_decoding),
    "ttft-tuning": (2, 3.4, ttft_tuning),
}
"""Study -> number of its panels, height in inches, what draws them."""


def svg(one: Results) -> str:
    """The plot of a study on a machine: text as text, and colours by the reader's scheme."""
    panels, height, draw = DRAWN[one.study]
    with mpl.rc_context(SETTINGS):
        figure = Figure(figsize=(8.4, height), layout="constrained")
        axes = list(figure.subplots(1, panels, squeeze=False)[0])
        figure.get_layout_engine().set(wspace=0.05)  # type: ignore[union-attr, call-arg]
        figure.suptitle(f"{one.machine}, vLLM {one.vllm}", fontsize=10, x=0.01, ha="left")
        draw(one, axes)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None, "Creator": None})
    return "\n".join(line.rstrip() for line in _by_scheme(written.getvalue()).splitlines()) + "\n"


def _by_scheme(text: str) -> str:
    """Named colours instead of fixed ones, which a dark page turns round."""
    light, dark = ("".join(f"--{name}:{pair[place]};" for name, pair in DARK.items()) for place in (0, 1))
    for name, (color, _) in DARK.items():
        text = text.replace(color, f"var(--{name})")
    style = f"<style>:root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}</style>"
    start = text.index(">", text.index("<svg")) + 1
    return text[:start] + style + text[start:]


def drawn() -> Iterator[tuple[str, str]]:
    """Path of each plot from this folder, and the plot."""
    for study in measured.pages():
        for one in measured.read(study):
            yield one.plot, svg(one)


def main() -> None:
    """Write all plots, and the tables of all pages."""
    for name, text in drawn():
        path = measured.FOLDER / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written: {name}, {len(text.encode()) / 1024:.0f} KiB")
    measured.write_pages()


if __name__ == "__main__":
    main()

"""The arguments of `vllmperf import` and `vllmperf export`; what they need is imported when they run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

from pytest_vllmperf.cli.argument_types import filled
from pytest_vllmperf.cli.output import show, tell

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add(commands: Commands) -> None:
    """Add `import` and `export`."""
    _add_import(commands)
    _add_export(commands)


def _add_import(commands: Commands) -> None:
    taking = commands.add_parser(
        "import",
        help="import reports of other benchmarks into a baseline file",
        description="Reads reports of vllm bench serve, GuideLLM, AIPerf or inference-perf. Each report must be "
        "one run on a freshly started server. Together they become one session of one check, which `vllmperf "
        "check` can judge. If a report cannot be read, nothing is written.",
    )
    taking.add_argument("files", nargs="+", type=Path, metavar="FILE",
                        help="a report file, or the output folder of AIPerf or inference-perf")  # fmt: skip
    taking.add_argument("--output", required=True, type=Path, metavar="BASELINE.json", help="the file to write")
    taking.add_argument("--name", required=True, help="name of the check")
    taking.add_argument(
        "--format", default="auto", help="report format: auto, vllm, guidellm, aiperf or inference-perf (default: auto)"
    )
    taking.add_argument("--append", action="store_true", help="add to an existing file or check")
    taking.add_argument(
        "--gate", help="metrics to gate (default: the throughput and median latencies that the reports contain)"
    )
    taking.add_argument(
        "--margin", help="tolerated change, for all metrics or by name: '5%% ttft.p50=10%%' (default: 5%%)"
    )
    taking.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="WORD",
        help="failed: accept reports with failed requests; few: accept fewer than three runs, for a file that "
        "is judged but is not a baseline",
    )
    taking.add_argument(
        "--profile",
        default="",
        metavar="NAME",
        help="name of the hardware, which reports do not contain (default: unknown)",
    )
    taking.add_argument("--model", default="", metavar="NAME", help="name of the model (default: as in the reports)")
    taking.set_defaults(run=_import)


def _add_export(commands: Commands) -> None:
    exporting = commands.add_parser(
        "export",
        help="a baseline file or the file of a run in the form of another tool",
        description="Of a baseline file: prints an object a line, one for each engine start, as vllm bench serve "
        "--append-result does. Of a file that --vllmperf-json wrote: the form that --to names.",
    )
    exporting.add_argument("file", type=Path, metavar="FILE.json", help="a baseline file, or the file of a run")
    exporting.add_argument("--name", help="only this check")
    exporting.add_argument(
        "--to",
        "--format",
        dest="format",
        default="",
        metavar="FORMAT",
        help="tool: of a baseline file vllm, which is the default; of a run pytest-benchmark, bmf (Bencher), "
        "customSmallerIsBetter or customBiggerIsBetter (github-action-benchmark), openmetrics or parquet",
    )
    exporting.add_argument("--metrics", help="of a run: names of metrics, or the sets gated, all, clock, exact, cpu, "
                           "vram, device, energy (default: gated clock)")  # fmt: skip
    exporting.add_argument("--output", type=Path, metavar="FILE", help="file to write (default: standard output)")
    exporting.set_defaults(run=_export)


def _import(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import imports

    show(imports.take(chosen.files, chosen.output, filled(imports.Asked, chosen)))
    return 0


def _export(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import exports

    made = exports.export(chosen.file, filled(exports.Asked, chosen))
    for note in made.notes:
        tell(note)
    show(made.text, as_json=made.is_json)
    return 0

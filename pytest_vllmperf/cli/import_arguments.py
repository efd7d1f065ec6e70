"""The arguments of `vllmperf import` and `vllmperf export`; light on imports, as they are read for every command."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
Run = Callable[[argparse.Namespace], int]


def add_import(commands: Commands, run: Run) -> None:
    """Add `import`."""
    taking = commands.add_parser(
        "import",
        help="reports of other benchmarks as a baseline file",
        description="Takes reports of vllm bench serve, GuideLLM, AIPerf or inference-perf. Each is a run on a freshly "
        "started server; together they are one session of one check, which vllmperf check judges. Nothing is written "
        "where one of them cannot be taken.",
    )
    taking.add_argument("files", nargs="+", type=Path, metavar="FILE",
                        help="a report, or the folder that AIPerf or inference-perf wrote")  # fmt: skip
    taking.add_argument("--output", required=True, type=Path, metavar="BASELINE.json", help="the file to write")
    taking.add_argument("--name", required=True, help="of the check")
    taking.add_argument("--format", default="auto", help="auto, vllm, guidellm, aiperf or inference-perf (auto)")
    taking.add_argument("--append", action="store_true", help="add to a file, or to a check, that is there")
    taking.add_argument("--gate", help="metrics that decide (throughput and median latencies, as far as reported)")
    taking.add_argument("--margin", help="tolerated change, in all or by name: '5%% ttft.p50=10%%' (5%%)")
    taking.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="WORD",
        help="failed: reports in which requests failed; few: fewer than three runs, for a file that is only judged",
    )
    taking.add_argument("--profile", default="", metavar="NAME", help="the hardware, which no report names (unknown)")
    taking.add_argument("--model", default="", metavar="NAME", help="the model (as the reports say)")
    taking.set_defaults(run=run)


def add_export(commands: Commands, run: Run) -> None:
    """Add `export`."""
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
        help="of a baseline file vllm (vllm); of a run pytest-benchmark, bmf (Bencher), customSmallerIsBetter or "
        "customBiggerIsBetter (github-action-benchmark), openmetrics or parquet",
    )
    exporting.add_argument("--metrics", help="of a run: names of metrics, or the sets gated, all, clock, exact, cpu, "
                           "vram, device, energy (gated clock)")  # fmt: skip
    exporting.add_argument("--output", type=Path, metavar="FILE", help="write this file (standard output)")
    exporting.set_defaults(run=run)

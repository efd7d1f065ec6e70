"""The arguments of every command that judges."""

from __future__ import annotations

import argparse

from pytest_vllmperf.metrics.gates import gate_help


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add what a command that judges takes: `--gate`, `--margin` and `--json`."""
    parser.add_argument("--gate", help=f"{gate_help()} (default: as recorded)")
    parser.add_argument(
        "--margin", help="tolerated change, for all metrics or by name: '5%% ttft.p50=10%%' (default: as recorded)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")

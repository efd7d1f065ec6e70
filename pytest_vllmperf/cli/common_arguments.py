"""The arguments that several commands take."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.metrics.gates import gate_help


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add `--json`."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_baselines(parser: argparse.ArgumentParser) -> None:
    """Add `--baselines`."""
    parser.add_argument(
        "--baselines", type=Path, default=Path("baselines"), help="folder of the baselines (default: baselines)"
    )


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add what a command that judges takes: `--gate`, `--margin` and `--json`."""
    parser.add_argument("--gate", help=f"{gate_help()} (default: as recorded)")
    parser.add_argument(
        "--margin", help="tolerated change, for all metrics or by name: '5%% ttft.p50=10%%' (default: as recorded)"
    )
    add_json(parser)

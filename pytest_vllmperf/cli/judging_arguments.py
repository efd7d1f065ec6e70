"""The arguments of every command that judges."""

from __future__ import annotations

import argparse


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Add what a command that judges takes: `--gate`, `--margin` and `--json`."""
    parser.add_argument(
        "--gate", help="metrics to gate: names, or the sets auto, exact, clock, cpu (default: as recorded)"
    )
    parser.add_argument(
        "--margin", help="tolerated change, for all metrics or by name: '5%% ttft.p50=10%%' (default: as recorded)"
    )
    parser.add_argument("--json", action="store_true", help="for a program")

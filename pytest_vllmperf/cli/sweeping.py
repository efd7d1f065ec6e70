"""The arguments of `vllmperf sweep`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_vllmperf.cli.argument_types import positive
from pytest_vllmperf.cli.output import show
from pytest_vllmperf.errors import SpecError

NOTHING_MEASURED = 2
"""The exit code of a sweep all of whose points failed."""
_LOCAL = "local"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "sweep",
        help="measure an engine over a grid of arguments and loads",
        description="Measures every point of a TOML file and says where the knee is, which points no other point "
        "beats, and where throughput falls. A sweep that was ended goes on with the same command. docs/sweeps.md.",
    )
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE.toml", help="the study")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE.json",
        help="file of its results (default: as the study says, or beside it)",
    )
    parser.add_argument("--show", action="store_true", help="measure nothing; show the results that there are")
    parser.add_argument("--retry", action="store_true", help="measure points that failed again")
    parser.add_argument("--yes", action="store_true", help="allow more than 10,000 points")
    parser.add_argument(
        "--ray",
        nargs="?",
        const=_LOCAL,
        metavar="ADDRESS",
        help="measure points at the same time, one a GPU, on a Ray cluster: HOST:PORT or auto; without an address on "
        "the GPUs of this machine",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="number of workers of --ray (default: one a GPU; without GPUs one a node)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON with all samples")
    parser.set_defaults(run=lambda chosen: _run(_with_file(chosen)))


def _with_file(chosen: argparse.Namespace) -> argparse.Namespace:
    """What was chosen, where `--ray FILE.toml` means the file and no address: argparse takes it as one.

    Raises:
        SpecError: where no file is named.
    """
    if chosen.file is None and chosen.ray is not None and chosen.ray.endswith(".toml"):
        chosen.file, chosen.ray = Path(chosen.ray), _LOCAL
    if chosen.file is None:
        raise SpecError("FILE.toml is missing: vllmperf sweep FILE.toml")
    return chosen


def _run(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import sweep
    from pytest_vllmperf.cli.width import columns
    from pytest_vllmperf.report import sweeps

    if chosen.workers is not None and chosen.ray is None:
        raise SpecError("--workers is for a sweep on Ray; add --ray")
    on_ray = None if chosen.ray is None else sweep.OnRay(chosen.ray, chosen.workers)
    found = sweep.sweep(
        chosen.file, chosen.results, many=chosen.yes, retry=chosen.retry, show=chosen.show, on_ray=on_ray
    )
    text = sweeps.as_json(found) if chosen.json else "\n".join(sweeps.lines(found, columns()))
    show(text, as_json=chosen.json)
    return 0 if any(one.result.sound for one in found.figures) else NOTHING_MEASURED

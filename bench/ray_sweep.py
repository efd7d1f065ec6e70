"""How much faster two Ray workers are than a serial sweep: 24 points over 4 specs of a simulated engine with a pace.

A local Ray instance on this machine. Given are the seconds from the first point to the end, and all with Ray's start.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from pytest_vllmperf.cli import sweep
from pytest_vllmperf.sweep.runner import Progress

STUDY = """\
iterations = 3
warmup = 0
replicates = 0
[engine]
model = "m"
backend = "simulated"
pace = 0.6
[workload]
requests = 32
input_tokens = 8
output_tokens = 4
[[axis]]
name = "max_num_seqs"
values = [8, 9, 10, 11]
[[axis]]
name = "concurrency"
values = [1, 2, 4, 8, 9, 10]
"""


def timed(path: Path, name: str, on_ray: sweep.OnRay | None) -> float:
    first: list[float] = []

    def points(_: sweep.Line, now: Progress) -> None:
        if now.doing != "starting workers" and not first:
            first.append(time.perf_counter())

    sweep.Line.points = points  # type: ignore[method-assign]
    begun = time.perf_counter()
    results = path.with_name(f"{name}.json")
    measured: list[float] = []
    original = sweep.Results.put

    def put(self: sweep.Results, *given: object) -> None:
        original(self, *given)  # type: ignore[arg-type]
        measured.append(time.perf_counter())

    sweep.Results.put = put  # type: ignore[method-assign]
    try:
        sweep.sweep(path, results, many=False, retry=False, show=False, on_ray=on_ray)
    finally:
        sweep.Results.put = original  # type: ignore[method-assign]
    starts = sum(point["started"] for point in json.loads(results.read_text())["points"])
    seconds = measured[-1] - first[0]
    if os.environ.get("BENCH_POINTS"):
        print([round(one - first[0], 1) for one in measured])
    print(f"{name}: {seconds:.1f} s for {len(measured)} points, {starts} engines started; "
          f"{time.perf_counter() - begun:.1f} s with all", flush=True)  # fmt: skip
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["VLLMPERF_LOCKS"] = folder
        path = Path(folder, "study.toml")
        path.write_text(STUDY)
        serial = timed(path, "serial", None)
        parallel = timed(path, "two workers", sweep.OnRay("local", 2))
    print(f"ratio: {parallel / serial:.2f} (load of this machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)")


if __name__ == "__main__":
    main()

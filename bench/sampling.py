"""What reading NVML 20 times a second costs an engine: iterations with and without, in turns, on one engine.

An 8B model keeps the GPU busy: its iterations vary by half a percent, those of smaller ones by several.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from pytest_vllmperf import EngineSpec, Workload
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.gpu import Sampler
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.engine import Sampling
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update

WORK = Workload.synthetic(requests=16, input_tokens=64, output_tokens=256)


def seconds(engine: Engine, uuids: tuple[str, ...], *, sampled: bool) -> float:
    """The span of one iteration on the engine's clock."""
    requests = WORK.requests(engine.facts.vocab_size, engine.facts.special_token_ids)
    with Sampler(uuids) if sampled else nullcontext():
        begin, end = engine.run(requests, Sampling(None, True, 0.0, 0)).span
    return end - begin


def ratios(engine: Engine, uuids: tuple[str, ...], pairs: int, limit: float) -> list[float]:
    """Log ratios with over without, pair by pair, until there are enough or the time is up."""
    for _ in range(5):
        seconds(engine, uuids, sampled=True)
    began, found = time.monotonic(), []
    while len(found) < pairs and (time.monotonic() - began < limit or len(found) < 2):
        order = (True, False) if len(found) % 2 else (False, True)
        spans = {sampled: seconds(engine, uuids, sampled=sampled) for sampled in order}
        found.append(float(np.log(spans[True] / spans[False])))
    return found


def main() -> None:
    """Print the cost with its 99 % interval."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=600, help="stop after so long")
    parser.add_argument("--model", default="vllmperf:llama-8b-awq")
    asked = parser.parse_args()
    settings = Settings(Update.NONE, Path(tempfile.mkdtemp()), DEFAULTS, 900.0, 600.0)
    perf = Lab(settings, lambda *_: None)
    try:
        target = perf.target(EngineSpec.create(asked.model, gpu_memory_utilization=0.8, max_model_len=1024), None)
        if not target.gpus:
            sys.exit("bench/sampling.py needs a GPU")
        with perf.engines([target]) as (engine,):
            found = ratios(engine, target.uuids, asked.pairs, asked.seconds)
    finally:
        perf.close()
    mean, error = float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(len(found)))
    half = float(scipy_stats.t.ppf(0.995, len(found) - 1)) * error
    print(f"sampling at 20 Hz: {mean:+.3%} [{mean - half:+.3%}, {mean + half:+.3%}] (99 % CI, {len(found)} pairs)")


if __name__ == "__main__":
    main()

"""What reading NVML 20 times a second costs an engine: iterations with and without, in turns, on one engine."""

from __future__ import annotations

import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from scipy import stats as scipy_stats

from pytest_vllmperf import EngineSpec, Workload
from pytest_vllmperf.engines.base import Engine, Sampling
from pytest_vllmperf.gpu import Sampler
from pytest_vllmperf.options import DEFAULTS, Settings, Update
from pytest_vllmperf.session.perf import PerfSession

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 30
MODEL = sys.argv[2] if len(sys.argv) > 2 else "vllmperf:qwen3-0.6b"
WORK = Workload.synthetic(requests=16, input_tokens=64, output_tokens=256)


def seconds(engine: Engine, uuids: tuple[str, ...], *, sampled: bool) -> float:
    """The span of one iteration on the engine's clock."""
    requests = WORK.requests(engine.facts.vocab_size, engine.facts.special_token_ids)
    with Sampler(uuids) if sampled else nullcontext():
        begin, end = engine.run(requests, Sampling(None, True, 0.0, 0)).span
    return end - begin


def main() -> None:
    """Print the cost with its 99 % interval."""
    settings = Settings(Update.NONE, Path(tempfile.mkdtemp()), DEFAULTS, 900.0, 600.0)
    perf = PerfSession(settings, lambda *_: None)
    try:
        target = perf.target(EngineSpec.create(MODEL, gpu_memory_utilization=0.5, max_model_len=1024), None)
        if not target.gpus:
            sys.exit("bench/sampling.py needs a GPU")
        uuids = target.key[1]
        with perf.engines([target]) as (engine,):
            for _ in range(5):
                seconds(engine, uuids, sampled=True)
            ratios = []
            for number in range(ROUNDS):
                order = (True, False) if number % 2 else (False, True)
                spans = {sampled: seconds(engine, uuids, sampled=sampled) for sampled in order}
                ratios.append(np.log(spans[True] / spans[False]))
    finally:
        perf.close()
    mean, error = float(np.mean(ratios)), float(np.std(ratios, ddof=1) / np.sqrt(len(ratios)))
    half = float(scipy_stats.t.ppf(0.995, len(ratios) - 1)) * error
    print(f"sampling at 20 Hz: {mean:+.3%} [{mean - half:+.3%}, {mean + half:+.3%}] (99 % CI, {ROUNDS} pairs)")


if __name__ == "__main__":
    main()

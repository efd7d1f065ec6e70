"""Our figures of a real server beside those of `vllm bench serve`: the same server, the same load, in turns.

    python -m bench.serving [--rounds N]

The server is `vllm serve` of the tiny model on this CPU. Both clients send completions of 64 random tokens that give 64
tokens each, eight at a time. The server's own counters say what came and went. These differences are left:

- Ours sends token ids, and has the server return those of the answer. The other sends text.
- Ours sends the same prompts in each round, after the prefix cache has been reset. The other has a seed for each round.
- Our TTFT counts from when a place was free, the other's from when a request was sent.

Prompts are shorter than a block, so the prefix cache finds nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

from bench.peers import stub
from pytest_vllmperf.engines.base import Serves
from pytest_vllmperf.lab.driving import Driver
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.loadgen.addresses import Address
from pytest_vllmperf.loadgen.scrape import MetricsWatch
from pytest_vllmperf.metrics.reduce import iteration_metrics
from pytest_vllmperf.records.served import ServerMetrics
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.measuring import TINY

REQUESTS, INPUT, OUTPUT, CONCURRENCY = 96, 64, 64, 8
WORK = Workload.synthetic(requests=REQUESTS, input_tokens=INPUT, output_tokens=OUTPUT, concurrency=CONCURRENCY)
FIGURES = {
    "output throughput (tokens/s)": ("output_throughput", "output_throughput", 1.0),
    "TTFT p50 (ms)": ("ttft.p50", "median_ttft_ms", 1e3),
    "TPOT p50 (ms)": ("tpot.p50", "median_tpot_ms", 1e3),
}
"""For a person: our metric, the field of the other's report, and what ours is multiplied by."""


@dataclass(frozen=True)
class Round:
    """What a client says of one round, and what the server's counters say of it."""

    figures: Mapping[str, float]
    output_tokens: int
    server: ServerMetrics


def ours(driver: Driver) -> Round:
    """One iteration, as `measure` makes it."""
    result = driver.iterate()
    assert result.served is not None
    assert result.served.server is not None
    assert not result.served.failures, result.served.failures
    metrics = iteration_metrics(result)
    figures = {name: metrics[own] * factor for name, (own, _, factor) in FIGURES.items()}
    return Round(figures, int(metrics["output_tokens"]), result.served.server)


def theirs(address: Address, seed: int) -> Round:
    """One run of `vllm bench serve`. Its warm-up requests count for the server, and not for its figures."""
    warmups = CONCURRENCY
    with tempfile.TemporaryDirectory() as folder:
        stub(Path(folder))
        options = {
            "--backend": "openai",
            "--base-url": f"http://{address.server.host}:{address.server.port}",
            "--model": address.model,
            "--dataset-name": "random",
            "--random-input-len": INPUT,
            "--random-output-len": OUTPUT,
            "--num-prompts": REQUESTS,
            "--max-concurrency": CONCURRENCY,
            "--num-warmups": warmups,
            "--seed": seed,
            "--result-dir": folder,
            "--result-filename": "result.json",
        }
        words = [str(word) for pair in options.items() for word in pair]
        command = [sys.executable, "-m", "vllm.entrypoints.cli.main", "bench", "serve", *words]
        own = {"PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        watch = MetricsWatch(address.server, address.api_key)
        watch.start()
        try:
            subprocess.run(
                [*command, "--ignore-eos", "--disable-tqdm", "--save-result"],
                env={**os.environ, **own, "OPENAI_API_KEY": address.api_key or ""},
                check=True,
                capture_output=True,
                text=True,
            )
        finally:
            seen = watch.stop()
        told = json.loads((Path(folder) / "result.json").read_text())
    assert told["completed"] == REQUESTS, told["completed"]
    assert seen.metrics is not None
    return Round(
        {name: told[field] for name, (_, field, _) in FIGURES.items()}, told["total_output_tokens"], seen.metrics
    )


def interval(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Ours over theirs: the mean of log ratios of the rounds, and its 95 % interval by Student's t."""
    logs = np.log(ours / theirs)
    half = stdtrit(len(logs) - 1, 0.975) * logs.std(ddof=1) / np.sqrt(len(logs))
    low, middle, high = np.exp([logs.mean() - half, logs.mean(), logs.mean() + half])
    return float(middle), float(low), float(high)


def counted(name: str, one: Round) -> None:
    """Print what the server counted, which has to be what was asked for."""
    server = one.server
    print(
        f"{name:18} output tokens {one.output_tokens} (asked for {REQUESTS * OUTPUT}); the server counted "
        f"{server.finished:g} requests, {server.prompt_tokens:g} prompt tokens ({server.prefix_hits:g} cached), "
        f"{server.generation_tokens:g} output tokens",
        flush=True,
    )


def run(rounds: int) -> None:
    """Print both clients' figures and their ratios."""
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Settings(Update.NONE, Path(folder), DEFAULTS, 600.0, 600.0), lambda *_: None)
        try:
            target = lab.target(EngineSpec.create("vllmperf:tiny", backend="serve", **TINY), None)
            with lab.engines([target]) as (engine,):
                assert isinstance(engine, Serves)
                driver, address = Driver(engine, WORK), engine.address
                compare([lambda _: ours(driver), lambda seed: theirs(address, seed)], rounds)
        finally:
            lab.close()


def compare(clients: list[Callable[[int], Round]], rounds: int) -> None:
    """Run both in the order A B B A, after one round that does not count, and print what they say."""
    names = ("ours", "vllm bench serve")
    for name, client in zip(names, clients, strict=True):
        counted(name, client(0))
    seen: tuple[list[Round], list[Round]] = ([], [])
    for number in range(rounds):
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            seen[side].append(clients[side](number + 1))
            told = ", ".join(f"{name} {value:.2f}" for name, value in seen[side][-1].figures.items())
            print(f"round {number + 1:2} {names[side]:18} {told}", flush=True)
    for name in FIGURES:
        a, b = (np.array([one.figures[name] for one in side]) for side in seen)
        middle, low, high = interval(a, b)
        medians = f"{np.median(a):.2f} beside {np.median(b):.2f}"
        print(f"{name:30} {medians:24} ours / theirs {middle:.4f}, 95 % {low:.4f} .. {high:.4f}   (goal: within 3 %)")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=8)
    run(parser.parse_args().rounds)


if __name__ == "__main__":
    main()

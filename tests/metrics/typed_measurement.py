"""What a user's editor and type checker know of a measurement. Never run: `nox -s lint` has mypy check it.

A name that does not exist has to be an error: mypy reports an `ignore` that nothing needs.
"""

from __future__ import annotations

from typing_extensions import assert_type

from pytest_vllmperf import Measurement, VllmPerf, VllmPerfSession, Workload
from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.metrics.distribution import Distribution, DistributionMetrics
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.requests import Requests


def what_is_there(vllmperf: VllmPerf, workload: Workload) -> None:
    run = vllmperf.measure(workload)
    assert_type(run, Measurement)
    assert_type(run.output_throughput, float)
    assert_type(run.load_time_cold, float)
    assert_type(run.joules_per_token, float)
    assert_type(run.ttft, Distribution)
    assert_type(run.itl.p50, float)
    assert_type(run.ttft.mean, float)
    assert_type(run.vram, VramLedger | None)
    assert_type(run.value("ttft.p50"), float)
    assert_type(run.requests, Requests)
    assert_type(run.requests.ttft, tuple[float | None, ...])
    assert_type(run.requests.error, tuple[str, ...])
    assert_type(Measurement.output_throughput, Metric)
    assert_type(Measurement.ttft, DistributionMetrics)


def what_a_session_has(vllmperf_session: VllmPerfSession, workload: Workload) -> None:
    engine = vllmperf_session.engine("model")
    assert_type(vllmperf_session.measure(workload, engine=engine, gpu=vllmperf_session.gpu("H200")), Measurement)
    vllmperf_session.check(vllmperf_session.measure(workload))  # type: ignore[attr-defined]


def what_is_not(run: Measurement) -> None:
    _ = run.throughput  # type: ignore[attr-defined]
    _ = run.ttft.p5  # type: ignore[attr-defined]
    _ = run.output_throughput.p50  # type: ignore[attr-defined]
    _ = run.ttft < 0.1  # type: ignore[operator]

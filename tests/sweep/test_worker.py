"""A worker of a sweep, without Ray around it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.leases import Leases
from pytest_vllmperf.sweep import worker as workers
from pytest_vllmperf.sweep.messages import OF_WORKER, STUDY, Doing, Finished, Job, Ready, Withdrawn
from pytest_vllmperf.sweep.study import read
from pytest_vllmperf.sweep.worker import Worker
from tests.sweep.conftest import CARD, ON_GPUS, Write

LONG_S = 30.0


@pytest.fixture
def worker(card: Callable[[int], Lab], write: Write, tmp_path: Path) -> Iterator[Worker]:
    card(0)
    here = Path.cwd()
    made = Worker(STUDY.dump_json(read(write(concurrency="[1, 2]"))).decode(), str(tmp_path), ON_GPUS)
    yield made
    made.stop()
    os.chdir(here)


def heard(worker: Worker, job: Job | None, last: type) -> list[Doing | Finished | Withdrawn]:
    """All that it says until something of a kind."""
    told: list[Doing | Finished | Withdrawn] = []
    until = time.monotonic() + LONG_S
    text = None if job is None else job.model_dump_json()
    while not any(isinstance(one, last) for one in told):
        assert time.monotonic() < until
        told += map(OF_WORKER.validate_json, worker.work(text, 0.5))
        text = None
    return told


def test_it_says_who_it_is(worker: Worker) -> None:
    ready = Ready.model_validate_json(worker.hello())
    assert ready.hardware == "NVIDIA GeForce RTX 4060 8 GiB, driver 565"
    assert ready.gpus == 1
    assert ready.versions["pytest-vllmperf"]


def test_a_point_and_one_more_engine_of_it(worker: Worker, write: Write, tmp_path: Path) -> None:
    worker = Worker(STUDY.dump_json(read(write(concurrency="[1, 2]"))).decode(), str(tmp_path))
    first = heard(worker, Job(settings={"concurrency": 1}), Finished)[-1]
    assert isinstance(first, Finished)
    assert first.result is not None
    assert first.result.started
    again = heard(worker, Job(settings={"concurrency": 1}, again=1), Finished)[-1]
    assert isinstance(again, Finished)
    assert len(again.samples) == 1
    assert not again.samples[0].cold_start
    worker.stop()


def test_it_waits_for_a_gpu_that_another_run_of_its_host_has(worker: Worker) -> None:
    other = Leases()
    assert other.take([CARD.uuid], 1)
    told = heard(worker, Job(settings={"concurrency": 1}), Doing)
    assert told[0].doing == f"waiting for {CARD.uuid}, which another run is measuring on"  # type: ignore[union-attr]
    assert not [one for one in told if isinstance(one, Finished)]
    other.release()
    assert isinstance(heard(worker, None, Finished)[-1], Finished)
    assert other.take([CARD.uuid], 1) is None
    worker.rest()
    assert other.take([CARD.uuid], 1)
    other.release()


def test_what_nobody_foresaw_is_told(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the roof is gone")

    monkeypatch.setattr("pytest_vllmperf.sweep.measuring.PointMeasurer.measured", broken)
    (told,) = heard(worker, Job(settings={"concurrency": 1}), Withdrawn)
    assert isinstance(told, Withdrawn)
    assert told.why == "internal error: RuntimeError: the roof is gone"


@pytest.mark.parametrize(("name", "value"), [("OMP_NUM_THREADS", "1"), ("PYTHONBREAKPOINT", "ray.util.rpdb.set_trace")])
def test_what_ray_has_set_for_engines_is_taken_back(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    given = Path("/proc/self/environ").read_bytes()
    if f"{name}=".encode() in given:
        pytest.skip(f"this run was started with {name}")
    monkeypatch.setenv(name, value)
    workers._restore_environment()
    assert name not in os.environ

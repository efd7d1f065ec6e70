"""Sweeps on several workers, here workers of this process: the same results as one after another."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError, EngineError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep.dealing import MOST_LOSSES
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.messages import STUDY, Doing, Event, Finished, Job, Lost, Ready, Starting, Withdrawn
from pytest_vllmperf.sweep.parallel import LOST, Listeners, ParallelRunner
from pytest_vllmperf.sweep.results import Results, opened
from pytest_vllmperf.sweep.runner import Progress, Runner
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import Study, read
from tests.sweep.conftest import ENGINE, Write

VERSIONS = {"pytest-vllmperf": "1", "Python": "3.11"}
NOISY = f"{ENGINE}noise = 0.9\nprefill_seconds_per_token = 0.0\nmax_num_seqs = 2\n"
GRID: dict[str, Any] = {"concurrency": "[1, 2, 4, 8, 16, 32]", "max_num_seqs": "[2, 4, 8, 16]"}
Fails = Callable[[int, Job], Event | None]


class FakeWorkers:
    """Workers that measure when they are asked; the latest job is answered first.

    A lost one is replaced while `spares` last.
    """

    def __init__(self, study: Study, lab: Lab, count: int = 2, fails: Fails | None = None, spares: int = 9) -> None:
        self.measurer = PointMeasurer(STUDY.validate_json(STUDY.dump_json(study)), lab)
        self.events: deque[Event] = deque([Starting(coming=count)])
        self.jobs: list[tuple[int, Job]] = []
        self.given: list[tuple[int, Job]] = []
        self.rests: list[int] = []
        self.fails, self.spares, self.fresh = fails or (lambda worker, job: None), spares, set[str]()
        self.hardware = ["a card"] * count
        self.events += [self.ready(number) for number in range(1, count + 1)]
        self.last = count

    def ready(self, number: int, **changed: Any) -> Ready:
        plain = {"host": f"host{number}", "hardware": "a card", "versions": VERSIONS, "nice": 0}
        return Ready(**{"worker": number, **plain, **changed})

    def event(self, timeout: float) -> Event | None:
        if self.events:
            return self.events.popleft()
        if not self.jobs:
            raise AssertionError("nobody has anything to do")
        worker, job = self.jobs.pop()
        if failed := self.fails(worker, job):
            if isinstance(failed, Lost) and self.spares:
                self.spares -= 1
                self.last += 1
                self.events.append(self.ready(self.last))
                return failed.model_copy(update={"coming": 1})
            return failed
        point = Point.of(job.settings)
        if job.again:
            return Finished(worker=worker, job=job, samples=self.measurer.once_more(point, self.fresh))
        return Finished(worker=worker, job=job, result=self.measurer.measured(point))

    def measure(self, worker: int, job: Job) -> None:
        self.given.append((worker, job))
        self.jobs.append((worker, Job.model_validate_json(job.model_dump_json())))

    def rest(self, worker: int) -> None:
        self.rests.append(worker)


class Sweep:
    """Runs a study on fake workers."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.told: list[Progress] = []
        self.notes: list[str] = []

    def run(self, path: Path, workers: FakeWorkers | None = None) -> list[PointResult]:
        study = read(path)
        listeners = Listeners(self.told.append, lambda doing, waited: None, self.notes.append)
        self.workers = workers or FakeWorkers(study, self.lab)
        with opened(study) as results:
            ParallelRunner(study, results, PointMeasurer(study, self.lab), self.workers, listeners).run()
            return list(results.points.values())

    def serial(self, path: Path) -> list[PointResult]:
        study = read(path, path.with_name("serial.json"))
        with opened(study) as results:
            Runner(study, results, PointMeasurer(study, self.lab), lambda now: None).run()
            return list(results.points.values())


@pytest.fixture
def sweep(lab: Lab) -> Sweep:
    return Sweep(lab)


def figures(results: list[PointResult]) -> list[Any]:
    """All but what depends on the clock and the host."""
    plain = [one.model_dump(exclude={"seconds", "started"}) for one in results]
    for one in plain:
        for engine in one["engines"]:
            engine["samples"] = {name: some for name, some in engine["samples"].items() if not name.startswith("host.")}
            engine.pop("cold_start"), engine["once"].pop("load_time.cold", None)
            engine["once"].pop("load_time.warm", None)
    return json.loads(json.dumps(plain))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("top", "axes"),
    [
        ("", GRID),
        ('mode = "one-at-a-time"\n', GRID),
        ('stages = ["max_num_seqs", "prefill_seconds_per_token"]\n',
         {"max_num_seqs": "[4, 32, 16]", "prefill_seconds_per_token": "[0.01, 0.0]", "concurrency": "[1, 8]"}),
        ("", {"fail": '["load", "", "run"]', "concurrency": "[1, 2, 4]"}),
    ],
)  # fmt: skip
def test_the_results_are_those_of_a_serial_sweep(sweep: Sweep, write: Write, top: str, axes: dict[str, str]) -> None:
    path = write(f"replicates = 0\n{top}", **axes)
    together = sweep.run(path)
    assert figures(together) == figures(sweep.serial(path))
    assert {worker for worker, _ in sweep.workers.given} == {1, 2}


def test_all_points_of_a_spec_go_to_one_worker(sweep: Sweep, write: Write) -> None:
    sweep.run(write(**GRID))
    owners: dict[Any, set[int]] = {}
    for worker, job in sweep.workers.given:
        owners.setdefault(job.settings["max_num_seqs"], set()).add(worker)
    assert len(owners) == 4
    assert all(len(who) == 1 for who in owners.values())


def test_idle_workers_give_their_devices_back(sweep: Sweep, write: Write) -> None:
    sweep.run(write(concurrency="[1, 2]"))
    assert sorted(sweep.workers.rests) == [1, 2]


def test_knees_are_measured_again_by_workers(sweep: Sweep, write: Write) -> None:
    results = sweep.run(write("replicates = 2\n", engine=NOISY, concurrency="[2, 4, 8, 16, 32]"))
    assert 1 < max(len(one.engines) for one in results) <= 3
    assert {job.again for _, job in sweep.workers.given} >= {0, 1}


def test_a_lost_workers_point_is_measured_by_another(sweep: Sweep, write: Write) -> None:
    path = write(**GRID)
    study, losses = read(path), []

    def die(worker: int, job: Job) -> Event | None:
        if worker == 1 and job.settings["concurrency"] == 4:
            losses.append(job)
            return Lost(worker=worker, why="its node died", coming=0)
        return None

    workers = FakeWorkers(study, sweep.lab, fails=die, spares=0)
    results = sweep.run(path, workers)
    assert len(losses) == 1
    assert all(one.sound for one in results)
    assert figures(results) == figures(sweep.serial(path))
    assert sweep.notes == ["host1: lost: its node died"]


def test_a_point_that_ends_its_workers_is_a_failed_point(sweep: Sweep, write: Write) -> None:
    path = write(**GRID)

    def poison(worker: int, job: Job) -> Event | None:
        poisonous = job.settings == {"concurrency": 2, "max_num_seqs": 4}
        return Lost(worker=worker, why="killed", coming=0) if poisonous else None

    results = sweep.run(path, FakeWorkers(read(path), sweep.lab, fails=poison))
    (failed,) = [one for one in results if not one.sound]
    assert failed.settings == {"concurrency": 2, "max_num_seqs": 4}
    assert failed.reason == LOST
    assert failed.detail.endswith("killed")
    assert len(sweep.notes) == MOST_LOSSES


def test_without_workers_the_finished_points_are_safe_and_the_sweep_goes_on(sweep: Sweep, write: Write) -> None:
    path = write(**GRID)

    def die(worker: int, job: Job) -> Event | None:
        return Lost(worker=worker, why="killed", coming=0) if job.settings["concurrency"] == 4 else None

    with pytest.raises(EngineError, match=r"no worker is left: killed; finished points are in .*study.results.json"):
        sweep.run(path, FakeWorkers(read(path), sweep.lab, fails=die, spares=0))
    assert 2 <= len(Results(read(path)).points) < 24
    assert figures(sweep.run(path)) == figures(sweep.serial(path))


def test_a_worker_without_a_device_leaves_its_points_to_others(sweep: Sweep, write: Write) -> None:
    path = write(**GRID)

    def none(worker: int, job: Job) -> Event | None:
        return Withdrawn(worker=worker, why="no GPU") if worker == 2 else None

    assert all(one.sound for one in sweep.run(path, FakeWorkers(read(path), sweep.lab, fails=none)))
    assert sweep.notes == ["host2: withdrawn: no GPU"]


@pytest.mark.parametrize(
    ("engine", "changed", "message"),
    [
        ('model = "m"\nbackend = "offline"\n', {"hardware": "another"}, "host1 has a card, and host2 has another"),
        (ENGINE, {"versions": {"pytest-vllmperf": "2"}}, "host2 has pytest-vllmperf 2; so their figures cannot stand"),
    ],
)
def test_workers_that_differ_are_refused(
    sweep: Sweep, write: Write, engine: str, changed: dict[str, Any], message: str
) -> None:
    path = write(engine=engine, workload="requests = 4\ninput_tokens = 8\noutput_tokens = 4\n", concurrency="[1, 2]")
    workers = FakeWorkers(read(path), sweep.lab)
    workers.events = deque([Starting(coming=2), workers.ready(1), workers.ready(2, **changed)])
    workers.fails = lambda worker, job: None
    with pytest.raises(EngineError, match=message):
        sweep.run(path, workers)


def test_results_of_other_hardware_are_refused(sweep: Sweep, write: Write) -> None:
    path = write(concurrency="[1, 2]")
    with opened(read(path)) as results:
        results.put(Point.of({"concurrency": 1}), PointResult(settings={"concurrency": 1}, profile="nvidia-h200"))
    with pytest.raises(BaselineError, match="were measured on nvidia-h200, and this is simulated"):
        sweep.run(path)


def test_a_worker_of_low_priority_is_told(sweep: Sweep, write: Write) -> None:
    path = write(engine='model = "m"\nbackend = "offline"\n', concurrency="[1]")
    workers = FakeWorkers(read(path), sweep.lab)
    workers.events = deque([Starting(coming=1), workers.ready(1, nice=15)])
    workers.fails = lambda worker, job: Withdrawn(worker=worker, why="enough")
    with pytest.raises(EngineError, match="enough"):
        sweep.run(path, workers)
    assert sweep.notes[0].startswith("host1: Ray runs its workers with niceness 15")


@pytest.mark.parametrize(("host", "gpus", "told"), [("host1", 1, 1), ("host2", 1, 0), ("host1", 0, 0)])
def test_gpus_that_share_a_host_are_told_once(sweep: Sweep, write: Write, host: str, gpus: int, told: int) -> None:
    path = write(engine='model = "m"\nbackend = "offline"\n', concurrency="[1]")
    workers = FakeWorkers(read(path), sweep.lab)
    ready = [workers.ready(number, host=host if number > 1 else "host1", gpus=gpus) for number in (1, 2)]
    third = workers.ready(3, host="host1" if told else "host3", gpus=gpus)
    workers.events = deque([Starting(coming=3), *ready, third, Withdrawn(worker=1, why="enough")])
    workers.fails = lambda worker, job: Withdrawn(worker=worker, why="enough")
    with pytest.raises(EngineError, match="enough"):
        sweep.run(path, workers)
    assert sum("host1: its workers measure at the same time" in note for note in sweep.notes) == told


def test_what_several_workers_do_is_told_apart(sweep: Sweep, write: Write) -> None:
    told: list[tuple[str, float]] = []
    path = write(concurrency="[1, 2]")
    study = read(path)
    workers = FakeWorkers(study, sweep.lab)
    workers.events += [Doing(worker=number, doing="m: starting", waited=20) for number in (1, 2)]
    listeners = Listeners(lambda now: None, lambda doing, waited: told.append((doing, waited)), sweep.notes.append)
    with opened(study) as results:
        ParallelRunner(study, results, PointMeasurer(study, sweep.lab), workers, listeners).run()
    assert told == [("worker 1: m: starting", 20), ("worker 2: m: starting", 20)]


def test_time_left_accounts_for_the_workers(sweep: Sweep, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "pytest_vllmperf.sweep.plan.seconds_left", lambda done, rest, load: seen.append(rest.workers) or 1.0
    )
    sweep.run(write(**GRID))
    assert max(seen) == 2
    assert seen[-1] == 1

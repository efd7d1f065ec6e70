"""The runner: engines start once, what fails is a result, and what is done is never measured again."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError, EngineError, EngineStartError, SpecError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.storage import atomic
from pytest_vllmperf.sweep import failures
from pytest_vllmperf.sweep.findings import findings
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.results import Results, opened
from pytest_vllmperf.sweep.runner import Progress, Runner
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import read
from tests.sweep.conftest import ENGINE, Write

Sweep = Callable[[Path], Sequence[PointResult]]


@pytest.fixture
def told() -> list[Progress]:
    return []


@pytest.fixture
def sweep(lab: Lab, told: list[Progress]) -> Sweep:
    def sweep(path: Path) -> Sequence[PointResult]:
        study = read(path)
        with opened(study) as results:
            Runner(study, results, PointMeasurer(study, lab), told.append).run()
            return list(results.points.values())

    return sweep


GRID: dict[str, Any] = {"concurrency": "[1, 2, 4, 8, 16, 32]", "max_num_seqs": "[2, 4, 8, 16]"}


def test_24_points_over_4_specs_start_4_engines(sweep: Sweep, write: Write, starts: list[str]) -> None:
    results = sweep(write(**GRID))
    assert len(results) == 24
    assert all(one.sound for one in results)
    assert len(starts) == len(set(starts)) == 4
    assert sum(one.started for one in results) == 4


def test_a_point_keeps_its_samples(sweep: Sweep, write: Write) -> None:
    (one,) = sweep(write(concurrency="[4]"))
    assert len(one.samples("output_throughput")[0]) == 3
    assert (one.requests, one.profile, one.versions) == (32, "simulated", {"vllm": "simulated"})
    stored = json.loads((write().parent / "study.results.json").read_text(encoding="utf-8"))
    assert len(stored["points"][0]["engines"][0]["samples"]["ttft.p50"]) == 3


def test_an_engine_that_does_not_start_is_tried_once_and_the_rest_goes_on(
    sweep: Sweep, write: Write, starts: list[str]
) -> None:
    results = sweep(write(fail='["load", ""]', concurrency="[1, 2, 4]"))
    assert [one.reason for one in results] == ["did not start"] * 3 + [""] * 3
    assert "scripted failure" in results[0].detail
    assert len(starts) == 2


def test_an_engine_that_dies_is_started_again_for_the_next_point(sweep: Sweep, write: Write, starts: list[str]) -> None:
    results = sweep(write(engine=f'{ENGINE}fail = "run"', concurrency="[1, 2]"))
    assert [one.reason for one in results] == ["engine died"] * 2
    assert len(starts) == 2


def test_a_workload_that_does_not_fit_fails_its_own_point(sweep: Sweep, write: Write) -> None:
    results = sweep(write(max_model_len="[8, 64]"))
    assert [one.reason for one in results] == ["workload does not fit", ""]


def test_a_void_point_says_why(sweep: Sweep, write: Write, told: list[Progress]) -> None:
    (one,) = sweep(write(engine=f'{ENGINE}fail = "short"', concurrency="[1]"))
    assert not one.sound
    assert one.words == "void: length"
    assert told[-1].failed == 1


def test_a_killed_sweep_goes_on_where_it_was(
    sweep: Sweep, write: Write, starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Results.put

    def killed(self: Results, point: Point, result: PointResult) -> None:
        put(self, point, result)
        if len(self.points) == 7:
            raise KeyboardInterrupt

    path = write(**GRID)
    with monkeypatch.context() as patch:
        patch.setattr(Results, "put", killed)
        with pytest.raises(KeyboardInterrupt):
            sweep(path)
    measured: list[Point] = []
    monkeypatch.setattr(Results, "put", lambda self, point, one: (measured.append(point), put(self, point, one)))
    results = sweep(path)
    assert len(results) == 24
    assert len(measured) == len(set(measured)) == 17


def test_a_full_disk_leaves_the_finished_points(sweep: Sweep, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    real, writes = atomic.write_text, []

    def full(path: Path, text: str) -> bool:
        writes.append(path)
        if len(writes) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, text)

    path = write(concurrency="[1, 2, 4]")
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_text", full)
        with pytest.raises(BaselineError, match=r"cannot be written: No space left.*points in it are safe"):
            sweep(path)
    assert len(Results(read(path)).points) == 2
    assert len(sweep(path)) == 3


def test_stages_fix_the_best_value_on_the_way(sweep: Sweep, write: Write) -> None:
    top = 'stages = ["max_num_seqs", "prefill_seconds_per_token"]\n'
    results = sweep(write(top, max_num_seqs="[4, 32, 16]", prefill_seconds_per_token="[0.01, 0.0]"))
    found = [tuple(one.settings.values()) for one in results]
    assert found == [(4, 0.01), (32, 0.01), (16, 0.01), (32, 0.0)]


def test_a_knee_that_is_not_decided_is_measured_again_within_bounds(
    sweep: Sweep, write: Write, starts: list[str]
) -> None:
    noisy = f"{ENGINE}noise = 0.9\nprefill_seconds_per_token = 0.0\nmax_num_seqs = 2\n"
    results = sweep(write("replicates = 2\n", engine=noisy, concurrency="[2, 4, 8, 16, 32]"))
    assert max(len(one.engines) for one in results) > 1
    assert max(len(one.engines) for one in results) <= 3
    assert len(starts) == max(len(one.engines) for one in results)


def test_without_replicates_nothing_is_measured_again(sweep: Sweep, write: Write, starts: list[str]) -> None:
    noisy = f"{ENGINE}noise = 0.9\nprefill_seconds_per_token = 0.0\nmax_num_seqs = 2\n"
    results = sweep(write("replicates = 0\n", engine=noisy, concurrency="[2, 4, 8, 16, 32]"))
    assert {len(one.engines) for one in results} == {1}
    assert len(starts) == 1


def test_progress_counts_points_and_tells_what_is_left(sweep: Sweep, write: Write, told: list[Progress]) -> None:
    sweep(write(fail='["load", ""]', concurrency="[1, 2]"))
    assert [(one.done, one.total, one.failed) for one in told] == [
        (0, 4, 0),
        (1, 4, 1),
        (2, 4, 2),
        (3, 4, 2),
        (4, 4, 2),
    ]
    assert told[0].left is None
    assert told[3].left is not None
    assert told[3].doing == "fail= concurrency=2"


def test_other_hardware_is_refused(sweep: Sweep, write: Write, lab: Lab) -> None:
    path = write(concurrency="[1, 2]")
    study = read(path)
    with opened(study) as results:
        results.put(Point.of({"concurrency": 1}), PointResult(settings={"concurrency": 1}, profile="nvidia-h200"))
    with pytest.raises(BaselineError, match="were measured on nvidia-h200, and this is simulated"):
        sweep(path)


def test_memory_is_named_in_the_reason(sweep: Sweep, write: Write, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EngineStartError("m: ValueError: No available memory for the cache blocks.")

    monkeypatch.setattr(lab, "measure", refuse)
    (one,) = sweep(write(concurrency="[1]"))
    assert one.reason == "out of memory"
    assert failures.reason(EngineStartError("x", "torch.OutOfMemoryError: CUDA out")) == "out of memory"


def test_devices_that_cannot_be_had_end_the_sweep(
    sweep: Sweep, write: Write, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise EngineError("no lease on GPU 0 within 1 s")

    path = write(concurrency="[1]")
    monkeypatch.setattr(lab, "target", refuse)
    with pytest.raises(EngineError, match="no lease"):
        sweep(path)
    assert Results(read(path)).points == {}


def test_what_may_be_gone_is_measured_again_once_on_a_fresh_engine(
    sweep: Sweep, write: Write, lab: Lab, starts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure, takes = lab.measure, []

    def void_at_first(*given: Any) -> Any:
        takes.append(given)
        problems = (Problem("clocks", "the clock fell"),) if len(takes) == 1 else ()
        return replace(measure(*given), problems=problems)

    monkeypatch.setattr(lab, "measure", void_at_first)
    (one,) = sweep(write(concurrency="[1]"))
    assert one.sound
    assert (len(takes), len(starts)) == (2, 2)


def test_ten_planted_knees_are_found_within_one_step(lab: Lab, write: Write) -> None:
    axes = {
        "max_num_seqs": "[2, 4, 8, 16, 32]",
        "prefill_seconds_per_token": "[0.0, 0.002]",
        "concurrency": "[1, 2, 4, 8, 16, 32, 64]",
    }
    workload = "requests = 64\ninput_tokens = 8\noutput_tokens = 4\n"
    loads = [1, 2, 4, 8, 16, 32, 64]

    def knees(noise: float, seeds: str) -> dict[tuple[Any, ...], float]:
        study = read(write("replicates = 0\n", f"{ENGINE}noise = {noise}\n", workload, **axes, seed=seeds))
        with opened(replace(study, results=study.results.with_name(f"{noise}.json"))) as results:
            Runner(study, results, PointMeasurer(study, lab), lambda now: None).run()
            return {tuple(knee.others.values()): knee.load for knee in findings(study, results.points).knees}

    planted = {key[:2]: load for key, load in knees(0.0, "[0]").items()}
    found = knees(0.3, "[1, 2, 3]")
    assert (len(planted), len(found)) == (10, 30)
    near = [abs(loads.index(load) - loads.index(planted[key[:2]])) <= 1 for key, load in found.items()]
    assert sum(near) >= 0.95 * len(near)
    assert len(set(planted.values())) >= 5


def test_an_engine_that_cannot_be_measured_with_an_argument_fails_its_own_point(
    sweep: Sweep, write: Write, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = lab.target

    def refuse(spec: EngineSpec, requirement: None) -> Target:
        if spec.args["max_num_seqs"] == 8:
            raise SpecError("m: max_num_seqs=8 cannot be measured")
        return target(spec, requirement)

    monkeypatch.setattr(lab, "target", refuse)
    results = sweep(write(max_num_seqs="[4, 8, 16]"))
    assert [one.reason for one in results] == ["", "failed", ""]

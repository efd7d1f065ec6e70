"""A sweep of real engines on the CPU build: two specs, four points, and one that cannot start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.sweep.findings import findings
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.results import opened
from pytest_vllmperf.sweep.runner import Runner
from pytest_vllmperf.sweep.study import read

from .conftest import TINY, perf

__all__ = ["perf"]

STUDY = """\
iterations = 2
warmup = 1
replicates = 0

[engine]
model = "vllmperf:tiny"
{engine}

[workload]
requests = 8
input_tokens = 16
output_tokens = 8

[[axis]]
name = "max_num_seqs"
values = [1, 8]

[[axis]]
name = "concurrency"
values = [1, 8]
"""


@pytest.mark.long
def test_four_points_over_two_specs_start_two_engines(perf: Lab, tmp_path: Path) -> None:
    arguments = {name: value for name, value in TINY.items() if name != "max_num_seqs"}
    path = tmp_path / "study.toml"
    engine = "\n".join(f"{name} = {json.dumps(value)}" for name, value in arguments.items())
    path.write_text(STUDY.format(engine=engine), encoding="utf-8")
    study = read(path)
    with opened(study) as results:
        Runner(study, results, PointMeasurer(study, perf), lambda now: None).run()
        points = {tuple(one.settings.values()): one for one in results.points.values()}
        found = findings(study, results.points)
    assert len(points) == 4
    assert all(one.sound for one in points.values()), [one.words for one in points.values()]
    assert sum(one.started for one in points.values()) == 2
    assert {len(one.samples("output_throughput")[0]) for one in points.values()} == {2}
    assert points[8, 8].value("engine_steps") < points[1, 8].value("engine_steps")  # type: ignore[operator]
    assert found.front


def test_an_engine_without_room_for_its_cache_is_a_result(perf: Lab, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    engine = 'dtype = "float32"\nenforce_eager = true\nmax_model_len = 512'
    text = STUDY.format(engine=engine).split("[[axis]]")[0]
    path.write_text(f'{text}\n[[axis]]\nname = "kv_cache_memory_bytes"\nvalues = [4096]\n', encoding="utf-8")
    study = read(path)
    with opened(study) as results:
        Runner(study, results, PointMeasurer(study, perf), lambda now: None).run()
        (one,) = results.points.values()
    assert one.reason == "out of memory", one.detail

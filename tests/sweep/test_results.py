"""The results file: one study's, of one schema, one sweep at a time."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.lab.environment import _gpu_profile
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.sweep import results as kept
from pytest_vllmperf.sweep.results import FORMAT, Results, opened
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import Study, read
from tests.sweep.conftest import ENGINE, Write

ENGINES = (EngineSamples(discarded=0, iterations=2, samples={"output_throughput": [10.0, 11.5]}),)


@pytest.fixture
def study(write: Write) -> Study:
    return read(write(max_num_seqs="[4, 8]", concurrency="[1, 2]"))


def put(study: Study, **settings: int) -> Point:
    with opened(study) as results:
        results.put(Point.of(settings), PointResult(settings=settings, engines=ENGINES))
    return Point.of(settings)


def test_points_come_back_as_they_were(study: Study) -> None:
    point = put(study, max_num_seqs=8, concurrency=2)
    with opened(study) as results:
        (found,) = results.points.items()
    assert found == (point, PointResult(settings={"max_num_seqs": 8, "concurrency": 2}, engines=ENGINES))
    assert list(found[1].settings) == ["max_num_seqs", "concurrency"]


def test_a_file_is_laid_out_as_all_others_are(study: Study) -> None:
    put(study, max_num_seqs=8, concurrency=2)
    put(study, max_num_seqs=4, concurrency=1)
    content = FORMAT.read(study.results)
    assert content is not None
    assert len(content.points) == 2
    assert study.results.read_text(encoding="utf-8") == FORMAT.encoded(study.results, content)


def test_results_of_another_study_are_refused_with_what_differs(study: Study, write: Write) -> None:
    put(study, max_num_seqs=8, concurrency=2)
    other = read(write(engine=f"{ENGINE}seed = 3", max_num_seqs="[4, 8]", concurrency="[1, 2]"))
    with pytest.raises(BaselineError, match=r"results of another study \(engine differ\); name another file"):
        Results(other)


def changed(study: Study, **entries: object) -> None:
    content = json.loads(study.results.read_text(encoding="utf-8"))
    study.results.write_text(json.dumps({**content, **entries}), encoding="utf-8")


def test_an_older_schema_is_refused_in_one_line(study: Study) -> None:
    put(study, max_num_seqs=8, concurrency=2)
    changed(study, version=0)
    with pytest.raises(BaselineError, match="schema version 0 is not 1; this release cannot go on with it") as caught:
        Results(study)
    assert "\n" not in str(caught.value)


def test_a_file_of_another_kind_or_cut_short_is_refused(study: Study) -> None:
    study.results.write_text('{"schema": "pytest-vllmperf/scorecard", "version": 1}', encoding="utf-8")
    with pytest.raises(BaselineError, match="not a results file of a sweep"):
        Results(study)
    study.results.write_text('{"schema": "pytest-vllm', encoding="utf-8")
    with pytest.raises(BaselineError, match="not JSON, or cut short"):
        Results(study)


def test_points_that_cannot_be_are_refused(study: Study) -> None:
    put(study, max_num_seqs=8, concurrency=2)
    changed(study, points=[{"settings": {"concurrency": 2}}])
    with pytest.raises(BaselineError, match="concurrency=2 has other axes than the study"):
        Results(study)
    bad = json.loads(ENGINES[0].model_dump_json())
    bad["samples"]["output_throughput"] = [-1.0, 2.0]
    changed(study, points=[{"settings": {"max_num_seqs": 8, "concurrency": 2}, "engines": [bad]}])
    with pytest.raises(BaselineError, match="output_throughput: engine 1, sample 1"):
        Results(study)


def test_a_second_sweep_on_one_file_is_refused(study: Study) -> None:
    with opened(study), pytest.raises(BaselineError, match="another sweep writes into it"):
        opened(study).__enter__()
    with opened(study):
        pass
    assert not list(study.results.parent.glob(".*.lock"))


def test_a_folder_that_is_not_there_is_one_line(write: Write, tmp_path: Path) -> None:
    study = read(write(concurrency="[1]"), tmp_path / "none" / "r.json")
    with pytest.raises(BaselineError, match=r"r.json: cannot be written: No such file"):
        opened(study).__enter__()


def test_points_that_failed_or_are_void_can_be_forgotten(study: Study) -> None:
    put(study, max_num_seqs=8, concurrency=2)
    with opened(study) as results:
        settings = {"max_num_seqs": 4, "concurrency": 1}
        results.put(Point.of(settings), PointResult(settings=settings, reason="did not start"))
        void = {"max_num_seqs": 4, "concurrency": 2}
        samples = results.points[Point.of({"max_num_seqs": 8, "concurrency": 2})].engines
        problems = (Problem("clocks", "the clock fell"),)
        results.put(Point.of(void), PointResult(settings=void, engines=samples, problems=problems))
        results.forget_failed()
        assert [point.values for point in results.points] == [{"max_num_seqs": 8, "concurrency": 2}]


def of(engine: str = "4", profile: str = "", **told: Any) -> PointResult:
    return PointResult(
        settings={"max_num_seqs": engine, "concurrency": 1, **told.pop("more", {})}, profile=profile, **told
    )


def kept_together(study: Study, *points: PointResult) -> None:
    with opened(study) as results:
        for place, one in enumerate(points):
            settings = {**one.settings, "concurrency": place}
            results.put(Point.of(settings), one.model_copy(update={"settings": settings}))


def test_the_number_of_gpus_is_no_other_hardware(study: Study) -> None:
    kept_together(study, of(profile=_gpu_profile(["H200"])), of(profile=_gpu_profile(["H200"] * 2)))
    with pytest.raises(BaselineError, match="were measured on h200, and this is 2-x-h100; name another file"):
        kept_together(study, of(profile=_gpu_profile(["H100"] * 2)))


def test_points_of_another_version_of_vllm_are_refused(study: Study) -> None:
    old, new = {"vllm": "0.31.0", "torch": "2.9"}, {"vllm": "0.32.0", "torch": "2.9", "numba": "1"}
    with pytest.raises(
        BaselineError, match=r"were measured with vllm 0\.31\.0, and this is vllm 0\.32\.0; name another"
    ):
        kept_together(study, of(versions=old), of(versions=new))
    with opened(study) as results:
        assert len(results.points) == 1


@pytest.mark.parametrize("axis", ["python", "backend"])
def test_values_of_an_axis_may_have_versions_of_their_own(study: Study, axis: str) -> None:
    first, second = of(versions={"vllm": "1"}, more={axis: "a"}), of(versions={"vllm": "2"}, more={axis: "b"})
    with opened(study) as results:
        results.put(Point.of(first.settings), first)
        results.put(Point.of(second.settings), second)
        third = of("8", versions={"vllm": "3"}, more={axis: "b"})
        with pytest.raises(BaselineError, match="with vllm 2, and this is vllm 3"):
            results.put(Point.of(third.settings), third)


def test_a_study_that_would_not_fit_is_refused_at_its_first_point(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LIMIT", 1000)
    with pytest.raises(BaselineError, match="with 4 points like this one it would become larger"):
        put(study, max_num_seqs=8, concurrency=2)


def test_no_secret_is_stored(write: Write) -> None:
    study = read(write(engine=f'{ENGINE}hf_token = "hf_verysecret"\n', concurrency="[1, 2]"))
    put(study, concurrency=1)
    assert "hf_verysecret" not in study.results.read_text(encoding="utf-8")


def test_what_a_killed_sweep_left_of_a_write_is_removed(study: Study) -> None:
    left = study.results.with_name(".vllmperf-0123456789abcdef.tmp")
    left.write_text("half", encoding="utf-8")
    os.utime(left, (1, 1))
    put(study, max_num_seqs=8, concurrency=2)
    assert not left.exists()

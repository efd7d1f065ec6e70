"""`vllmperf.fit`: the limit of an engine in a test, ready to measure; what is refused is one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf import load

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

FIT = """
def test_limit(vllmperf):
    own = vllmperf.engine("sim", backend="simulated", max_num_seqs=4, **{engine})
    limit = vllmperf.fit(own, **{given})
    print("limit", limit.max_model_len, limit.kv_cache_memory_bytes, limit.gpu_memory_utilization)
    print("marker", limit.marker)
    print("outcomes", *sorted({{one.outcome for one in limit.tries}}))
    assert vllmperf.measure(WORK, engine=limit.spec).output_throughput > 0
"""
CACHE = {"kv_cache_memory_bytes": 4_000_000}


def _fits(project: Project, engine: dict[str, object], **given: object) -> None:
    project.module(FIT.format(engine=engine, given=given))


def test_the_limit_is_an_engine_to_measure(project: Project, workers: list[str]) -> None:
    _fits(project, CACHE, max_model_len=(3072, 4096))
    result = project.run("--vllmperf", "--vllmperf-json=run.json", "-rP", *workers)
    result.assert_outcomes(passed=1)
    (test,) = load(project.root / "run.json").tests
    assert [(one.max_model_len, one.kv_cache_memory_bytes) for one in test.fits] == [(3840, 4_000_000)]
    assert {one.outcome for one in test.fits[0].tries} == {"works", "too little"}
    assert f"marker {test.fits[0].marker}" in result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "limit 3840 4000000 None",
            'marker @pytest.mark.vllm("sim", backend="simulated", kv_cache_memory_bytes=4000000, max_model_len=3840, *',
            "outcomes too little works",
        ]
    )


def test_the_markers_engine(project: Project) -> None:
    project.module(
        '@pytest.mark.vllm("sim", backend="simulated", max_num_seqs=2, max_model_len=1024)\n'
        "def test_limit(vllmperf):\n"
        "    assert vllmperf.fit(kv_cache_memory_bytes=(1, 2**21)).kv_cache_memory_bytes == 2**21\n"
    )
    project.run("--vllmperf").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("engine", "given", "named"),
    [
        (CACHE, {"max_model_len": (900, 100)}, "max_model_len: the smallest value, 900, is above the largest"),
        (
            {**CACHE, "fail": "load"},
            {"max_model_len": (128, 256)},
            "nothing works with max_model_len 128 to 256; the last",
        ),
        ({**CACHE, "max_model_len": 128}, {}, "leave out what is to be found"),
    ],
)
def test_what_is_refused_is_one_line(
    project: Project, engine: dict[str, object], given: dict[str, object], named: str
) -> None:
    _fits(project, engine, **given)
    result = project.run("--vllmperf", "-rf")
    result.assert_outcomes(failed=1)
    told = " ".join(" ".join(line.split()) for line in result.outlines)
    assert named in told
    assert "Traceback" not in told


def test_without_an_engine(project: Project) -> None:
    project.module("def test_limit(vllmperf):\n    vllmperf.fit()\n")
    result = project.run("--vllmperf", "-rf")
    result.assert_outcomes(failed=1)
    assert "no engine; mark the test with" in " ".join(" ".join(line.split()) for line in result.outlines)


def test_something_that_is_no_engine(project: Project) -> None:
    project.module('def test_limit(vllmperf):\n    vllmperf.fit("sim")\n')
    result = project.run("--vllmperf", "-rf")
    result.assert_outcomes(failed=1)
    assert "fit() takes engines made by vllmperf.engine(...)" in " ".join(" ".join(result.outlines).split())

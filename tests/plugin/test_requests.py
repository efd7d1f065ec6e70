"""Single requests of a run: a test reads them, and the file of `--vllmperf-json` has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.records import requests
from tests.interpreters import interpreter
from tests.plugin.test_json import FLAG, MARK, written

if TYPE_CHECKING:
    from tests.plugin.conftest import Project
    from tests.plugin.service import Service

# Four requests in each iteration; the engine makes all of them at once, in steps of 10 ms.
READS = f"""
{MARK}
def test_chat(vllmperf):
    found = vllmperf.measure(WORK, iterations=3).requests
    assert len(found) == 12 and found.left_out == 0
    assert found.engine == (1,) * 12
    assert found.iteration == (1,) * 4 + (2,) * 4 + (3,) * 4
    assert found.request == (0, 1, 2, 3) * 3
    assert found.started == (0.0,) * 12
    assert found.tpot == (0.01,) * 12
    assert all(found.ttft[row] + 4 * 0.01 == pytest.approx(found.e2e[row]) for row in range(12))
    assert found.prompt_tokens == (8,) * 12 and found.output_tokens == (5,) * 12
    assert set(found.error) == {{""}}
    frame = found.frame(library="pandas")
    assert list(frame["tpot"]) == [0.01] * 12 and frame["error"].isna().all()
    assert "12 requests of 1 engine starts, 0 failed" in repr(found)
"""


def test_a_test_reads_them(project: Project, workers: list[str]) -> None:
    project.module(READS)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK  # to read them is to look at the measurement


def test_the_snippet_of_the_page_runs(project: Project) -> None:
    page = (Path(__file__).parents[2] / "docs" / "machine-readable.md").read_text(encoding="utf-8")
    _of_a_file, snippet = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    project.module(
        f"WORKLOAD = WORK\n{MARK}\n{snippet}    assert list(slowest['e2e']) == sorted(requests.e2e)[-10:][::-1]"
    )
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_file_has_those_of_every_engine_start(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.run("--vllmperf-update", FLAG, *workers)
    ((_, check),) = written(project).checks
    assert [len(start.requests or ()) for start in check.engines] == [40, 40, 40]
    found = check.requests
    assert (len(found), found.left_out) == (120, 0)
    assert [found.engine.count(start) for start in (1, 2, 3)] == [40, 40, 40]
    medians = check.metrics["ttft.p50"].samples
    assert set(found.ttft) == {value for samples in medians for value in samples}
    assert [start.timeline for start in check.engines] == [None] * 3  # on no GPU
    # A baseline stores none of it.
    assert {"requests", "timeline", "details"}.isdisjoint({*project.engine(), *project.stored()["test_chat"]})


def test_measurements_that_nobody_checked_have_them_too(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0")
    project.run("--vllmperf", FLAG, *workers)
    (measured,) = written(project).tests[0].measurements
    assert len(measured.requests) == 40
    assert len(written(project).frame("requests", library="pandas")) == 40


def test_of_many_requests_a_part_is_kept_and_the_rest_counted(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "MOST", 30)
    project.perf_tests()
    project.run("--vllmperf-update", FLAG)
    ((_, check),) = written(project).checks
    assert [len(start.requests or ()) for start in check.engines] == [10, 10, 10]
    assert check.requests.left_out == 90
    assert check.requests.iteration == tuple(range(1, 11)) * 3


def test_requests_that_a_server_failed_say_why(service: Service, workers: list[str]) -> None:
    service.conduct({}, {"fault": "500"}, {})
    service.chat(then="assert run.requests.error.count('') == 4")
    service.project.run("--vllmperf", FLAG, *workers)
    (test,) = written(service.project).tests
    assert test.outcome == "passed", test.message
    found = test.measurements[0].requests
    assert sorted(found.error) == ["", "", "", "", *["status: HTTP 500: scripted failure"] * 2]
    for row, error in enumerate(found.error):
        assert (found.ttft[row] is None) is bool(error)
        assert found.started[row] is not None
    assert min(value for value in found.ttft if value is not None) >= 0.03


def test_a_reference_has_its_own(
    project: Project, tmp_path_factory: pytest.TempPathFactory, workers: list[str]
) -> None:
    stable = interpreter(tmp_path_factory.mktemp("stable") / "env")
    project.perf_tests()
    project.run("--vllmperf", f"--vllmperf-against={stable}", FLAG, *workers)
    ((_, check),) = written(project).checks
    assert check.reference is not None
    assert [len(start.requests or ()) for start in check.reference.engines] == [40] * len(check.engines)


def test_without_a_file_no_test_hands_them_on(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("nobody asked for a file")

    monkeypatch.setattr("pytest_vllmperf.checking.reported.request_columns", refuse)
    project.perf_tests()
    project.record()


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_the_points_of_a_sweep_are_named(project: Project, workers: list[str]) -> None:
    project.module(f"""
{MARK}
@pytest.mark.sweep(max_num_seqs=[1, 4])
def test_steps(vllmperf):
    assert vllmperf.measure(WORK).engine_steps > 0

{MARK}
def test_other(vllmperf):
    assert vllmperf.measure(WORK).engine_steps > 0
""")
    project.run("--vllmperf", FLAG, *workers)
    found = {test.nodeid.partition("::")[2]: test.point for test in written(project).tests}
    assert found == {
        "test_steps[max_num_seqs=1]": {"max_num_seqs": 1},
        "test_steps[max_num_seqs=4]": {"max_num_seqs": 4},
        "test_other": {},
    }

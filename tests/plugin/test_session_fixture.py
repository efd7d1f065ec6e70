"""`vllmperf_session`: a measurement that several tests share; alone and under xdist."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.gpu import GpuDevice
from tests.interpreters import interpreter
from tests.plugin.test_json import FLAG, written

if TYPE_CHECKING:
    from tests.plugin.conftest import Project
    from tests.plugin.service import Service

MEASURED = """
@pytest.fixture(scope="{scope}")
def measured(vllmperf_session):
    print("MEASURED")
    engine = vllmperf_session.engine("sim", backend="simulated", step_seconds={step})
    return vllmperf_session.measure(WORK, engine=engine{more})
"""
ASSERTS = """
def test_first(measured):
    assert measured.tpot.p50 == pytest.approx({step})

def test_second(measured):
    assert measured.ttft.p50 > 0
"""
CHECKS = """
def test_first(vllmperf, measured):
    vllmperf.check(measured)

def test_second(vllmperf, measured):
    vllmperf.check(measured, gate="tpot.p50")
"""


def module(
    project: Project, tests: str = ASSERTS, *, scope: str = "session", step: float = 0.01, more: str = ""
) -> None:
    project.module((MEASURED + tests).format(scope=scope, step=step, more=more))


def test_it_is_measured_once_and_asserted_in_several_tests(
    project: Project, starts: list[str], workers: list[str]
) -> None:
    module(project)
    result = project.run("--vllmperf", FLAG, *workers)
    result.assert_outcomes(passed=2)
    assert result.ret == pytest.ExitCode.OK
    tests = written(project).tests
    # It stands once in the file: at the test during which it was made.
    assert [[one.engine for one in test.measurements] for test in tests] == [["sim step_seconds=0.01"], []]
    if not workers:
        assert starts == ["sim step_seconds=0.01"]


def test_a_module_may_have_its_own(project: Project, starts: list[str]) -> None:
    module(project, scope="module")
    shutil.copy(project.root / "test_chat.py", project.root / "test_more.py")
    project.run("--vllmperf").assert_outcomes(passed=4)
    assert len(starts) == 1, "measured twice, on one engine"


def test_unarmed_its_tests_are_skipped(project: Project, starts: list[str], workers: list[str]) -> None:
    module(project)
    result = project.run("-rs", *workers)
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["*needs --vllmperf*"])
    assert starts == []


def test_unarmed_a_test_that_asks_for_it_while_it_runs_is_skipped(project: Project) -> None:
    module(project, "def test_first(request):\n    request.getfixturevalue('measured')\n")
    project.run().assert_outcomes(skipped=1)


def test_each_test_has_a_baseline_of_its_own(project: Project, workers: list[str]) -> None:
    module(project, CHECKS)
    assert project.run("--vllmperf-update", *workers).ret == pytest.ExitCode.OK
    assert project.sessions("test_first") == project.sessions("test_second") == [3]
    assert project.run("--vllmperf", FLAG, *workers).ret == pytest.ExitCode.OK
    tests = written(project).tests
    assert [[check.entry for check in test.checks] for test in tests] == [["test_first"], ["test_second"]]
    assert [len(test.measurements) for test in tests] == [0, 0]


def test_a_slowdown_fails_each_test_that_checks_it(project: Project, workers: list[str]) -> None:
    module(project, CHECKS)
    project.record()
    module(project, CHECKS, step=0.02)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["REGRESSED output throughput *", "REGRESSED TPOT p50 *"])


def test_a_test_that_was_slower_than_it_says_fails_alone(project: Project, workers: list[str]) -> None:
    tests = "def test_first(measured):\n    assert measured.ttft.p50 > 0\n\n"
    module(project, f"{tests}def test_second(measured):\n    assert measured.ttft.p50 < 0\n")
    project.run("--vllmperf", *workers).assert_outcomes(passed=1, failed=1)


def test_tests_that_look_at_nothing_are_a_gate_that_judged_nothing(project: Project, workers: list[str]) -> None:
    module(project, "def test_first(measured):\n    pass\n")
    result = project.run("--vllmperf", *workers)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "test_chat.py::test_first: the test uses vllmperf_session but looks at none*",
            "test_chat.py::test_first: no test looked at a measurement of vllmperf_session*",
            "ERROR: nothing was judged: no measurement was checked or compared*",
        ]
    )


def test_a_test_that_looks_at_nothing_is_named_though_another_does(project: Project, workers: list[str]) -> None:
    # What the first test has read must not count for the second.
    module(project, ASSERTS.replace("assert measured.ttft.p50 > 0", "pass"))
    result = project.run("--vllmperf", *workers)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_chat.py::test_second: the test uses vllmperf_session but looks at none*"])
    result.stdout.no_fnmatch_line("*test_first: *looked at*")


def test_what_the_fixture_asserts_counts_for_the_test_that_it_was_made_for(project: Project) -> None:
    fixture = MEASURED.replace("return ", "run = ") + "    assert run.ttft.p50 > 0\n    return run\n"
    tests = "def test_first(measured):\n    pass\n\ndef test_second(measured):\n    pass\n"
    project.module((fixture + tests).format(scope="session", step=0.01, more=""))
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["test_chat.py::test_second: the test uses vllmperf_session but looks at none*"])
    result.stdout.no_fnmatch_line("*test_first*")


@pytest.mark.parametrize("in_fixture", [True, False], ids=["in the fixture", "in the test before"])
def test_a_promise_of_one_test_is_not_the_next_ones(project: Project, in_fixture: bool) -> None:
    """What a check gates must not depend on which tests ran before."""
    slo = "measured.assert_slo(ttft=9)"
    promise = MEASURED.replace("    return ", "    measured = ") + f"    {slo}\n    return measured\n"
    first = "def test_first(measured):\n    " + ("assert measured.ttft.p50 > 0" if in_fixture else slo)
    second = "\n\ndef test_second(vllmperf, measured):\n    vllmperf.check(measured)\n"
    project.module(((promise if in_fixture else MEASURED) + first + second).format(scope="session", step=0.01, more=""))
    assert project.run("--vllmperf-update").ret == pytest.ExitCode.OK
    assert ("goodput" in project.engine("test_second")["samples"]) is in_fixture


def test_an_slo_after_the_check_is_told(project: Project, workers: list[str]) -> None:
    module(
        project, "def test_first(vllmperf, measured):\n    vllmperf.check(measured)\n    measured.assert_slo(ttft=9)\n"
    )
    result = project.run("--vllmperf-update", *workers)
    result.stdout.fnmatch_lines(["test_chat.py::test_first: assert_slo() was called after check()*"])


def test_single_requests_are_shared_too(project: Project, workers: list[str]) -> None:
    module(project, "def test_first(measured):\n    assert len(measured.requests) == 8\n", more=", iterations=2")
    assert project.run("--vllmperf", *workers).ret == pytest.ExitCode.OK


def test_a_server(service: Service) -> None:
    service.module("""
@pytest.fixture(scope="session")
def measured(vllmperf_session):
    return vllmperf_session.measure(
        WORK, endpoint=vllmperf_session.endpoint(URL, **GIVEN), iterations=1, warmup=0, allow="client"
    )

def test_first(measured):
    assert measured.ttft.p50 > 0.02

def test_second(measured):
    assert measured.request_throughput > 0
""")
    service.project.run("--vllmperf").assert_outcomes(passed=2)


def test_an_engine_that_fails_fails_every_test_in_one_line(project: Project, workers: list[str]) -> None:
    project.module("""
@pytest.fixture(scope="session")
def measured(vllmperf_session):
    engine = vllmperf_session.engine("sim", backend="simulated", no_such_argument=1)
    return vllmperf_session.measure(WORK, engine=engine)

def test_first(measured): pass
def test_second(measured): pass
""")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(errors=2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert str(result.stdout).count("\ntest_chat.py:10: EngineStartError") == 2
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_vllmperf/*")


BAD_CALLS = {
    "no engine": ("measure(WORK)", "vllmperf_session: no engine to measure; pass engine=vllmperf_session.engine(*"),
    "no workload": ("measure(3)", "measure() takes a Workload, not 3*"),
    "a name for an engine": (
        "measure(WORK, engine='m')",
        "measure() takes engines made by vllmperf.engine(...), not 'm'",
    ),
    "a name for a GPU": (
        "measure(WORK, engine=SIM, gpu='H100')",
        "measure() takes gpu=vllmperf_session.gpu(NAME, ...), not 'H100'",
    ),
    "no such GPU": ("gpu(count=0)", "count=0 must be a whole number of at least 1"),
    "no such rule": ("measure(WORK, engine=SIM, allow='no-rule')", "*no-rule*"),
    "check": (
        "check(None)",
        "vllmperf_session has no check(): a check belongs to a test: call vllmperf.check(run) in each test*",
    ),
    "compare": ("compare(1, 2, WORK)", "vllmperf_session has no compare(): a comparison belongs to a test: call *"),
    "overload": ("overload(WORK)", "vllmperf_session has no overload(): *"),
    "fit": ("fit()", "vllmperf_session has no fit(): *"),
    "a typo": ("mesure(WORK)", "vllmperf_session has no method 'mesure'*measure*"),
}


@pytest.mark.parametrize("call", BAD_CALLS)
def test_bad_calls(project: Project, call: str) -> None:
    code, told = BAD_CALLS[call]
    project.module(f"""
@pytest.fixture(scope="session")
def measured(vllmperf_session):
    SIM = vllmperf_session.engine("sim", backend="simulated")
    return vllmperf_session.{code}

def test_first(measured): pass
""")
    result = project.run("--vllmperf")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{told.replace('[', '[[]')}"])


def test_it_cannot_measure_while_no_test_runs(project: Project) -> None:
    project.write("conftest.py", "KEPT = []\n\ndef pytest_sessionfinish():\n    KEPT[0]()\n")
    project.module("""
from conftest import KEPT

def test_first(vllmperf_session):
    engine = vllmperf_session.engine("sim", backend="simulated")
    KEPT.append(lambda: vllmperf_session.measure(WORK, engine=engine))
""")
    result = project.run_apart("--vllmperf", "-p", "no:cacheprovider")
    assert "vllmperf_session can only measure while a test runs" in f"{result.stdout}{result.stderr}"


H200 = GpuDevice("GPU-1", "NVIDIA H200", 2**37, (9, 0), "565")


@pytest.mark.parametrize(("wanted", "passed"), [("H200", 2), ("A6000", 0)])
def test_its_gpu(project: Project, gpus: Callable[..., None], wanted: str, passed: int, workers: list[str]) -> None:
    gpus(H200)
    module(project, more=f", gpu=vllmperf_session.gpu('{wanted}')")
    project.run("--vllmperf", *workers).assert_outcomes(passed=passed, skipped=2 - passed)
    if not passed:
        result = project.run("--vllmperf", "--vllmperf-require-gpu", *workers)
        result.assert_outcomes(errors=2)
        result.stdout.fnmatch_lines(["*--vllmperf-require-gpu: needs A6000, found NVIDIA H200"])


def test_the_gpu_marker_of_a_test_counts_before_anything_is_measured(
    project: Project, gpus: Callable[..., None], starts: list[str]
) -> None:
    gpus(H200)
    module(project, "@pytest.mark.gpu('A6000')\ndef test_first(measured):\n    assert measured.ttft.p50 > 0\n")
    project.run("--vllmperf").assert_outcomes(skipped=1)
    assert starts == []


def test_a_test_that_is_marked_as_skipped_needs_no_gpu(project: Project) -> None:
    module(project, "@pytest.mark.skip(reason='no')\ndef test_first(measured): pass\n")
    project.run("--vllmperf", "--vllmperf-require-gpu").assert_outcomes(skipped=1)


def test_a_test_that_only_asserts_has_no_baseline_to_miss(project: Project) -> None:
    module(project)
    result = project.run("--vllmperf")
    result.stdout.no_fnmatch_line("*no baseline*")


def test_it_counts_where_it_is_asked_for_while_a_test_runs(project: Project, workers: list[str]) -> None:
    module(project, "def test_first(request):\n    assert request.getfixturevalue('measured').ttft.p50 > 0\n")
    result = project.run("--vllmperf", FLAG, *workers)
    assert result.ret == pytest.ExitCode.OK
    assert [len(test.measurements) for test in written(project).tests] == [1]


def test_in_turns_with_a_reference(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    stable = interpreter(tmp_path_factory.mktemp("stable") / "env")
    module(project, CHECKS)
    project.run("--vllmperf", f"--vllmperf-against={stable}", FLAG).assert_outcomes(passed=2)
    assert [check.reference is not None for _, check in written(project).checks] == [True, True]


@pytest.mark.parametrize("marked", [True, False], ids=["by the marker", "by the flag"])
def test_a_marker_that_asks_for_another_reference_is_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory, workers: list[str], marked: bool
) -> None:
    stable = interpreter(tmp_path_factory.mktemp("stable") / "env")
    marker, flags = (repr(str(stable)), []) if marked else ("'off'", [f"--vllmperf-against={stable}"])
    check = "def test_first(vllmperf, measured):\n    vllmperf.check(measured)\n"
    module(project, f"@pytest.mark.vllmperf(against={marker})\n{check}")
    result = project.run("--vllmperf", *flags, *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["test_chat.py::test_first: the marker vllmperf(against=*) cannot change how a shared*"]
    )


def test_two_workers_measure_one_each(project: Project) -> None:
    module(project)
    project.run("--vllmperf", FLAG, "-n", "2", "--dist", "each").assert_outcomes(passed=4)
    project.run("--vllmperf", FLAG, "-n", "2").assert_outcomes(passed=2)
    assert sum(len(test.measurements) for test in written(project).tests) == 2


def test_a_trace_is_kept_of_the_first_test_that_fails(project: Project, workers: list[str]) -> None:
    project.module("""
@pytest.fixture(scope="session")
def measured(vllmperf_session):
    engine = vllmperf_session.engine("sim", backend="simulated", gpu_kernels={"matmul": (16, 0.006)})
    return vllmperf_session.measure(WORK, engine=engine)

def test_fine(vllmperf, measured):
    vllmperf.check(measured, gate="limits", limits={"ttft.p50": 9})

def test_slow(vllmperf, measured):
    vllmperf.check(measured)

def test_slow_too(vllmperf, measured):
    vllmperf.check(measured)
""")
    result = project.run("--vllmperf", "--vllmperf-trace=traces", *workers)
    result.assert_outcomes(passed=1, failed=2)
    (trace,) = (project.root / "traces").iterdir()
    assert trace.name.startswith("test-chat.py-test-slow-")
    result.stdout.no_fnmatch_line("*could not be written*")


def test_a_scorecard_has_rows_of_what_its_tests_measure_themselves(project: Project, workers: list[str]) -> None:
    marker = '@pytest.mark.scorecard("formats", baseline="test_first")'
    module(project, f"{marker}\ndef test_first(vllmperf, measured):\n    vllmperf.check(measured)\n")
    result = project.run("--vllmperf-update", *workers)
    result.stdout.fnmatch_lines(["test_chat.py::test_first: no row was added to the scorecard formats*"])


def test_its_json_is_that_of_one_process_under_xdist(project: Project) -> None:
    module(project)
    project.run("--vllmperf", "--vllmperf-json=alone.json")
    project.run("--vllmperf", "--vllmperf-json=xdist.json", "-n", "1")
    found = [json.loads((project.root / name).read_text())["tests"] for name in ("alone.json", "xdist.json")]
    assert [[len(test["measurements"]) for test in tests] for tests in found] == [[1, 0], [1, 0]]

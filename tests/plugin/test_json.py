"""`--vllmperf-json`: the whole run in one file, however it ended; alone and under xdist."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from pytest_vllmperf import RunReport, load
from tests.interpreters import interpreter
from tests.plugin.test_attribution import ALL, recorded

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schema" / "run.json").read_text(encoding="utf-8"))
FLAG = "--vllmperf-json=run.json"
MARK = '@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)'

# One test of each way to end.
ENDS = f"""
@pytest.fixture
def broken():
    raise RuntimeError("no \\x1b[31mfixture | `x`")

@pytest.fixture
def breaks_later():
    yield
    raise RuntimeError("late")

{MARK}
def test_passes(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

{MARK}
def test_asserts(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 < 0

{MARK}
def test_setup(broken, vllmperf): pass

{MARK}
def test_teardown(breaks_later, vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 > 0

@pytest.mark.skip(reason="not today")
def test_skipped(vllmperf): pass

{MARK}
@pytest.mark.xfail(reason="known")
def test_expected(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 < 0

{MARK}
@pytest.mark.parametrize("name", ["a|b", "<b>", "line\\nbreak", "\\x1b[31mred", 'quote"'])
def test_names(vllmperf, name):
    vllmperf.check(vllmperf.measure(WORK), name="own")
    vllmperf.check(vllmperf.measure(WORK), name="other | `one`")

def test_of_another_kind(): pass
"""
OUTCOMES = {
    "test_passes": "passed",
    "test_asserts": "failed",
    "test_setup": "error",
    "test_teardown": "error",
    "test_skipped": "skipped",
    "test_expected": "xfailed",
    "test_names[a|b]": "passed",
    "test_names[<b>]": "passed",
    "test_names[line\\nbreak]": "passed",
    "test_names[\\x1b[31mred]": "passed",
    'test_names[quote"]': "passed",
}


def written(project: Project, name: str = "run.json") -> RunReport:
    """The file of a run, which fits the schema."""
    path = project.root / name
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(path.read_text(encoding="utf-8")))
    return load(path)


def outcomes(report: RunReport) -> dict[str, str]:
    return {test.nodeid.partition("::")[2]: test.outcome for test in report.tests}


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_every_way_to_end_is_in_it(project: Project, workers: list[str]) -> None:
    project.module(ENDS)
    project.run("--vllmperf-update", *workers)
    assert project.run("--vllmperf", FLAG, *workers).ret == pytest.ExitCode.TESTS_FAILED
    report = written(project)
    assert outcomes(report) == OUTCOMES
    assert list(outcomes(report)) == list(OUTCOMES)  # in the order in which they were collected
    assert (report.run.outcome, report.run.exit_status, report.run.complete) == ("failed", 1, True)
    tests = {test.nodeid.partition("::")[2]: test for test in report.tests}
    assert "no \x1b[31mfixture | `x`" in tests["test_setup"].message
    assert "late" in tests["test_teardown"].message
    assert tests["test_skipped"].message == "not today"
    assert tests["test_expected"].message == "known"
    assert [check.name for check in tests["test_names[a|b]"].checks] == ["own", "other | `one`"]
    assert [len(tests[name].measurements) for name in ("test_passes", "test_asserts", "test_teardown")] == [0, 1, 1]
    assert {check.status.value for _, check in report.checks} == {"OK"}


def _without_times(value: Any) -> Any:
    """What two runs of the same tests have in common."""
    clocks = {"started", "seconds", "measured", "recorded"}
    if isinstance(value, dict):
        return {key: _without_times(one) for key, one in value.items() if key not in clocks}
    return [_without_times(one) for one in value] if isinstance(value, list) else value


def test_workers_write_what_one_process_writes(project: Project) -> None:
    # Each test has an engine of its own, so that a cold start is one in either run.
    marks = [MARK.replace("0.01", step) for step in ("0.01", "0.02", "0.03")]
    names = ("test_a", "test_b", "test_c")
    body = (
        "{mark}\ndef {name}(vllmperf):\n    vllmperf.check(vllmperf.measure(WORK))\n    assert '{name}' != 'test_b'\n"
    )
    project.module("\n".join(body.format(mark=mark, name=name) for mark, name in zip(marks, names, strict=True)))
    project.run("--vllmperf-update", "-k", "not test_b")
    project.run("--vllmperf", "--vllmperf-json=alone.json")
    project.run("--vllmperf", "--vllmperf-json=xdist.json", "-n", "2")
    alone, xdist = (
        _without_times(json.loads((project.root / name).read_text())) for name in ("alone.json", "xdist.json")
    )
    assert (alone["run"]["options"].pop("json"), xdist["run"]["options"].pop("json")) == ("alone.json", "xdist.json")
    assert alone == xdist
    assert [len(test["checks"]) for test in alone["tests"]] == [1, 1, 1]
    # Otherwise both were equal by chance: how busy this machine is differs from run to run.
    assert not [name for test in alone["tests"] for check in test["checks"] for name in _of_host(check)]


def _of_host(check: dict[str, Any]) -> list[str]:
    return [name for name in (*check["environment"]["soft"], *check["metrics"]) if name.startswith("host")]


def test_groups_of_xdist_keep_the_order_of_collection(project: Project) -> None:
    # The plugin runs tests on one engine one after the other.
    tests = [("test_a", "0.01"), ("test_b", "0.02"), ("test_c", "0.01")]
    group = '@pytest.mark.xdist_group("g")'
    body = "{group}\n{mark}\ndef {name}(vllmperf):\n    assert vllmperf.measure(WORK).ttft.p50 > 0\n"
    project.module(
        "\n".join(body.format(group=group, mark=MARK.replace("0.01", step), name=name) for name, step in tests)
    )
    project.run("--vllmperf", FLAG, "-n", "1", "--dist", "loadgroup")
    assert list(outcomes(written(project)).items()) == [(name, "passed") for name, _ in tests]


def test_a_regression_has_all_that_a_report_needs(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    assert project.run("--vllmperf-append").ret == pytest.ExitCode.OK
    project.perf_tests(step_seconds=0.02)
    project.run("--vllmperf", FLAG, *workers)
    ((test, check),) = written(project).checks
    assert (test.outcome, check.status.value, check.entry) == ("failed", "REGRESSED", "test_chat")
    metric = check.metrics["tpot.p50"]
    assert (metric.unit, metric.better, metric.gated) == ("s", "lower", True)
    assert metric.value == pytest.approx(0.02)
    assert [len(samples) for samples in metric.samples] == [10] * len(check.engines) == [10, 10, 10]
    assert metric.judged is not None
    assert metric.judged.status.value == "REGRESSED"
    assert metric.judged.baseline == pytest.approx(0.01)
    assert metric.judged.change == pytest.approx(1.0)
    assert metric.judged.low is not None
    assert metric.judged.low < 1.0 < (metric.judged.high or 0)
    assert check.baseline is not None
    assert [len(one.values["tpot.p50"]) for one in check.baseline.sessions] == [3, 3]
    assert len(check.baseline.ttft_by_request) == len(check.engines[0].ttft_by_request) == 4
    assert check.changed == ("engine argument step_seconds: 0.01 -> 0.02",)
    assert check.metrics["ttft.p50"].judged is not None
    assert not check.metrics["load_time.cold"].gated
    assert "REGRESSED" in test.message


def test_a_check_without_a_baseline_keeps_its_samples(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    assert project.run("--vllmperf", FLAG, *workers).ret == pytest.ExitCode.TESTS_FAILED
    ((_, check),) = written(project).checks
    assert (check.status.value, check.baseline) == ("NO_BASELINE", None)
    assert check.metrics["ttft.p50"].samples[0]


def test_a_recording_that_fails_is_written_and_says_so(project: Project, workers: list[str]) -> None:
    replace = "import pathlib, shutil; shutil.rmtree('baselines', True); pathlib.Path('baselines').touch()"
    project.perf_tests(check=f"vllmperf.check(run); {replace}")
    result = project.run("--vllmperf-update", FLAG, *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    report = written(project)
    assert (report.run.exit_status, report.run.complete, report.run.written) == (4, True, ())
    assert any(note.startswith("ERROR: ") for note in report.run.notes)
    assert [check.metrics["ttft.p50"].value for _, check in report.checks] == [pytest.approx(0.0132)]


def test_recorded_files_and_scorecards_are_named(project: Project, workers: list[str]) -> None:
    card = '@pytest.mark.scorecard("formats", baseline="test_full")'
    project.perf_tests("test_full", marks=[card])
    project.run("--vllmperf-update", FLAG, *workers)
    report = written(project)
    assert report.run.written == ("baselines/simulated/test_chat.json",)
    assert report.run.mode == "record what ran"
    assert [check.keeping for _, check in report.checks] == ["starts the baseline anew"]
    assert [(card.name, len(card.rows)) for card in report.scorecards] == [("formats", 1)]
    assert report.scorecards[0].rows[0].values["ttft.p50"] > 0


def test_comparisons_are_in_it(project: Project, workers: list[str]) -> None:
    project.module("""
def test_compare(vllmperf):
    a, b = (vllmperf.engine("sim", backend="simulated", step_seconds=step) for step in (0.01, 0.02))
    vllmperf.compare(a, b, WORK).assert_speedup(1.5)
""")
    project.run("--vllmperf", FLAG, *workers)
    (comparison,) = written(project).tests[0].comparisons
    assert comparison.ratios[0].low <= comparison.ratios[0].ratio <= comparison.ratios[0].high


def test_a_module_that_cannot_be_imported_is_told(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0")
    project.write("test_broken.py", "import missing_module_of_nobody\n")
    project.run("--vllmperf", "--continue-on-collection-errors", FLAG, *workers)
    report = written(project)
    assert not report.run.complete
    assert [one.nodeid for one in report.run.collection_problems] == ["test_broken.py"]
    assert "missing_module_of_nobody" in report.run.collection_problems[0].message


def test_a_secret_in_a_collection_error_is_in_no_file(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_AbCdEfGhIjKlMnOpjade")
    project.perf_tests(check="assert run.ttft.p50 > 0")
    project.write("test_broken.py", "import os\nraise ImportError(os.environ['HF_TOKEN'])\n")
    project.run("--vllmperf", "--continue-on-collection-errors", FLAG, "--vllmperf-report=run.md")
    assert "ImportError" in written(project).run.collection_problems[0].message
    assert "jade" not in (project.root / "run.json").read_text(encoding="utf-8")
    assert "jade" not in (project.root / "run.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_what_never_ran_is_told(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", "test_b", "test_c", "test_d", check="assert run.ttft.p50 < 0")
    project.run("--vllmperf", "-x", FLAG, *workers)
    report = written(project)
    assert not report.run.complete
    assert list(outcomes(report)) == ["test_a", "test_b", "test_c", "test_d"]
    assert outcomes(report)["test_a"] == "failed"
    assert outcomes(report)["test_d"] == "not run"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_an_interrupted_run_is_written(project: Project, workers: list[str]) -> None:
    project.perf_tests("test_a", check="assert run.ttft.p50 > 0")
    with (project.root / "test_chat.py").open("a") as file:
        file.write(f"\n{MARK}\ndef test_b(vllmperf):\n    raise KeyboardInterrupt\n")
        file.write(f"\n{MARK}\ndef test_c(vllmperf): pass\n")
    assert project.run_apart("--vllmperf", FLAG, *workers).ret == pytest.ExitCode.INTERRUPTED
    report = written(project)
    assert (report.run.outcome, report.run.complete) == ("interrupted", False)
    assert outcomes(report)["test_a"] == "passed"
    assert outcomes(report)["test_b"] == ("error" if workers else "interrupted")  # its worker dies of it


def test_a_test_whose_worker_died_is_in_it(project: Project) -> None:
    project.module(f"{MARK}\ndef test_dies(vllmperf):\n    __import__('os')._exit(3)\n")
    project.run_apart("--vllmperf", FLAG, "-n", "1", "--max-worker-restart=0")
    assert outcomes(written(project)) == {"test_dies": "error"}


def test_a_folder_that_is_missing_is_made(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0")
    result = project.run("--vllmperf", "--vllmperf-json=new/folder/run.json", *workers)
    result.stdout.fnmatch_lines(["vllmperf: the run is written to new/folder/run.json"])
    assert outcomes(written(project, "new/folder/run.json")) == {"test_chat": "passed"}


def test_a_path_that_cannot_be_written_changes_nothing_else(project: Project, workers: list[str]) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0")
    project.write("file", "")
    result = project.run("--vllmperf", "--vllmperf-json=file/run.json", *workers)
    assert result.ret == pytest.ExitCode.OK
    lines = [line for line in result.outlines if "WARNING" in line]
    assert lines == ["WARNING: --vllmperf-json: file/run.json: not written: Not a directory"]


def test_a_file_of_another_kind_is_not_replaced(project: Project) -> None:
    project.perf_tests()
    project.record()
    before = project.files()
    path = project.baseline().relative_to(project.root)
    result = project.run("--vllmperf", f"--vllmperf-json={path}")
    assert result.ret == pytest.ExitCode.OK
    lines = [line for line in result.outlines if "WARNING" in line]
    assert lines == [
        f"WARNING: --vllmperf-json: {project.baseline()}: not replaced, as it is not a file that --vllmperf-json has "
        "written"
    ]
    assert project.files() == before


def test_the_file_of_an_earlier_run_does_not_outlive_the_start_of_a_new_one(project: Project) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0")
    project.run("--vllmperf", FLAG)
    assert written(project).run.complete
    project.perf_tests(check="__import__('os').kill(__import__('os').getpid(), 9)")
    assert project.run_apart("--vllmperf", FLAG).ret not in tuple(pytest.ExitCode)
    assert not (project.root / "run.json").exists()


def test_looking_at_the_collection_touches_no_file(project: Project) -> None:
    project.perf_tests(check="assert run.ttft.p50 > 0")
    project.run("--vllmperf", FLAG)
    before = (project.root / "run.json").read_bytes()
    project.run("--vllmperf", FLAG, "--collect-only")
    assert (project.root / "run.json").read_bytes() == before


def test_the_ini_setting_counts_in_armed_runs_only(project: Project, workers: list[str]) -> None:
    project.ini("vllmperf_json = run.json")
    project.perf_tests(check="assert run.ttft.p50 > 0")
    assert project.run(*workers).ret == pytest.ExitCode.OK
    assert not (project.root / "run.json").exists()
    project.run("--vllmperf", *workers)
    assert outcomes(written(project)) == {"test_chat": "passed"}


def test_the_flag_of_a_run_that_measures_nothing_is_refused(project: Project) -> None:
    project.perf_tests()
    result = project.run(FLAG)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --vllmperf-json writes what performance tests come to, and none runs: add *"])


def test_standard_output_is_refused(project: Project) -> None:
    project.perf_tests()
    result = project.run("--vllmperf", "--vllmperf-json=-")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --vllmperf-json: '-' is not supported, * name a file"])


def test_kernels_and_where_the_time_went(project: Project, workers: list[str]) -> None:
    recorded(project, ALL)
    project.run("--vllmperf", ALL, FLAG, *workers)
    ((_, check),) = written(project).checks
    assert check.metrics["gpu_time"].judged is not None
    assert check.metrics["gpu_time"].judged.status.value == "REGRESSED"
    assert [kernel.name for kernel in check.engines[0].kernels[0].kernels][:1] == ["nvjet_sm90_72x64"]
    assert check.attribution is not None
    assert check.attribution.interval is not None
    assert check.attribution.interval.low > 0
    assert check.attribution.kernels[0].name == "flash_fwd<128>"
    assert check.attribution.kernels[0].seconds.difference == pytest.approx(0.00119, rel=0.05)


def test_a_check_in_turns_has_both_sides(
    project: Project, tmp_path_factory: pytest.TempPathFactory, workers: list[str]
) -> None:
    stable = interpreter(tmp_path_factory.mktemp("stable") / "env")
    project.perf_tests(step_seconds=0.01)
    project.record()
    project.run("--vllmperf", f"--vllmperf-against={stable}", FLAG, *workers)
    ((_, check),) = written(project).checks
    assert check.reference is not None
    assert check.reference.name == f"vLLM 0.29.0 of {stable}"
    metric = check.metrics["tpot.p50"]
    assert len(metric.reference) == len(check.reference.engines) == len(check.engines) == len(metric.samples)
    assert metric.reference[0][0] == pytest.approx(0.01)
    assert metric.judged is not None
    assert metric.judged.against == check.reference.name
    assert check.by_baseline is not None
    assert "tpot.p50" in check.by_baseline.metrics


def test_the_end_of_an_engines_log(project: Project, workers: list[str]) -> None:
    project.perf_tests(fail="load")
    project.run("--vllmperf", FLAG, *workers)
    (test,) = written(project).tests
    assert (test.outcome, test.checks, test.log_tail) == ("failed", (), "scripted log")

"""Traces of failed tests' engines."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

KERNELS = "{'attention': (8, 0.002), 'matmul': (16, 0.006)}"
TESTS = f"""
def on_gpu(name):
    return pytest.mark.vllm(name, backend="simulated", gpu_kernels={KERNELS})

@on_gpu("sim")
def test_slow(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 < 0

@on_gpu("sim")
def test_fine(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 > 0

@on_gpu("other")
@pytest.mark.xfail(strict=True)
def test_expected(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 < 0
"""
MADE = """
import pathlib
import tempfile

@on_gpu("sim")
def test_made(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 > 0
    made = [*pathlib.Path(tempfile.gettempdir()).rglob("*.json.gz")]
    assert len(made) == 1
"""


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def names(path: Path) -> list[str]:
    with gzip.open(path, "rt") as file:
        return [event["name"] for event in json.load(file)["traceEvents"]]


@pytest.fixture
def mixed(project: Project) -> Project:
    project.module(TESTS)
    return project


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs make their private folders."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_traces_of_failed_tests_are_kept_alone(mixed: Project, workers: tuple[str, ...], temporary: Path) -> None:
    result = mixed.run("--vllmperf", "--vllmperf-trace=out/traces", *workers)
    result.assert_outcomes(failed=1, passed=1, xfailed=1)
    (name,) = kept(mixed.root / "out" / "traces")
    assert name.startswith("test-chat.py-test-slow-")
    assert name.endswith("-engine1.json.gz")
    assert names(mixed.root / "out" / "traces" / name) == ["attention", "matmul"]
    line = "traces of 1 engine of failed tests: out/traces (open them at ui.perfetto.dev)"
    assert result.outlines.count(line) == 1
    assert list(temporary.rglob("*.json.gz")) == []


def test_those_of_a_test_that_passed_are_gone_before_the_next_one(mixed: Project, temporary: Path) -> None:
    mixed.write("conftest.py", f"""
import pathlib

def pytest_runtest_logfinish(nodeid):
    print("left behind", nodeid, len(list(pathlib.Path({str(temporary)!r}).rglob("*.json.gz"))))
""")  # fmt: skip
    mixed.module(TESTS + MADE)
    result = mixed.run("--vllmperf", "--vllmperf-trace=traces", "-s")
    result.assert_outcomes(failed=1, passed=2, xfailed=1)
    told = [line.split("left behind ")[1] for line in result.outlines if "left behind" in line]
    assert sorted(told) == [f"test_chat.py::test_{name} 0" for name in ("expected", "fine", "made", "slow")]


def test_without_the_option_nothing_is_traced(mixed: Project) -> None:
    result = mixed.run("--vllmperf")
    result.stdout.no_fnmatch_line("*trace of*")
    result.stdout.no_fnmatch_line("*traces of*")
    assert list(mixed.root.rglob("*.json.gz")) == []


def test_the_ini_setting_and_the_option_over_it(mixed: Project) -> None:
    mixed.ini("vllmperf_trace = kept")
    mixed.run("--vllmperf", "-k", "slow")
    assert len(kept(mixed.root / "kept")) == 1
    mixed.run("--vllmperf", "-k", "slow", "--vllmperf-trace=other")
    assert kept(mixed.root / "other") == kept(mixed.root / "kept")


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_each_engine_of_a_check_has_its_own_and_a_later_run_replaces_them(
    project: Project, workers: tuple[str, ...]
) -> None:
    arguments = {"gpu_kernels": {"matmul": (16, 0.006)}}
    project.perf_tests("test_a", "test_b", **arguments)
    project.record()
    project.perf_tests("test_a", "test_b", starts=(2.0,), **arguments)
    result = project.run("--vllmperf", "--vllmperf-trace=traces", *workers)
    result.assert_outcomes(failed=2)
    found = kept(project.root / "traces")
    engines = [name.rpartition("-")[2] for name in found]
    assert engines == ["engine1.json.gz", "engine2.json.gz", "engine3.json.gz"] * 2
    assert f"traces of {len(found)} engines of failed tests: traces (open them at ui.perfetto.dev)" in result.outlines
    stale = project.root / "traces" / found[0].replace("engine1", "engine9")
    stale.touch()
    project.run("--vllmperf", "--vllmperf-trace=traces", *workers)
    assert kept(project.root / "traces") == found


def test_both_engines_of_a_comparison_have_theirs(project: Project) -> None:
    project.module(f"""
def test_faster(vllmperf):
    a = vllmperf.engine("a", backend="simulated", gpu_kernels={KERNELS})
    b = vllmperf.engine("b", backend="simulated", gpu_kernels={KERNELS})
    vllmperf.compare(a, b, WORK).assert_speedup(3)
""")
    project.run("--vllmperf", "--vllmperf-trace=traces").assert_outcomes(failed=1)
    assert len(kept(project.root / "traces")) >= 2


def test_why_there_is_no_trace_is_told(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("sim", backend="simulated")
def test_slow(vllmperf):
    assert vllmperf.measure(WORK).ttft.p50 < 0
""")
    result = project.run("--vllmperf", "--vllmperf-trace=traces")
    assert "no trace of test_chat.py::test_slow: the simulated engine has no GPU" in result.outlines
    assert kept(project.root / "traces") == []


def test_one_that_is_too_large_is_dropped_with_a_line(mixed: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_vllmperf.lab.profiling.TRACE_LIMIT", 10)
    result = mixed.run("--vllmperf", "-k", "slow", "--vllmperf-trace=traces")
    result.stdout.fnmatch_lines(["no trace of test_chat.py::test_slow: it had * MB, more than * MB"])
    assert kept(mixed.root / "traces") == []


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_measured(
    mixed: Project, workers: tuple[str, ...]
) -> None:
    mixed.write("taken", "a file")
    result = mixed.run("--vllmperf", "--vllmperf-trace=taken", *workers)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *taken: traces cannot be written: *taken is not a writable folder"])


def test_a_folder_that_is_gone_by_then_costs_the_traces_alone(mixed: Project) -> None:
    mixed.module(TESTS.replace("vllmperf.measure(WORK).ttft.p50 < 0", "spoilt(vllmperf.measure(WORK))", 1).replace(
        "def on_gpu", """
def spoilt(run):
    pathlib.Path("traces").write_text("a file")
    return False

def on_gpu""", 1).replace("\ndef spoilt", "\nimport pathlib\n\ndef spoilt", 1))  # fmt: skip
    result = mixed.run("--vllmperf", "-k", "slow", "--vllmperf-trace=traces")
    result.assert_outcomes(failed=1)
    text = " ".join(result.outlines)
    assert "no trace of test_chat.py::test_slow:" in text
    assert "could not be written" in text

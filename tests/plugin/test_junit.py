from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _properties(project: Project, *args: str) -> dict[str, dict[str, str]]:
    """Of every test in the report."""
    project.run("--junitxml=report.xml", *args)
    cases = ET.parse(project.root / "report.xml").iter("testcase")
    return {
        str(case.get("name")): {str(p.get("name")): str(p.get("value")) for p in case.iter("property")}
        for case in cases
    }


def test_status_profile_and_every_metric(project: Project, workers: list[str]) -> None:
    project.perf_tests()
    project.record()
    found = _properties(project, "--vllmperf", *workers)["test_chat"]
    assert found["vllmperf.status"] == "OK"
    assert found["vllmperf.profile"] == "simulated"
    assert float(found["vllmperf.tpot.p50"]) == pytest.approx(0.01)
    assert float(found["vllmperf.output_throughput"]) > 0
    assert "vllmperf.resident_bytes" not in found  # the simulated engine does not tell: missing is never zero


def test_recorded(project: Project) -> None:
    project.perf_tests()
    assert _properties(project, "--vllmperf-update")["test_chat"]["vllmperf.status"] == "RECORDED"


@pytest.mark.parametrize(("change", "status"), [({"step_seconds": 0.02}, "REGRESSED"), ({"fail": "short"}, "INVALID")])
def test_a_test_that_failed_has_them_too(project: Project, change: dict[str, object], status: str) -> None:
    project.perf_tests()
    project.record()
    project.perf_tests(**change)
    assert _properties(project, "--vllmperf")["test_chat"]["vllmperf.status"] == status
    failures = [node.get("message") or "" for node in ET.parse(project.root / "report.xml").iter("failure")]
    assert len(failures) == 1
    assert status in failures[0]


def test_without_a_baseline(project: Project) -> None:
    project.perf_tests()
    assert _properties(project, "--vllmperf")["test_chat"]["vllmperf.status"] == "NO_BASELINE"


def test_two_checks_of_one_test(project: Project) -> None:
    project.perf_tests(check="vllmperf.check(run); vllmperf.check(run, name='warm')")
    found = _properties(project, "--vllmperf-update")["test_chat"]
    assert found["vllmperf.status"] == found["vllmperf.warm.status"] == "RECORDED"
    assert found["vllmperf.ttft.p50"] == found["vllmperf.warm.ttft.p50"]


def test_tests_without_a_check_have_none(project: Project) -> None:
    project.perf_tests(check="pass")
    assert _properties(project, "--vllmperf") == {"test_chat": {}}


def test_exact_numbers_are_whole(project: Project) -> None:
    project.perf_tests(weight_bytes=16060522497)
    found = _properties(project, "--vllmperf-update")["test_chat"]
    assert found["vllmperf.weight_bytes"] == "16060522497"
    assert found["vllmperf.engine_steps"] == "5"


def test_the_failure_is_the_verdict_and_where_the_test_is(project: Project, workers: list[str]) -> None:
    """As GitLab, Buildkite and Jenkins read it: they link `file`, which the older form of the file alone has."""
    project.perf_tests()
    project.record()
    project.perf_tests(step_seconds=0.02)
    project.run("--vllmperf", "--junitxml=report.xml", "-o", "junit_family=xunit1", *workers)
    (case,) = ET.parse(project.root / "report.xml").iter("testcase")
    assert case.get("file") == "test_chat.py"
    lines = (project.root / "test_chat.py").read_text(encoding="utf-8").split("\n")
    assert lines[int(case.get("line") or 0)].startswith("@pytest.mark.vllm(")
    (failure,) = case.iter("failure")
    assert (failure.text or "").startswith("REGRESSED output throughput -")
    assert "mean of a request: " in (failure.text or "")
    assert "changed since the baseline: engine argument step_seconds: 0.01 -> 0.02" in (failure.text or "")

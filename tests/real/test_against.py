"""A check in turns with another interpreter's vLLM: here the same one, so that only noise can differ."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from .conftest import MODEL, TINY

MODULE = f"""
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=4, input_tokens=32, output_tokens=16)

@pytest.mark.vllm({MODEL!r}, **{TINY!r})
@pytest.mark.vllmperf(warmup=1, iterations=4, gate="clock", margin="400%")
def test_same(vllmperf):
    run = vllmperf.measure(WORK)
    assert len(run.engines) == len(run.reference.engines) == 1
    assert run.reference.engines[0].iterations == run.engines[0].iterations == 4
    vllmperf.check(run)
"""


def test_an_a_a_run_passes_without_a_baseline_and_says_what_it_is(pytester: pytest.Pytester) -> None:
    """The margin is wide: neighbours on this machine must not decide whether the road is there."""
    pytester.makeini("[pytest]")
    pytester.makepyfile(MODULE)
    result = pytester.runpytest_subprocess(
        "--vllmperf", f"--vllmperf-against={sys.executable}", "--vllmperf-max-engines=2", "--junit-xml=report.xml"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["vllmperf: checks are measured in turns with vLLM * an A/A run"])
    cases = ElementTree.parse(pytester.path / "report.xml")
    found = {one.get("name"): one.get("value") for one in cases.iter("property")}
    assert re.fullmatch(r"vLLM \d.* of .*python.* \(the same vLLM: an A/A run\)", str(found["vllmperf.against"]))
    assert found["vllmperf.way"] == "both resident"
    assert found["vllmperf.status"] == "OK"
    assert not (pytester.path / "baselines").exists()

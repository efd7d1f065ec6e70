"""The tries of a memory limit, as lines and as a table."""

from __future__ import annotations

from dataclasses import replace

from pytest_vllmperf.records.fit import Fit, Try
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.report.fits import found, line, table

WORKS = Try(0.86, None, 8192, "works", "", 14.04)
NOT_TRIED = Try(0.9, None, None, "not tried", "others need it", 0.0)
GIVEN = Try(None, None, 128, "failed", "killed", 2.0)


def test_a_line_for_each_outcome() -> None:
    assert line(WORKS) == "gpu_memory_utilization=0.86 max_model_len=8192: works (14.0 s)"
    assert line(NOT_TRIED) == "gpu_memory_utilization=0.9: not tried: others need it"
    assert line(GIVEN) == "memory as given max_model_len=128: failed (2.0 s): killed"


def test_a_row_for_each_try() -> None:
    rows = table([WORKS, NOT_TRIED, GIVEN])[2:]
    assert [row.split()[0] for row in rows] == ["gpu_memory_utilization=0.86", "gpu_memory_utilization=0.9", "as"]
    assert rows[0].split()[1:] == ["8192", "works", "14.0"]
    assert rows[1].split()[1:] == ["not", "tried", "others", "need", "it"]


def test_a_limit_that_was_not_met_is_told() -> None:
    spec = EngineSpec.create("m", gpu_memory_utilization=0.86, max_model_len=8192)
    limit = Fit(0.86, None, 8192, (WORKS, WORKS), spec)
    words = "nothing larger was tried: it is where the search ended, and no limit was met"
    assert words in found(limit)
    assert words not in found(replace(limit, tries=(NOT_TRIED, WORKS)))
    assert words not in found(replace(limit, tries=(GIVEN, WORKS)))
    assert found(limit)[-1] == '@pytest.mark.vllm("m", gpu_memory_utilization=0.86, max_model_len=8192)'

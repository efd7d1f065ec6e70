"""Strip plots: what stands where."""

from __future__ import annotations

from statistics import median

import pytest

from pytest_vllmperf.records.check_report import CheckReport, ReferenceReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report.pages.plots.strips import strip
from pytest_vllmperf.report.pages.shell import Figure
from tests.report.pages.material import rich_check


def drawn(check: CheckReport, name: str = "ttft.p50") -> Figure:
    found = strip(check, check.metrics[name])
    assert found is not None
    return found


def test_every_stored_engine_start_and_every_new_one() -> None:
    check = rich_check()
    stored, iterations, now, interval = drawn(check).traces
    assert check.baseline is not None
    levels = [value * 1e3 for session in check.baseline.sessions for value in session.values["ttft.p50"]]
    assert stored["y"] == pytest.approx(levels, rel=1e-4)
    assert stored["x"] == sorted(stored["x"])
    metric = check.metrics["ttft.p50"]
    assert now["y"] == pytest.approx([median(one) * 1e3 for one in metric.samples], rel=1e-4)
    assert len(iterations["y"]) == sum(map(len, metric.samples))
    assert max(stored["x"]) < min(now["x"])
    assert interval["y"] == pytest.approx([50 * 1.004], rel=1e-4)
    bounds = interval["error_y"]
    assert bounds["array"] == pytest.approx([50 * 0.012], rel=1e-3)


@pytest.mark.parametrize(("name", "ends"), [("ttft.p50", (50.0, 52.5)), ("output_throughput", (1805.0, 1900.0))])
def test_the_field_is_the_margin_on_the_worse_side(name: str, ends: tuple[float, float]) -> None:
    field = next(one for one in drawn(rich_check(), name).layout["shapes"] if one["type"] == "rect")
    assert (field["y0"], field["y1"]) == pytest.approx(ends)


def test_the_verdict_has_its_colour() -> None:
    assert drawn(rich_check(), "output_throughput").traces[2]["marker"]["color"] == "@bad"
    assert drawn(rich_check(status=Status.OK), "output_throughput").traces[2]["marker"]["color"] == "@accent"
    assert drawn(rich_check(status=Status.NOISY), "output_throughput").traces[2]["marker"]["color"] == "@warn"


def test_a_check_in_turns_has_its_reference_for_a_session() -> None:
    check = rich_check(baseline=None)
    metric = check.metrics["ttft.p50"]
    assert metric.judged is not None
    metric = metric.model_copy(
        update={"reference": ((0.04, 0.05), (0.06,)), "judged": metric.judged.model_copy(update={"against": "old"})}
    )
    reference = ReferenceReport(name="old", way="in turns", environment=check.environment, engines=check.engines)
    check = check.model_copy(update={"reference": reference, "metrics": {"ttft.p50": metric}})
    found = drawn(check)
    assert found.traces[0]["y"] == [45.0, 60.0]
    assert found.layout["xaxis"]["ticktext"] == ["reference", "now"]


def test_without_a_baseline_there_is_none() -> None:
    check = rich_check(baseline=None)
    assert strip(check, check.metrics["ttft.p50"]) is None
    assert strip(check, check.metrics["prompt_tokens"]) is None

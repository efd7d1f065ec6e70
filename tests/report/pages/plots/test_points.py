"""Curves of tests that the `sweep` marker made."""

from __future__ import annotations

from typing import Any

from pytest_vllmperf.records.report import TestReport
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report.pages.plots.points import curves, groups
from tests.report.pages.material import rich_check
from tests.reporting import one_test


def point(name: str, /, **values: Any) -> TestReport:
    return one_test(
        f"test_a.py::{name}[{'-'.join(map(str, values.values()))}]", rich_check(status=Status.OK), point=values
    )


def test_tests_of_one_function_are_a_curve() -> None:
    tests = [point("test_b", n=1), point("test_c", n=1), point("test_b", n=2), one_test("test_a.py::test_d")]
    assert groups(tests) == {"test_a.py::test_b": [tests[0], tests[2]]}


def test_numbers_are_in_order_and_the_baseline_beside_them() -> None:
    before, now = next(curves([point("t", size=8), point("t", size=2), point("t", size=32)])).traces
    assert before["x"] == now["x"] == [2, 8, 32]
    assert before["y"] == [1900.0] * 3
    assert len(now["y"]) == 3


def test_a_line_for_each_combination_of_the_others() -> None:
    tests = [point("t", kind=kind, size=size) for kind in "ab" for size in (1, 2, 3)]
    figure = next(curves(tests))
    named = [one["name"] for one in figure.traces if "name" in one]
    assert named == ["kind=a", "kind=b"]
    assert figure.layout["xaxis"]["title"]["text"] == "size"


def test_words_are_a_category_and_shown_as_they_are() -> None:
    figure = next(curves([point("t", kind="<b>x"), point("t", kind="1")]))
    assert figure.layout["xaxis"]["type"] == "category"
    assert figure.traces[-1]["x"] == ["&lt;b&gt;x", "1"]


def test_a_test_that_measured_nothing_has_no_point() -> None:
    failed = one_test("test_a.py::t[9]", point={"size": 9}, outcome="failed")
    assert next(curves([point("t", size=1), point("t", size=2), failed])).traces[-1]["x"] == [1, 2]

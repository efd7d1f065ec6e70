"""The same workload with other numbers of tokens, as after a change of the tokenizer or the chat template."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.plugin.test_json import FLAG, written

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

LINE = (
    "test_chat: the same workload has other prompt tokens in an iteration: 64 -> 32 tokens; has the tokenizer or the "
    "chat template changed?"
)


@pytest.fixture
def longer(project: Project) -> Project:
    """A baseline whose prompts had twice as many tokens as today's."""
    project.perf_tests()
    project.record()
    stored = json.loads(project.baseline().read_text(encoding="utf-8"))
    for engine in stored["tests"]["test_chat"]["sessions"][0]["engines"]:
        engine["samples"]["prompt_tokens"] = [2 * tokens for tokens in engine["samples"]["prompt_tokens"]]
    project.baseline().write_text(json.dumps(stored), encoding="utf-8")
    return project


def text(result: pytest.RunResult) -> str:
    return " ".join(" ".join(result.outlines).split())


def test_told_where_figures_are_compared(longer: Project, workers: list[str]) -> None:
    result = longer.run("--vllmperf", FLAG, *workers)
    result.assert_outcomes(passed=1)
    assert LINE in text(result)
    [(_, check)] = written(longer).checks
    assert check.notes == (LINE,)


def test_not_told_of_a_void_measurement_or_where_limits_alone_decide(longer: Project) -> None:
    longer.perf_tests(fail="short")
    result = longer.run("--vllmperf")
    assert "INVALID" in text(result)
    assert "the same workload" not in text(result)
    longer.perf_tests(check="vllmperf.check(run, gate='limits', limits={'ttft.p50': 1})")
    result = longer.run("--vllmperf")
    result.assert_outcomes(passed=1)
    assert "the same workload" not in text(result)


def test_not_told_where_nothing_is_compared(longer: Project) -> None:
    assert "the same workload" not in text(longer.run("--vllmperf-update"))
    assert "the same workload" not in text(longer.run("--vllmperf"))
    module = longer.root / "test_chat.py"
    longer.write("test_chat.py", module.read_text(encoding="utf-8").replace("input_tokens=8", "input_tokens=4"))
    result = longer.run("--vllmperf")
    assert "NOT_COMPARABLE" in text(result)
    assert "the same workload" not in text(result)

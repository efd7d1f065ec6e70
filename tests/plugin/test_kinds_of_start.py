"""torch's peak is compared between warm starts only: one that compiles has another peak than one that need not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

COMPILING, LATER, LARGER = 2_711_216_128, 2_718_556_160, 2_750_000_000


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch, starts: list[str]) -> Callable[[Sequence[int]], None]:
    """Gives the engines that start from now on these peaks, in the order of their starts."""
    given: list[int] = []
    run = SimulatedEngine.run

    def with_peak(self: SimulatedEngine, *args: Any) -> Any:
        return replace(run(self, *args), torch_peak_bytes=given[len(starts) - 1])

    def give(wanted: Sequence[int]) -> None:
        starts.clear()
        given[:] = wanted

    monkeypatch.setattr(SimulatedEngine, "run", with_peak)
    return give


@pytest.fixture
def recorded(project: Project, peaks: Callable[[Sequence[int]], None]) -> Project:
    project.perf_tests()
    peaks([COMPILING, LATER, LATER])
    project.record()
    return project


def test_a_regression_is_not_hidden_by_the_cold_start(
    recorded: Project, peaks: Callable[[Sequence[int]], None], starts: list[str]
) -> None:
    peaks([COMPILING, LARGER, LARGER])
    result = recorded.run("--vllmperf", "--vllmperf-gate=vram")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED torch peak *, exact · 2,593 -> 2,623 MiB*"])
    assert len(starts) == 3, "a cold start, and two warm ones to be sure"


@pytest.mark.parametrize("cold", [COMPILING, LATER, LARGER])
def test_the_cold_start_never_decides(
    recorded: Project, peaks: Callable[[Sequence[int]], None], starts: list[str], cold: int
) -> None:
    peaks([cold, LATER])
    result = recorded.run("--vllmperf", "--vllmperf-gate=vram")
    result.assert_outcomes(passed=1)
    assert "NOISY" not in result.stdout.str()
    assert len(starts) == 2


def test_without_a_warm_start_it_says_so(recorded: Project, peaks: Callable[[Sequence[int]], None]) -> None:
    peaks([LATER])
    result = recorded.run("--vllmperf", "--vllmperf-gate=vram", "--vllmperf-max-engines=1", "--vllmperf-noisy=fail")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOISY torch peak *", "*not started warm yet*"])


def test_a_baseline_without_a_warm_start_is_of_no_use(project: Project, peaks: Callable[[Sequence[int]], None]) -> None:
    project.perf_tests()
    peaks([COMPILING] * 3)
    project.record()
    text = project.baseline().read_text(encoding="utf-8")
    project.baseline().write_text(text.replace('"cold_start": false', '"cold_start": true'), encoding="utf-8")
    peaks([LATER, LATER])
    result = project.run("--vllmperf", "--vllmperf-gate=torch_peak_bytes")
    result.assert_outcomes(failed=1)
    said = " ".join(line.strip() for line in result.outlines)
    assert "the baseline holds no warm start: record it on more engines (--vllmperf-engines)" in said

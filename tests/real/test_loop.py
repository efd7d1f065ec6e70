"""The main job, as a user runs it: record, green, slower, red."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "test_chat.py"
TWO = ("-k", "throughput or template")


@pytest.fixture
def demo(pytester: pytest.Pytester) -> pytest.Pytester:
    shutil.copy(DEMO, pytester.path / "test_chat.py")
    pytester.makeini("[pytest]\nvllmperf_iterations = 3\n")
    return pytester


def test_record_green_slower_red(demo: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    demo.runpytest_subprocess("--vllmperf-update", *TWO).assert_outcomes(passed=2, deselected=1)
    (file,) = (demo.path / "baselines").glob("*/test_chat.json")
    text = file.read_text()
    assert set(json.loads(text)["tests"]) == {"test_throughput", "test_chat_template"}

    demo.runpytest_subprocess("--vllmperf", *TWO).assert_outcomes(passed=2, deselected=1)
    assert file.read_text() == text

    monkeypatch.setenv("DEMO_MAX_NUM_SEQS", "4")
    red = demo.runpytest_subprocess("--vllmperf", "-k", "throughput")
    red.assert_outcomes(failed=1, deselected=2)
    red.stdout.fnmatch_lines(
        [
            "REGRESSED engine steps +300.0 %, exact · 64 -> 256 · 2 engine starts",
            "changed since the baseline:",
            "  engine argument max_num_seqs: 16 -> 4",
            "  not gated *output throughput * -> * tok/s  -*",
        ]
    )
    red.stdout.no_fnmatch_line("*Traceback*")
    assert file.read_text() == text

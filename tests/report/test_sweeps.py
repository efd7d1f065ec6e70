"""Findings of a sweep as text of 80 columns, and as data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import Cliff, Figures, Findings, Knee, PointResult
from pytest_vllmperf.report.sweeps import as_json, lines, progress

ENGINE = EngineSamples(discarded=0, iterations=1, samples={"output_throughput": [1234.0], "preemptions": [3.0]})


def figures(settings: dict[str, Any], **changed: Any) -> Figures:
    return Figures(PointResult(**{"settings": settings, "engines": (ENGINE,), **changed}), 1234.0, 0.25, 31.25)


def found(*rows: Figures, **changed: Any) -> Findings:
    told: dict[str, Any] = {"name": "study", "engine": "tiny", "ttft": "ttft.p99", "metric": "output_throughput"}
    return Findings(**{**told, "figures": rows, **changed})


def test_a_row_a_point_with_what_there_is_to_say() -> None:
    knee = Knee("concurrency", {"max_num_seqs": 8}, 4, 2, 4, 1, at_end=False)
    cliff = Cliff("concurrency", {"max_num_seqs": 8}, 4, 8, 0.8, 0.75, 0.85)
    rows = [
        figures({"max_num_seqs": 8, "concurrency": 4}),
        figures({"max_num_seqs": 8, "concurrency": 8}, engines=(), reason="out of memory", detail="CUDA said so"),
        figures({"max_num_seqs": 8, "concurrency": 9}, problems=(Problem("length", "too short"),)),
    ]
    text = lines(found(*rows, knees=(knee,), cliffs=(cliff,), front=(0,), missing=2))
    assert text[0] == "study: tiny, 3 points, 2 still to measure"
    assert text[3].split() == ["8", "4", "1,234", "250", "ms", "31.2", "knee,", "front,", "preempting"]
    assert text[4].split() == ["8", "8", "-", "-", "-", "out", "of", "memory"]
    assert text[5].split()[2:] == ["-", "-", "-", "void:", "length"]
    assert "knee at max_num_seqs=8: concurrency=4 (95 %: 2 to 4)" in text
    assert "cliff at max_num_seqs=8: concurrency 4 -> 8: throughput -20.0 % [-25.0, -15.0]" in text
    assert "1 point out of memory: CUDA said so" in text
    assert "1 point void: too short [length]" in text


def test_an_open_knee_says_so() -> None:
    knee = Knee("rate", {}, 8.5, 2, 8.5, 3, at_end=True)
    text = " ".join(lines(found(figures({"rate": 8.5}), knees=(knee,))))
    assert "knee: rate=8.5 (95 %: 2 to 8.5, not decided), the largest load measured: it may lie beyond" in " ".join(
        text.split()
    )


def test_a_knee_without_some_loads_says_which() -> None:
    knee = Knee("rate", {}, 8.5, 8.5, 8.5, 0, at_end=False, without=(2, 16))
    assert "knee: rate=8.5 (95 %: 8.5); without rate=2, 16, where the point failed" in lines(
        found(figures({"rate": 8.5}), knees=(knee,)), 120
    )


def test_a_best_value_that_is_not_decided_says_so() -> None:
    text = lines(found(figures({"a": 4}), best={"a": 4, "b": 1}, near={"a": [2, 8]}), 120)
    assert "a=4 was chosen by one engine of each value; within 3 % of it, and so not decided: 2, 8" in text
    assert not [line for line in text if line.startswith("b=")]


@pytest.mark.parametrize("axes", [1, 3, 9])
def test_no_line_is_longer_than_the_terminal(axes: int) -> None:
    settings = {f"some_long_engine_argument_{number}": {"method": "ngram", "k": number} for number in range(axes)}
    rows = [figures(settings), figures(settings, engines=(), reason="did not start", detail="x " * 200)]
    text = lines(found(*rows, front=(0,), best=settings))
    assert max(map(len, text)) <= 80
    told = "".join(part for line in text for part in line.split())
    assert all(name in told for name in settings)


def test_nothing_is_measured_yet() -> None:
    assert lines(found(missing=4))[0] == "study: tiny, 0 points, 4 still to measure"


def test_a_program_gets_samples_and_findings() -> None:
    knee = Knee("concurrency", {}, 4, 4, 4, 0, at_end=False)
    data = json.loads(as_json(found(figures({"concurrency": 4}), knees=(knee,), front=(0,))))
    (point,) = data["points"]
    assert point["engines"][0]["samples"]["output_throughput"] == [1234.0]
    assert (point["front"], point["preempting"], point["tokens_per_second_per_user"]) == (True, True, 31.25)
    assert data["knees"][0]["decided"] is True


def test_what_an_engine_says_cannot_reach_the_terminal() -> None:
    bad = figures({"a": "\x1b[31m"}, engines=(), reason="failed", detail="\x1b]0;x\x07")
    assert "\x1b" not in "\n".join(lines(found(bad)))
    assert "\x1b" not in progress(1, 2, 0, None, "a=\x1b[31m")


def test_progress_is_one_line() -> None:
    assert progress(3, 24, 0, None, "a=1") == "3 of 24 points: a=1"
    assert progress(3, 24, 1, 42.0, "a=1") == "3 of 24 points, 1 failed, about 42 s left: a=1"
    assert progress(3, 24, 0, 7260.0, "") == "3 of 24 points, about 2 h 1 min left"
    assert progress(3, 24, 0, 150.0, "") == "3 of 24 points, about 2 min left"

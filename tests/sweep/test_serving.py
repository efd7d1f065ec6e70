"""The study of a search: what is tried where nobody says, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import gpu
from pytest_vllmperf.errors import NoDriverError, SpecError, WorkloadError
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.sweep import serving
from tests import needs
from tests.sweep.conftest import CARD
from tests.sweep.planted import PROMISE

ASKED = serving.Asked(
    model="m",
    arguments={},
    axes={},
    promise=PROMISE,
    workload={"input_tokens": 8, "output_tokens": 4},
    backend="offline",
    gpu=None,
    measuring=MeasureSettings(None, 3),
    replicates=5,
    trials=20,
    allow=(),
    results=Path("r.json"),
)


def axes(monkeypatch: pytest.MonkeyPatch, card: GpuDevice | None, **asked: Any) -> dict[str, tuple[Any, ...]]:
    def devices() -> tuple[GpuDevice, ...]:
        if card is None:
            raise NoDriverError("no driver")
        return (card,)

    monkeypatch.setattr(gpu, "devices", devices)
    return {one.name: tuple(one.values) for one in serving.study(replace(ASKED, **asked)).space.axes}


@pytest.mark.parametrize("card", [None, CARD, replace(CARD, total_bytes=80 * 2**30)])
def test_by_default_two_arguments_and_the_concurrency_are_tried(
    card: GpuDevice | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = axes(monkeypatch, card)
    assert list(found) == ["max_num_batched_tokens", "max_num_seqs", "concurrency"]
    assert min(found["max_num_batched_tokens"]) * 2 >= max(found["max_num_seqs"]) // 2
    assert found["concurrency"][0] == 1


def test_a_larger_card_gets_a_larger_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    large = axes(monkeypatch, replace(CARD, total_bytes=80 * 2**30))
    small, cpu = axes(monkeypatch, CARD), axes(monkeypatch, None)
    assert max(large["max_num_seqs"]) > max(small["max_num_seqs"]) > max(cpu["max_num_seqs"])
    assert max(small["concurrency"]) > max(cpu["concurrency"])


def test_axes_replace_and_add_and_set_fixes(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"max_num_seqs": [2, 8], "block_size": [16, 32], "rate": [4, 2]}
    found = axes(monkeypatch, None, axes=given, arguments={"max_num_batched_tokens": 512}, backend="serve")
    assert found == {"max_num_seqs": (2, 8), "block_size": (16, 32), "rate": (2, 4)}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        pytest.param(
            {"axes": {"max_num_seq": [1]}},
            "no engine argument 'max_num_seq' .did you mean max_num_seqs",
            marks=needs.VLLM,
        ),
        pytest.param(
            {"arguments": {"max_num_seq": 1}},
            "no engine argument 'max_num_seq' .did you mean max_num_seqs",
            marks=needs.VLLM,
        ),
        ({"axes": {"max_num_seqs": []}}, "the grid is empty: axis 'max_num_seqs' has no values"),
        ({"axes": {"max_num_seqs": [4, 4]}}, "the value 4 is there twice"),
        ({"axes": {"input_tokens": [4]}}, "axes of it are concurrency or rate"),
        ({"axes": {"rate": [4], "concurrency": [4]}}, "concurrency and rate exclude each other"),
        ({"axes": {"model": ["a"]}}, "--axis model: this cannot be varied"),
        ({"axes": {"concurrency": ["many"]}}, "--axis concurrency: loads are numbers above 0"),
        ({"axes": {"concurrency": [0]}}, "--axis concurrency: loads are numbers above 0"),
        ({"axes": {"block_size": [8]}, "arguments": {"block_size": 16}}, "--set fixes it already"),
        ({"backend": "nope"}, "backend='nope' does not exist"),
        ({"workload": {"requests": 32, "input_tokens": 8, "output_tokens": 4}}, "cannot be told from 96 requests"),
        ({"axes": {"block_size": list(range(1, 2001))}, "trials": 2000}, "up to 12,006 points, more than 10,000"),
    ],
)
def test_what_cannot_be_meant(asked: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=words):
        axes(monkeypatch, None, **asked)


def test_a_rate_needs_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WorkloadError, match="needs a server"):
        axes(monkeypatch, None, axes={"rate": [4]})


def test_many_points_that_are_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    assert axes(monkeypatch, None, axes={"block_size": list(range(1, 2001))}, trials=2000, many=True)


def test_a_large_grid_of_which_few_engines_are_tried_has_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    axes(monkeypatch, None)
    large = replace(ASKED, axes={"block_size": list(range(1, 5001))}, trials=9)
    assert serving.study(large).most_points == 10 * 6


def test_requests_follow_the_load_where_nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    axes(monkeypatch, None)
    study = serving.study(ASKED)
    counts = [study.workload_of(study.point(study.default, load)).count for load in (1, 32)]
    assert counts == [64, 128]
    assert study.spec_of(study.point(study.default, 1)).args == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ttf=.3", "an SLO has no part 'ttf'; ttft, tpot, e2e, e2el; did you mean 'ttft'"),
        ("ttft", "'ttft' is not NAME=SECONDS"),
        ("ttft=fast", "this is no number of seconds"),
        ("ttft=-1", "must be seconds above zero"),
        ("ttft=nan", "must be seconds above zero"),
        ("ttft=0", "must be seconds above zero"),
        ("", "an SLO needs at least one"),
        ("e2e=1,e2el=2", "e2e is there twice"),
    ],
)
def test_a_promise_that_cannot_be_meant(text: str, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        serving.parse_promise(text, 0.99, 128)


def test_a_promise() -> None:
    assert serving.parse_promise("ttft=.3, tpot=.03", 0.99, 128) == PROMISE
    assert serving.parse_promise("e2el=2", 0.9, 1).slo.e2e == 2
    with pytest.raises(SpecError, match="must be above 0"):
        serving.parse_promise("ttft=.3", 99.0, 128)
    with pytest.raises(SpecError, match="no time between tokens"):
        serving.parse_promise("tpot=.3", 0.99, 1)

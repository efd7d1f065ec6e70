"""How two environments differ, in words."""

from __future__ import annotations

import json

import pytest

from pytest_vllmperf.history.reading import Place
from pytest_vllmperf.history.words import hard_changes, soft_changes, unchanged
from tests.history.material import HARD, SOFT, WORKLOAD


def place(hard: dict[str, str] = HARD, soft: dict[str, str] = SOFT, workload: dict[str, object] = WORKLOAD) -> Place:
    return Place(json.dumps(hard), json.dumps(soft), json.dumps(workload))


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        ({}, {}, ()),
        ({"driver": "1"}, {"driver": "2"}, ("driver 1 -> 2",)),
        ({"version of vllm": "1"}, {"version of vllm": "2", "driver": "3"}, ("vLLM 1 -> 2", "driver none -> 3")),
        ({"version of torch": "2.9"}, {"version of torch": "2.13"}, ("torch 2.9 -> 2.13",)),
        ({"engine argument max_num_seqs": "8"}, {"engine argument max_num_seqs": "4"}, ("max_num_seqs 8 -> 4",)),
        ({"host load": "idle", "system": "a"}, {"host load": "busy", "system": "b"},
         ("system a -> b", "host load idle -> busy")),
        ({"engine argument x": "1", "resolved x": "1"}, {"engine argument x": "2", "resolved x": "2"}, ("x 1 -> 2",)),
        ({"model name": f"org/m@{'a' * 40}"}, {"model name": f"org/m@{'b' * 40}"}, ("model changed",)),
        ({"resolved x": "y" * 70 + "1"}, {"resolved x": "y" * 70 + "2"}, ("x changed",)),
        ({"resolved x": "1"}, {"resolved x": "y" * 70}, (f"x 1 -> {'y' * 57}...",)),
    ],
)  # fmt: skip
def test_what_may_differ(then: dict[str, str], now: dict[str, str], expected: tuple[str, ...]) -> None:
    assert soft_changes(place(soft=then), place(soft=now)) == expected


def test_what_everybody_asks_for_is_told_where_it_is_the_same() -> None:
    assert unchanged(place(), place()) == ("vLLM 0.32.0", "driver 580.95")
    assert unchanged(place(), place(soft={**SOFT, "version of vllm": "0.33.0"})) == ("driver 580.95",)
    assert unchanged(place(soft={}), place(soft={})) == ()


def test_what_has_to_match() -> None:
    assert hard_changes(place(), place({**HARD, "gpu": "NVIDIA H100"})) == ("gpu NVIDIA H200 -> NVIDIA H100",)
    work = {"kind": "synthetic", "count": 5}
    assert hard_changes(place(), place({**HARD, "workload": "b" * 32}, workload=work)) == ("requests 4 -> 5",)
    assert hard_changes(place(), place({**HARD, "workload": "b" * 32})) == (
        "the workload differs in its prompts, their lengths or their times",
    )
    digests = [{**HARD, "model": f"sha256:{sign * 64}"} for sign in "ab"]
    assert hard_changes(place(digests[0]), place(digests[1])) == ("model changed",)

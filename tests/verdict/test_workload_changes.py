"""How two workloads differ, in words."""

from __future__ import annotations

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.verdict.workload_changes import with_workload_in_words, workload_changes

CHAT = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (CHAT, []),
        (Workload.synthetic(requests=5, input_tokens=8, output_tokens=5), ["requests 4 -> 5"]),
        (
            Workload.synthetic(requests=4, input_tokens=(8, 16), output_tokens=7),
            ["output tokens 5 -> 7", "input tokens 8 -> [8, 16]"],
        ),
        (CHAT.at(concurrency=2), ["concurrency none -> 2"]),
        (CHAT.at(rate=3), ["process none -> poisson", "rate none -> 3.0"]),
        (CHAT.asking(json_schema={"type": "object"}), ["ignore eos true -> false", "json schema changed"]),
    ],
)
def test_settings_in_words_and_never_a_hash(now: Workload, words: list[str]) -> None:
    assert list(workload_changes(CHAT.describe(), now.describe())) == words


def test_the_key_is_replaced_by_what_differs() -> None:
    five = Workload.synthetic(requests=5, input_tokens=8, output_tokens=5)
    differences = ["gpu: A100 -> H200", f"workload: {CHAT.key} -> {five.key}"]
    assert with_workload_in_words(differences, CHAT.describe(), five.describe()) == (
        "gpu: A100 -> H200",
        "requests 4 -> 5",
    )
    assert with_workload_in_words(["gpu: A -> B"], CHAT.describe(), five.describe()) == ("gpu: A -> B",)


def test_texts_are_not_stored_so_that_only_their_difference_is_known() -> None:
    a, b = (Workload.prompts([text], output_tokens=4) for text in ("one", "two"))
    assert with_workload_in_words([f"workload: {a.key} -> {b.key}"], a.describe(), b.describe()) == (
        "the workload's prompts differ, or their lengths or times",
    )

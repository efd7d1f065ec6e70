"""The fuzzer of the reader, for a few rounds; `tests/loadgen/fuzz_reading.py` runs it for as long as one likes."""

from tests.loadgen import fuzz_reading


def test_mutated_responses_in_any_split_are_read_alike() -> None:
    counts = fuzz_reading.run(rounds=1500, seconds=600, seed=20)
    assert sum(counts.values()) == 1500
    assert {"sound", "cut", "malformed", "error", "status", "shed", "redirect", "empty", "stalled"} <= set(counts)

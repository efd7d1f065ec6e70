"""The memory limit of real engines on the CPU build: vLLM's own refusals lead the search."""

from __future__ import annotations

from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep.bounds import Bounds
from pytest_vllmperf.sweep.fitting import fit

from .conftest import MODEL, TINY, perf

__all__ = ["perf"]

BYTES_PER_TOKEN = 4096
"""Of the tiny model: 4 layers x 4 KV heads x 32 numbers x 2 x 4 bytes."""


def test_the_longest_that_a_small_cache_holds(perf: Lab) -> None:
    arguments = {**TINY, "max_model_len": None, "max_num_seqs": 2, "kv_cache_memory_bytes": 1024 * BYTES_PER_TOKEN}
    found = fit(perf, EngineSpec.create(MODEL, **arguments), Bounds(max_model_len=(896, 1152)))
    assert 896 <= found.max_model_len <= 1024
    outcomes = {one.max_model_len: (one.outcome, one.reason) for one in found.tries}
    assert outcomes[found.max_model_len][0] == "works"
    above, reason = outcomes[found.max_model_len + 128]
    assert above == "too little"
    assert reason.startswith("To serve at least one request")
    assert [one.outcome for one in found.tries if one.max_model_len == found.max_model_len] == ["works"] * 2

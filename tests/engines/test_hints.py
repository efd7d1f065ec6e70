"""Some refusals end with what to write in a test; vLLM's words are those of 0.26 and 0.32."""

from __future__ import annotations

import pytest

from pytest_vllmperf.engines.hints import with_hint

CPU = (
    "Available memory on node 0 ({free}/{total} GiB) on startup is less than desired CPU memory utilization "
    "(0.92, 21.6 GiB). On the CPU backend, the `--gpu-memory-utilization` flag controls the fraction of CPU memory "
    "reserved"
)
GPU = (
    "Free memory on device cuda:0 ({free}/{total} GiB) on startup is less than desired GPU memory utilization (0.92, "
    "73.1 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
)


@pytest.mark.parametrize("words", [CPU, GPU])
@pytest.mark.parametrize(
    ("free", "total", "share"), [("20.0", "23.5", "0.76"), ("5.29", "79.18", "0.06"), ("0.05", "8.0", "0.01")]
)
def test_a_share_that_is_free_is_named(words: str, free: str, total: str, share: str) -> None:
    refusal = words.format(free=free, total=total)
    hint = f"; in a test: @pytest.mark.vllm(..., gpu_memory_utilization={share})"
    assert with_hint(refusal) == refusal.rstrip(".") + hint


def test_without_figures_the_usual_share_is_named() -> None:
    hint = with_hint("Memory is less than desired GPU memory utilization")
    assert hint.endswith("gpu_memory_utilization=0.2)")


def test_a_cache_that_does_not_fit_is_to_be_smaller() -> None:
    words = (
        "Available memory on node 0 (0.5/23.5 GiB) on kv cache allocation is less than requested memory for kv (1 GiB)"
    )
    assert with_hint(words) == f"{words}; in a test: @pytest.mark.vllm(..., kv_cache_memory_bytes=2**28)"


@pytest.mark.parametrize("words", [
    "The repository m contains custom code which must be executed. Please pass the argument `trust_remote_code=True`",
    "consider setting `trust_remote_code=True` in LLM or using the `--trust-remote-code` flag in the CLI.",
])  # fmt: skip
def test_a_model_with_code_of_its_own_needs_the_users_word(words: str) -> None:
    hint = "; in a test: @pytest.mark.vllm(..., trust_remote_code=True)"
    assert with_hint(words) == words.rstrip(".") + hint
    assert (
        with_hint("It contains custom code", f"It contains custom code\n\n{words}") == "It contains custom code" + hint
    )


@pytest.mark.parametrize("words", ["", "max_model_len is too large", "Try increasing `gpu_memory_utilization`"])
def test_other_refusals_have_no_hint(words: str) -> None:
    assert with_hint(words) == words

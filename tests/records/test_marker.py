"""An engine as text to paste."""

from __future__ import annotations

import pytest

from pytest_vllmperf.records.marker import marker, serve_command
from pytest_vllmperf.records.spec import EngineSpec


def test_a_marker_is_python() -> None:
    spec = EngineSpec.create("org/m", backend="serve", max_num_seqs=8, dtype="float32", enforce_eager=True)
    assert marker(spec) == (
        '@pytest.mark.vllm("org/m", backend="serve", dtype="float32", enforce_eager=True, max_num_seqs=8)'
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_num_seqs": 8}, "--max-num-seqs 8"),
        ({"enforce_eager": True}, "--enforce-eager"),
        ({"enable_prefix_caching": False}, "--no-enable-prefix-caching"),
        ({"quantization": None}, ""),
        ({"speculative_config": {"method": "ngram"}}, """--speculative-config '{"method": "ngram"}'"""),
        ({"cudagraph_capture_sizes": [1, 2]}, "--cudagraph-capture-sizes 1 2"),
        ({"hf_token": "hf_abcdef"}, "--hf-token '***'"),
    ],
)
def test_a_command_takes_arguments_as_vllm_does(arguments: dict[str, object], words: str) -> None:
    assert serve_command(EngineSpec.create("a model", **arguments)) == f"vllm serve 'a model' {words}".strip()


@pytest.mark.parametrize(
    ("model", "words"),
    [("tiny", "--shape tiny"), ("qwen3-0.6b-awq", "--shape qwen3-0.6b --quantization awq")],
)
def test_a_built_in_model_is_made_by_the_command(model: str, words: str) -> None:
    command = serve_command(EngineSpec.create(f"vllmperf:{model}", block_size=16))
    assert command == f'vllm serve "$(vllmperf make-model {words})" --block-size 16'

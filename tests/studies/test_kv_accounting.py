"""What a token takes in the KV cache: by the model's configuration, and by the blocks that an engine uses.

Published for Qwen3-0.6B: 7, 28, 112 and 448 MB for 64, 256, 1,024 and 4,096 tokens; 4.4 GB for ten of 4,096.
"""

from __future__ import annotations

import json

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf
from pytest_vllmperf.models.kv_cache import kv_bytes_per_token
from pytest_vllmperf.models.shapes import SHAPES, config

from .blocks import Blocks
from .conftest import MODELS, Study, Tell

MIB = 2**20
PUBLISHED = {(1, 64): 7, (1, 256): 28, (1, 1024): 112, (1, 4096): 448, (10, 4096): 4480}
"""(requests, tokens of each) -> MiB for Qwen3-0.6B in bfloat16."""
OUTPUT = 64
WINDOW = 8192


@pytest.mark.parametrize(("requests", "tokens"), PUBLISHED)
def test_formula_gives_the_published_sizes(requests: int, tokens: int) -> None:
    published = json.loads((MODELS / "qwen3-0.6b" / "config.json").read_text())
    size = kv_bytes_per_token(published, "bfloat16")
    assert size is not None
    assert requests * tokens * size == PUBLISHED[requests, tokens] * MIB


def sequences(requests: int, tokens: int) -> Workload:
    """Requests of so many tokens each, answer included."""
    output = min(OUTPUT, tokens // 2)
    return Workload.synthetic(requests=requests, input_tokens=tokens - output, output_tokens=output)


@pytest.mark.quick
@pytest.mark.vllmperf(iterations=1, warmup=0, device_pass="off")
def test_engines_blocks_hold_what_the_formula_says(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    longer = {} if study.on_gpu else {"hf_overrides": {"max_position_embeddings": WINDOW}}
    engine = vllmperf.engine(**study.light(max_model_len=WINDOW, max_num_seqs=16, **longer))
    shape, dtype = ("qwen3-0.6b", "bfloat16") if study.on_gpu else ("tiny", "float32")
    expected = kv_bytes_per_token(config(SHAPES[shape], dtype), dtype)
    assert expected is not None
    rows, found, needed = [], [], []
    for requests, tokens in study.points(list(PUBLISHED), [(1, 64), (1, 1024)]):
        blocks = Blocks.of(vllmperf.measure(sequences(requests, tokens), engine=engine))
        found.append((blocks.bytes_per_token, blocks.used))
        needed.append((expected, requests * blocks.holding(tokens)))
        formula = requests * tokens * expected
        rows.append(
            [requests, tokens, blocks.used, blocks.used_bytes / MIB, formula / MIB, blocks.used_bytes / formula]
        )
    tell(
        f"KV cache of {shape}: {expected:,} bytes a token, blocks of {blocks.size} tokens",
        ["requests", "tokens each", "blocks used", "MiB used", "MiB by formula", "used / formula"],
        rows,
    )
    assert found == needed

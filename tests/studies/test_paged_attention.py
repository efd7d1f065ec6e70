"""KV cache in use against KV cache reserved: in blocks, and as one piece of max_model_len for each request.

Published: systems that reserve in one piece put 20 to 38 % of it to use (Kwon et al., SOSP 2023); blocks waste less
than 4 % (vLLM's announcement, 2023).
"""

from __future__ import annotations

import pytest

from pytest_vllmperf import Measurement, Workload
from pytest_vllmperf.harness.fixture import VllmPerf

from .blocks import Blocks
from .conftest import Study, Tell

REQUESTS = 32
LENGTHS = (64, 1024)
OUTPUT = 32
WINDOW = 2048
AT_ONCE = REQUESTS * LENGTHS[1]


def stored_tokens(run: Measurement) -> list[int]:
    """Tokens of each request in the fullest step: the last but one, after which nothing has been freed yet.

    All prompts are computed in the first step; a step stores the token before the one that it makes.
    """
    return [request.prompt_tokens + OUTPUT - 2 for request in run.iterations[0][0].requests]


@pytest.mark.quick
@pytest.mark.vllmperf(iterations=1, warmup=0, device_pass="off")
def test_blocks_waste_less_than_one_piece_each(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    work = Workload.synthetic(requests=REQUESTS, input_tokens=LENGTHS, output_tokens=OUTPUT)
    usual = {"max_num_seqs": REQUESTS, "max_model_len": WINDOW, "max_num_batched_tokens": AT_ONCE}
    rows: list[list[object]] = []
    used: list[int] = []
    needed: list[int] = []
    sizes = (16, 32, 128) if study.on_gpu else (32, 64, 128)
    for size in study.points(sizes, [32]):
        run = vllmperf.measure(work, engine=vllmperf.engine(**study.light(block_size=size, **usual)))
        blocks, stored = Blocks.of(run), stored_tokens(run)
        assert blocks.size == size
        used.append(blocks.used)
        needed.append(sum(map(blocks.holding, stored)))
        useful = sum(stored)
        rows.append([f"blocks of {size}", size, blocks.used_bytes / 2**20, 100 * useful / (blocks.used * size)])
    reserved = REQUESTS * WINDOW
    rows.append([f"{WINDOW:,} tokens each", WINDOW, reserved * blocks.bytes_per_token / 2**20, 100 * useful / reserved])
    tell(
        f"{REQUESTS} requests of {LENGTHS[0]} to {LENGTHS[1]:,} tokens and {OUTPUT} new ones",
        ["reserved as", "tokens a piece", "MiB", "useful %"],
        rows,
    )
    # A GPU's engine core begins before all requests have arrived: not all are in the same step there.
    assert used == (pytest.approx(needed, rel=0.05) if study.on_gpu else needed)
    assert all(blocks * size < reserved for blocks, size in zip(used, sizes, strict=False))

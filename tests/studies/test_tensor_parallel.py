"""Two GPUs for one engine: the shape of Llama-3-8B in bfloat16, recorded and judged, its GPU time by rank.

The model is a `config.json` with weights that vLLM makes up. docs/studies/two-gpus.md has what was seen.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf

pytestmark = pytest.mark.recorded

MODEL: Final = Path(__file__).parent / "models" / "llama-8b"
ARGUMENTS: Final[dict[str, Any]] = {
    "load_format": "dummy",
    "skip_tokenizer_init": True,
    "gpu_memory_utilization": 0.6,
    "max_model_len": 1024,
    # CUDA graphs without torch.compile: the GPUs are the limit, and an engine starts soon.
    "compilation_config": {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY", "cudagraph_capture_sizes": [32]},
}


@pytest.mark.gpu(count=2)
@pytest.mark.vllmperf(iterations=5, warmup=6)
def test_8b(vllmperf: VllmPerf) -> None:
    """32 requests at once, over both GPUs."""
    work = Workload.synthetic(requests=32, input_tokens=64, output_tokens=256)
    vllmperf.check(vllmperf.measure(work, engine=vllmperf.engine(str(MODEL), **ARGUMENTS)))

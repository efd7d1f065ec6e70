"""The GPU's own time: of a small model, whose GPU waits for the host, and of a larger one that keeps it busy.

Recorded on many engines (`--vllmperf-update --vllmperf-engines 10`), the baselines are A/A campaigns. With
`VLLMPERF_STUDY_CHANGE` the engine's arguments are a little different: a slowdown of known cause, see `small_changes`.

The models are a `config.json` each, in the folder `models`, with weights that vLLM makes up: an 8B checkpoint takes
minutes to write. They stay at one place because vLLM's compile cache goes by the model's path.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study
from .small_changes import GPU_BOUND, HOST_BOUND, VARIABLE, changed, graphs

pytestmark = pytest.mark.recorded

CHANGE: Final = os.environ.get(VARIABLE, "")
MODELS: Final = Path(__file__).parent / "models"
COMMON: Final[dict[str, Any]] = {
    "load_format": "dummy",
    "skip_tokenizer_init": True,
    "max_model_len": 1024,
    "gpu_memory_utilization": 0.5,
}


@pytest.fixture(autouse=True)
def _on_a_gpu(study: Study) -> None:
    if not study.on_gpu:
        pytest.skip("GPU time needs a GPU; none was found")


@pytest.mark.vllmperf(iterations=5, warmup=2, gate="device")
def test_host_bound(vllmperf: VllmPerf) -> None:
    """64 requests at once of a model of 0.6B parameters: its GPU idles while the host prepares the next step."""
    own = {"dtype": "bfloat16", **graphs(1, 2, 4, 8, 16, 32, 64)}
    arguments = changed({**COMMON, **own}, CHANGE, HOST_BOUND)
    work = Workload.synthetic(requests=64, input_tokens=128, output_tokens=128)
    engine = vllmperf.engine(str(MODELS / "qwen3-0.6b"), **arguments)
    vllmperf.check(vllmperf.measure(work, engine=engine))


@pytest.mark.vllmperf(iterations=5, warmup=2, gate="device")
def test_gpu_bound(vllmperf: VllmPerf) -> None:
    """48 requests, 24 at a time, of an 8B model whose weights have four bits each."""
    own = {"dtype": "float16", **graphs(1, 2, 4, 8, 16, 24, 32)}
    arguments = changed({**COMMON, **own}, CHANGE, GPU_BOUND)
    work = Workload.synthetic(requests=48, input_tokens=200, output_tokens=100).at(concurrency=24)
    engine = vllmperf.engine(str(MODELS / "llama-8b-awq"), **arguments)
    vllmperf.check(vllmperf.measure(work, engine=engine))

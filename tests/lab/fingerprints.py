"""Keys of an environment, of a machine and an engine that a test changes in one place."""

from dataclasses import replace
from typing import Any

from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import environment
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.engine import EngineFacts
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

CUDA = EngineFacts(
    device="cuda",
    device_name="NVIDIA H200",
    max_model_len=4096,
    vocab_size=32000,
    special_token_ids=(0,),
    prefix_caching=True,
    load_time={"total": 10.0},
    kv_cache_tokens=1000,
    kv_cache_bytes=1024,
    versions={"vllm": "0.32.0", "torch": "2.13.0"},
    resolved={"dtype": "bfloat16", "max_num_seqs": 256},
)
CPU = replace(CUDA, device="cpu", device_name=None)
GPU = GpuDevice("GPU-1", "NVIDIA H200", 139 * 2**30, (9, 0), "565.57.01", cuda="12.7", power_limit=700.0)
SPEC = EngineSpec.create("org/model", max_model_len=4096)
WORKLOAD = Workload.synthetic(requests=2, input_tokens=4, output_tokens=2)


def hard(spec: EngineSpec = SPEC, workload: Workload = WORKLOAD, facts: EngineFacts = CUDA, gpus: Any = (GPU,),
         digest: str = "d") -> dict[str, str]:  # fmt: skip
    return environment.fingerprint(Target(spec), workload, facts, gpus, digest).hard


def soft(spec: EngineSpec = SPEC, workload: Workload = WORKLOAD, facts: EngineFacts = CUDA, gpus: Any = (GPU,),
         digest: str = "d") -> dict[str, str]:  # fmt: skip
    return environment.fingerprint(Target(spec), workload, facts, gpus, digest).soft

"""Which program each backend's child runs, and what its arguments must not be."""

from __future__ import annotations

from pytest_vllmperf.engines.child_engine import Program
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec

PROGRAMS = {
    "offline": Program("vllm", "vllmperf_offline", "vLLM"),
    "transformers": Program("transformers", "vllmperf_reference", "transformers"),
}


def program(spec: EngineSpec) -> Program:
    """The program of a spec's backend.

    Raises:
        SpecError: for an argument that would take the timestamps away.
    """
    if spec.backend == "offline" and spec.args.get("disable_log_stats"):
        raise SpecError("disable_log_stats=True takes away the timestamps that a measurement is made of; leave it out")
    return PROGRAMS[spec.backend]

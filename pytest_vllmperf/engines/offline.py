"""The offline engine: vLLM's `LLM` in a child process."""

from __future__ import annotations

from typing import Any

from pytest_vllmperf.engines.adapters import check_adapters
from pytest_vllmperf.engines.child_engine import Program
from pytest_vllmperf.engines.forkserver import Library
from pytest_vllmperf.engines.in_process import InProcessEngine
from pytest_vllmperf.engines.profiling import ProfiledEngine
from pytest_vllmperf.errors import EngineError, SpecError
from pytest_vllmperf.records.adapters import ARGUMENT, adapters
from pytest_vllmperf.records.spec import EngineSpec

VLLM = Library("vllm", "vLLM", "pip install 'pytest-vllmperf[cuda]' on a GPU host, or 'pytest-vllmperf[cpu]'")


class VllmOperations(ProfiledEngine):
    """What vLLM does however it is driven: it can sleep and be profiled, and it keeps a prefix cache."""

    def reset_prefix_cache(self) -> None:
        """Forget the KV blocks of earlier prompts.

        Raises:
            EngineError: when vLLM declines, as it does while a block is in use.
        """
        if self.ask({"op": "reset_prefix_cache"}) is not True:
            raise EngineError(f"{self.spec.name}: the prefix cache could not be reset because a block is still in use")

    def reset_media_caches(self) -> None:
        """Forget images and sound of earlier requests: else only the first iteration would encode them."""
        self.ask({"op": "reset_media_caches"})

    def sleep(self) -> None:
        """Give the device's memory back until `wake_up`: vLLM's sleep mode, level 1."""
        self.ask({"op": "sleep"})

    def wake_up(self) -> None:
        """Take the device's memory again."""
        self.ask({"op": "wake_up"})


class OfflineEngine(VllmOperations, InProcessEngine):
    """The engine with vLLM's `LLM`."""

    def _load_request(self, model: str) -> dict[str, Any]:
        loading = super()._load_request(model)
        arguments = {name: value for name, value in loading["engine_args"].items() if name != ARGUMENT}
        return {**loading, "engine_args": arguments, "adapters": adapters(self.spec.args)}


def check_arguments(spec: EngineSpec) -> None:
    """Refuse what would make a measurement impossible; everything else is vLLM's to check.

    Raises:
        SpecError: for an argument that would take the timestamps away, or adapters that cannot be loaded.
    """
    if spec.args.get("disable_log_stats"):
        raise SpecError(
            "disable_log_stats=True removes the timestamps that a measurement needs; leave the argument out"
        )
    check_adapters(spec)


PROGRAM = Program(VLLM, "vllmperf_offline", OfflineEngine)

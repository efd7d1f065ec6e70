"""The backends: one row for each kind of engine. A new kind is a module that starts it, and a row here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from pytest_vllmperf.engines import endpoint, offline, reference, serve, simulated
from pytest_vllmperf.engines.adapters import check_adapters
from pytest_vllmperf.engines.starting import Starter, in_child
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec


class Clock(Enum):
    """Whose timestamps an engine's figures are made of."""

    ENGINE = "the engine's own"
    CLIENT = "the client's, at its socket"
    SCRIPT = "a script's; no time passes"


def _all_are_valid(_: EngineSpec) -> None:
    """The check of a backend that can measure with any arguments."""


@dataclass(frozen=True)
class Backend:
    """One kind of engine. Everything that depends on the kind asks a property of its row.

    Attributes:
        name: what `backend=` says.
        label: the kind for a person, as the subject of a sentence.
        start: starts an engine.
        clock: whose timestamps its figures are made of.
        uses_gpu: whether it runs on a GPU, or the processor where there is none; either is leased for it.
        fills_memory: whether its KV cache takes what `gpu_memory_utilization` leaves of a GPU's memory.
        sleeps: whether its engines give memory back in between, when they are started with `enable_sleep_mode`.
        spreads: whether `*_parallel_size` arguments spread one engine over several GPUs.
        check: raises `SpecError` for arguments that would make a measurement impossible.
        against: whether the same engine on another interpreter's vLLM can be set against it.
        on_hardware: whether hardware that is known here decides its figures: its profile is then that hardware, else
            the name that the engine tells, or the backend's own.
        sized: whether its arguments say how much memory it takes: `gpu_memory_utilization`, `kv_cache_memory_bytes`,
            `max_model_len`.
        vllm_arguments: whether its engine arguments are vLLM's, whose names are known without a start.
        vllm_requests: whether its requests may name a LoRA adapter of its `lora_modules`, and hold images.
    """

    name: str
    label: str
    start: Starter
    clock: Clock
    uses_gpu: bool = False
    fills_memory: bool = False
    sleeps: bool = False
    spreads: bool = False
    check: Callable[[EngineSpec], None] = _all_are_valid
    against: bool = False
    on_hardware: bool = True
    sized: bool = False
    vllm_arguments: bool = False
    vllm_requests: bool = False

    @property
    def over_http(self) -> bool:
        """Whether a client drives its engines through a socket."""
        return self.clock is Clock.CLIENT


@dataclass(frozen=True)
class Backends:
    """A table of backends.

    Attributes:
        rows: one for each.
    """

    rows: tuple[Backend, ...]

    def of(self, spec: EngineSpec) -> Backend:
        """The backend of an engine.

        Raises:
            SpecError: for one that does not exist, naming those that do.
        """
        for row in self.rows:
            if row.name == spec.backend:
                return row
        names = ", ".join(row.name for row in self.rows)
        raise SpecError(f"backend={spec.backend!r} does not exist; choose one of {names}")

    def checked(self, spec: EngineSpec) -> EngineSpec:
        """The spec, if an engine of it can be measured as far as that is known before a start.

        Raises:
            SpecError: for a backend that does not exist, or an argument that its engines cannot be measured with.
        """
        self.of(spec).check(spec)
        return spec


BACKENDS = Backends(
    (
        Backend(
            "offline",
            "vLLM",
            in_child(offline.PROGRAM),
            Clock.ENGINE,
            uses_gpu=True,
            fills_memory=True,
            sleeps=True,
            spreads=True,
            check=offline.check_arguments,
            against=True,
            sized=True,
            vllm_arguments=True,
            vllm_requests=True,
        ),
        Backend("transformers", "the transformers reference", in_child(reference.PROGRAM), Clock.ENGINE, uses_gpu=True),
        Backend(
            "serve",
            "vLLM's server",
            in_child(serve.PROGRAM),
            Clock.CLIENT,
            uses_gpu=True,
            fills_memory=True,
            sleeps=True,
            spreads=True,
            check=serve.check_arguments,
            against=True,
            sized=True,
            vllm_arguments=True,
            vllm_requests=True,
        ),
        Backend(
            "endpoint",
            "a server that runs already",
            endpoint.start,
            Clock.CLIENT,
            check=endpoint.check_arguments,
            on_hardware=False,
        ),
        Backend(
            "simulated",
            "the simulated engine",
            simulated.start,
            Clock.SCRIPT,
            check=check_adapters,
            against=True,
            on_hardware=False,
            sized=True,
            vllm_requests=True,
        ),
    )
)

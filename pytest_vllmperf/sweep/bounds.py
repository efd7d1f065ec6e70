"""What a search for the memory limit goes through: values between bounds, checked before anything is started."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep.memory import grid

SHARE = "gpu_memory_utilization"
BYTES = "kv_cache_memory_bytes"
LENGTH = "max_model_len"

PERCENT = 100
"""The step of gpu_memory_utilization is a hundredth."""
BYTES_STEP = 16 * 2**20
LENGTH_STEP = 128
"""Tokens: a multiple of every size of KV block that vLLM has for attention."""
LEAVE_MIB = 512
"""What stays free for other processes unless the user says otherwise, in MiB."""
_MIB = 2**20


_KINDS: tuple[tuple[str, type[int] | type[float], float], ...] = (
    (SHARE, float, 1 / PERCENT),
    (BYTES, int, 1),
    (LENGTH, int, 2),
)
"""What may be searched: its name, the kind of its values, and the smallest."""


@dataclass(frozen=True)
class Bounds:
    """Between which values to search; None for all that make sense.

    Attributes:
        gpu_memory_utilization: the smallest and the largest share, above 0 and at most 1.
        kv_cache_memory_bytes: the smallest and the largest size.
        max_model_len: the smallest and the largest length in tokens.
        leave_mib: MiB of the device's memory that stay free for other processes.
    """

    gpu_memory_utilization: tuple[float, float] | None = None
    kv_cache_memory_bytes: tuple[int, int] | None = None
    max_model_len: tuple[int, int] | None = None
    leave_mib: int = LEAVE_MIB

    def __post_init__(self) -> None:
        for name, kind, lowest in _KINDS:
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), kind, lowest)
        if self.gpu_memory_utilization is not None and self.gpu_memory_utilization[1] > 1:
            raise SpecError(f"{SHARE}: {self.gpu_memory_utilization[1]:g} is more than all of the GPU's memory, 1")
        if isinstance(self.leave_mib, bool) or not isinstance(self.leave_mib, int) or self.leave_mib < 0:
            raise SpecError(f"leave_mib={self.leave_mib!r} is not a whole number of at least 0")

    @property
    def leave_bytes(self) -> int:
        """What stays free for other processes."""
        return self.leave_mib * _MIB

    def check_engine(self, spec: EngineSpec, size: str) -> None:
        """See that these bounds and the engine's own arguments leave something to search, and do not contradict.

        Args:
            spec: the engine.
            size: the argument that is searched: `SHARE` on a GPU, else `BYTES`.

        Raises:
            SpecError: for bounds of an argument that the engine has already, or that nothing is searched of.
        """
        given = [name for name in (SHARE, BYTES, LENGTH) if getattr(self, name) is not None]
        fixed = fixed_arguments(spec)
        for name, kind, lowest in _KINDS:
            if name in fixed:
                _check_value(f"{spec.name}: {name}={fixed[name]!r}", fixed[name], kind, lowest)
        for name in given:
            if name in fixed:
                raise SpecError(f"{spec.name}: {name}={fixed[name]!r} is given, so there is nothing between its bounds")
        other = BYTES if size == SHARE else SHARE
        if other in given:
            where = "a GPU" if size == SHARE else "no GPU"
            raise SpecError(f"{spec.name}: it runs on {where}, where {size} is searched; give bounds of that")
        if LENGTH in fixed and size_is_fixed(fixed):
            raise SpecError(f"{spec.name}: {LENGTH} and its memory are both given; leave out what is to be found")

    def shares(self) -> tuple[float, ...]:
        """The candidates of gpu_memory_utilization, smallest first."""
        low, high = self.gpu_memory_utilization or (1 / PERCENT, (PERCENT - 1) / PERCENT)
        return tuple(one / PERCENT for one in grid(round(low * PERCENT), round(high * PERCENT), 1))

    def sizes(self, most: int | None) -> tuple[int, ...]:
        """The candidates of kv_cache_memory_bytes, smallest first.

        Args:
            most: bytes that may be taken, where the user names no bound; None where nobody knows.

        Raises:
            SpecError: when nobody knows.
        """
        if self.kv_cache_memory_bytes is not None:
            return grid(*self.kv_cache_memory_bytes, BYTES_STEP)
        if most is None:
            raise SpecError(f"nobody knows how much memory there is; give bounds of {BYTES}")
        return grid(BYTES_STEP, max(BYTES_STEP, most // BYTES_STEP * BYTES_STEP), BYTES_STEP)

    def lengths(self, own: int) -> tuple[int, ...]:
        """The candidates of max_model_len, smallest first.

        Args:
            own: the longest that the model can.
        """
        low, high = self.max_model_len or (min(LENGTH_STEP, own), own)
        return grid(low, high, LENGTH_STEP)


def fixed_arguments(spec: EngineSpec) -> dict[str, Any]:
    """Those of the arguments that could be searched which the engine names itself."""
    return {name: value for name, value in spec.args.items() if name in (SHARE, BYTES, LENGTH) and value is not None}


def size_is_fixed(fixed: dict[str, Any]) -> bool:
    """Whether the engine says itself how much memory it takes."""
    return SHARE in fixed or BYTES in fixed


def _check(name: str, given: Any, kind: type[int] | type[float], lowest: float) -> None:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise SpecError(f"{name}={given!r} is no pair of a smallest and a largest value")
    for value in given:
        _check_value(f"{name}: {value!r}", value, kind, lowest)
    low, high = given
    if low > high:
        raise SpecError(f"{name}: the smallest value, {low}, is above the largest, {high}; write {high}:{low}")


def _check_value(where: str, value: object, kind: type[int] | type[float], lowest: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, kind)) or not value >= lowest:
        noun = "whole number" if kind is int else "number"
        raise SpecError(f"{where} is not a {noun} of at least {lowest:g}")

"""How two engines that are compared share a device: both resident, asleep in turns, or started in turns. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.lab.target import Target

SHARE = 0.45
"""`gpu_memory_utilization` of each where both are resident and nobody said otherwise."""
_MOST = 0.95
# Beside the weights: activations, workspaces and a KV cache that is worth having.
_WORKING_BYTES = 4 * 2**30
_LOADING = 1.2


class Way(Enum):
    """How the two take turns."""

    RESIDENT = "both resident"
    SLEEP = "asleep in turns"
    RESTART = "started in turns"


@dataclass(frozen=True)
class Sharing:
    """What was decided.

    Attributes:
        way: how they take turns.
        targets: the two, with the arguments that this needs.
        split: `gpu_memory_utilization` given to both; None where their own arguments stand.
    """

    way: Way
    targets: tuple[Target, Target]
    split: float | None = None

    @property
    def described(self) -> str:
        """For a person: the way, and the memory split."""
        return self.way.value + (f", {self.split:g} of the memory each" if self.split is not None else "")


def share(targets: tuple[Target, Target], weight_bytes: Mapping[str, int | None], wanted: Way | None) -> Sharing:
    """Decide how two engines share their device.

    Resident where both fit, because nothing stands between two turns then; else vLLM's sleep mode, which keeps both
    processes and moves weights to the host; else each is started for its turns.

    Args:
        targets: the engines and their devices.
        weight_bytes: size of the checkpoint by model name; None where unknown.
        wanted: the way that the user insists on; None to choose.

    Raises:
        SpecError: when sleep mode is wanted of an engine that cannot sleep, or is all that sets them apart.
    """
    if wanted is Way.SLEEP and (reason := _awake(targets)):
        raise SpecError(f"way='sleep' is not possible: {reason}; leave way= out, or use way='restart'")
    if wanted is Way.RESTART:
        return Sharing(Way.RESTART, targets)
    resident = _resident(targets, weight_bytes)
    if resident is not None and wanted is not Way.SLEEP:
        return resident
    if wanted is Way.RESIDENT:
        return Sharing(Way.RESIDENT, targets)  # the user knows better
    if not _awake(targets):
        asleep = _each(targets, enable_sleep_mode=True)
        if asleep[0] == asleep[1]:
            raise SpecError("the engines differ only in enable_sleep_mode, but way='sleep' needs it on both")
        return Sharing(Way.SLEEP, asleep)
    return Sharing(Way.RESTART, targets)


def _awake(targets: tuple[Target, Target]) -> str:
    """Why these engines cannot sleep in turns; empty where they can."""
    for target in targets:
        if not target.backend.sleeps:
            return f"{target.backend.label} cannot sleep"
        if not target.gpus:
            return f"{target.spec.name} does not run on a GPU"
    return ""


def _resident(targets: tuple[Target, Target], weight_bytes: Mapping[str, int | None]) -> Sharing | None:
    """Both at once, where they fit; on a split that is the same for both, unless one of them names its own."""
    a, b = targets
    if not set(a.gpus) & set(b.gpus):
        return Sharing(Way.RESIDENT, targets)
    total = min(device.total_bytes for device in (*a.gpus, *b.gpus))  # vLLM's share is of each
    own = [_own_share(target, total, weight_bytes) for target in targets]
    if all(share is not None for share in own):
        return Sharing(Way.RESIDENT, targets) if sum(share or 0 for share in own) <= _MOST else None
    needs = [_need(target, weight_bytes) for target in targets]
    if any(_says_memory(target) for target in targets) or any(need is None or need > SHARE * total for need in needs):
        return None
    split = tuple(_with(one, gpu_memory_utilization=SHARE) if one.backend.fills_memory else one for one in targets)
    return Sharing(Way.RESIDENT, (split[0], split[1]), SHARE)


def _says_memory(target: Target) -> bool:
    args = target.spec.args
    return any(args.get(name) is not None for name in ("gpu_memory_utilization", "kv_cache_memory_bytes"))


def _own_share(target: Target, total: int, weight_bytes: Mapping[str, int | None]) -> float | None:
    """Which share of a device this engine will take by its own arguments; None where they do not say.

    vLLM looks at no utilization once the bytes of its KV cache are given.
    """
    args, need = target.spec.args, _need(target, weight_bytes)
    if not target.backend.fills_memory:
        return None if need is None else need / total
    if (cache := args.get("kv_cache_memory_bytes")) is not None:
        return None if need is None or not _is_number(cache) else (need + cache) / total
    utilization: Any = args.get("gpu_memory_utilization")
    return float(utilization) if _is_number(utilization) else None


def _is_number(value: object) -> bool:
    """Anything else is vLLM's to refuse, in its own words."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _need(target: Target, weight_bytes: Mapping[str, int | None]) -> int | None:
    """Bytes of one device without which an engine is of no use."""
    weights, ranks = weight_bytes.get(target.spec.model), target.spec.args.get("tensor_parallel_size", 1)
    if weights is None or not isinstance(ranks, int) or ranks < 1:
        return None
    return int(weights * _LOADING / ranks) + _WORKING_BYTES


def _each(targets: tuple[Target, Target], **engine_args: object) -> tuple[Target, Target]:
    a, b = targets
    return _with(a, **engine_args), _with(b, **engine_args)


def _with(target: Target, **engine_args: object) -> Target:
    return replace(target, spec=target.spec.with_args(**engine_args))

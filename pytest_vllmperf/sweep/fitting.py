"""The largest memory share, or KV cache, and the longest max_model_len with which a model starts and serves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pytest_vllmperf import models
from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.errors import EngineStartError, SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.models.configuration import configuration, own_length
from pytest_vllmperf.models.kv_cache import kv_bytes_per_token
from pytest_vllmperf.records.fit import Fit, Try
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep import room
from pytest_vllmperf.sweep.bounds import BYTES, LENGTH, SHARE, Bounds, fixed_arguments, size_is_fixed
from pytest_vllmperf.sweep.memory import Outcome, largest
from pytest_vllmperf.sweep.room import Room
from pytest_vllmperf.sweep.tries import attempt

UNKNOWN_LENGTH = 131072
"""The longest max_model_len to try for a model whose configuration is not on this disk; vLLM refuses what it cannot."""

_WORDS: dict[Outcome, Literal["works", "too little", "failed"]] = {
    Outcome.WORKS: "works",
    Outcome.TOO_LITTLE: "too little",
    Outcome.TOO_MUCH: "failed",
    Outcome.FAILED: "failed",
}
_MIB = 2**20


class NothingFitsError(EngineStartError):
    """Nothing that was tried starts and serves.

    Attributes:
        tries: all of them.
    """

    def __init__(self, message: str, tries: tuple[Try, ...]) -> None:
        super().__init__(message)
        self.tries = tries


def fit(
    lab: Lab,
    spec: EngineSpec,
    bounds: Bounds,
    requirement: GpuRequirement | None = None,
    told: Callable[[Try], None] = lambda _: None,
) -> Fit:
    """Find the largest memory and then the longest max_model_len with which an engine starts and serves.

    What the engine's own arguments name is not searched: with max_model_len it is the memory for that length, with
    a size of its own the longest length in that memory. Else the memory is found at the smallest length, and then the
    length with that memory.

    Args:
        lab: starts the engines; those that run are stopped.
        spec: the engine.
        bounds: between which values to search, and what stays free for others.
        requirement: which GPU.
        told: called with each try when it has ended.

    Raises:
        SpecError: for a backend without such arguments, bounds that cannot be meant, an argument that vLLM does not
            know, or a model that is larger than the memory that may be taken.
        ModelError: for a model that is nowhere.
        NothingFitsError: when nothing works, with the last reason.
        EngineUnsupportedError: when the build or the device cannot run the model at all.
        NoGpuError: when no GPU meets the requirement.
    """
    if BACKENDS.of(spec).on_hardware:  # before anything waits for a device
        models.check_location(spec.model, spec.args, {**os.environ, **dict(spec.env)})
    target = lab.target(spec, requirement)
    if not target.backend.sized:
        raise SpecError(f"{spec.name}: {target.backend.label} has no argument that says how much memory it takes")
    size = SHARE if target.gpus else BYTES
    bounds.check_engine(target.spec, size)
    lab.slots.close()  # what this run's own engines hold is nobody else's
    lab.slots.proof.wait(target.uuids, _quiet)
    return _Search(lab, target, bounds, told).found(size)


@dataclass
class _Search:
    """One search. Its tries are kept in the order in which they were made."""

    lab: Lab
    target: Target
    bounds: Bounds
    told: Callable[[Try], None]
    tries: list[Try] = field(default_factory=list)

    def found(self, size: str) -> Fit:
        """The largest values, and how they were found."""
        before = room.look(self.target, self.bounds.leave_bytes)
        config = self._config()
        lengths = self.bounds.lengths(own_length(config) or UNKNOWN_LENGTH)
        fixed = fixed_arguments(self.target.spec)
        weights = self._weights()
        shortest = int(fixed.get(LENGTH) or lengths[0])
        if before is not None and weights is not None:
            self._check_weights(before, weights, _kv_bytes(config, self.target, shortest))
        chosen: dict[str, Any] = dict(fixed)
        if not size_is_fixed(fixed):
            values = self._allowed(size, before, weights or 0)
            chosen[size] = self._largest(size, values, {LENGTH: shortest}, confirm=LENGTH in fixed)
        if LENGTH not in fixed:
            own = {name: value for name, value in chosen.items() if name != LENGTH}
            chosen[LENGTH] = self._largest(LENGTH, lengths, own, lowest_works=not size_is_fixed(fixed))
        spec = self.target.spec.with_args(**chosen)
        return Fit(chosen.get(SHARE), chosen.get(BYTES), chosen[LENGTH], tuple(self.tries), spec)

    def _largest(
        self,
        name: str,
        values: Sequence[float],
        others: dict[str, Any],
        *,
        lowest_works: bool = False,
        confirm: bool = True,
    ) -> float:
        """The largest value of one argument that works beside the others."""

        def probe(index: int) -> Outcome:
            outcome = self._try({**others, name: values[index]})
            too_long = name == LENGTH and outcome is Outcome.TOO_LITTLE
            return Outcome.TOO_MUCH if too_long else outcome

        best = largest(len(values), probe, lowest_works=lowest_works, confirm=confirm)
        if best is None:
            reason = next((one.reason for one in reversed(self.tries) if one.reason and one.outcome != "not tried"), "")
            tried = f"{values[0]}" if len(values) == 1 else f"{values[0]} to {values[-1]}"
            raise NothingFitsError(
                f"{self.target.spec.name}: nothing works with {name} {tried}; the last reason: {reason}",
                tuple(self.tries),
            )
        return values[best]

    def _try(self, arguments: dict[str, Any]) -> Outcome:
        target = replace(self.target, spec=self.target.spec.with_args(**arguments))
        began = time.monotonic()
        outcome, reason = attempt(self.lab, target, self._overdrawn)
        self._note(arguments, _WORDS[outcome], reason, time.monotonic() - began)
        return outcome

    def _note(
        self,
        arguments: dict[str, Any],
        outcome: Literal["works", "too little", "failed", "not tried"],
        reason: str,
        seconds: float = 0.0,
    ) -> None:
        reason = self.lab.redactor.text(reason)
        share, cache, length = (arguments.get(name) for name in (SHARE, BYTES, LENGTH))
        self.tries.append(Try(share, cache, length, outcome, reason, seconds))
        self.told(self.tries[-1])

    def _overdrawn(self) -> str:
        now = room.look(self.target, self.bounds.leave_bytes)
        return "" if now is None else now.overdrawn

    def _allowed(self, size: str, before: Room | None, weights: int) -> tuple[float, ...]:
        """The candidates that leave others what is theirs; the first that does not is noted, with the reason."""
        if size == SHARE:
            candidates: Sequence[float] = self.bounds.shares()
        else:
            candidates = self.bounds.sizes(None if before is None else before.may_take - weights)
        if before is None:
            return tuple(candidates)
        wanted = before.total_bytes if size == SHARE else 1
        beside = 0 if size == SHARE else weights
        refused = {value: before.refused(round(value * wanted) + beside) for value in candidates}
        allowed = tuple(value for value in candidates if not refused[value])
        if len(allowed) < len(candidates):
            first = candidates[len(allowed)]
            if not allowed:
                raise SpecError(f"{self.target.spec.name}: nothing is started at {size}={first:g}: {refused[first]}")
            self._note({size: first}, "not tried", refused[first])
        return allowed

    def _check_weights(self, before: Room, weights: int, kv_bytes: int | None) -> None:
        """Refuse a model that cannot fit, whatever its arguments."""
        if not before.refused(weights):
            return
        needed = weights + (kv_bytes or 0) + self.bounds.leave_bytes
        beside = "" if kv_bytes is None else ", the KV cache of one request"
        raise SpecError(
            f"{self.target.spec.name} is larger than the memory that may be taken: its weights are {_mib(weights)}, "
            f"and {_mib(before.may_take)} of the {_mib(before.total_bytes)} of {before.where} may be taken; the least "
            f"that would fit is {_mib(needed)} free (weights{beside}, and what stays free for others)"
        )

    def _config(self) -> dict[str, Any]:
        spec = self.target.spec
        return configuration(models.resolve(spec.model), {**os.environ, **dict(spec.env)})

    def _weights(self) -> int | None:
        """Bytes of the weights on each device; None where the checkpoint does not lie here."""
        whole = self.lab.weight_bytes([self.target]).get(self.target.spec.model)
        return None if whole is None else whole // max(1, len(self.target.gpus))


def _quiet(doing: str, waited: float) -> None:
    """Tell nobody."""


def _kv_bytes(config: dict[str, Any], target: Target, tokens: int) -> int | None:
    """What the KV cache of so many tokens takes on each device; None where nobody knows."""
    given = target.spec.args.get("kv_cache_dtype")
    dtype = given if given not in (None, "auto") else config.get("torch_dtype") or config.get("dtype") or "bfloat16"
    ranks = max(1, len(target.gpus))
    one = kv_bytes_per_token(config, str(dtype), ranks)
    return None if one is None else one * tokens // ranks


def _mib(number: int) -> str:
    return f"{number / _MIB:,.0f} MiB"

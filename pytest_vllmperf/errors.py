"""The exception tree: everything this package raises on purpose is a `VllmPerfError`.

A message says in one line what was wrong, where, and what to do about it. The hooks show it without a traceback.
"""

from __future__ import annotations


class VllmPerfError(Exception):
    """Root of the tree."""


class SpecError(VllmPerfError):
    """A marker, option or engine specification that cannot be meant."""


class WorkloadError(VllmPerfError):
    """A workload that cannot be sent, or does not fit the engine."""


class ModelError(VllmPerfError):
    """A model that could not be made or found."""


class EngineError(VllmPerfError):
    """An engine that could not do what it was asked to.

    Attributes:
        log_tail: the last lines of the engine's own output; empty where there were none.
    """

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(message)
        self.log_tail = log_tail


class EngineStartError(EngineError):
    """The engine did not come up: vLLM refused the arguments, is not installed, or died while loading."""


class EngineUnsupportedError(EngineStartError):
    """The build or the device cannot run what was asked for, in the library's own words."""


class EngineDiedError(EngineError):
    """The engine's process ended while it was in use."""


class EngineTimeoutError(EngineError):
    """The engine did not answer within its time-out; its processes have been ended."""


class NotMeasuredError(VllmPerfError):
    """A metric was asked for that this measurement did not observe."""


class NoGpuError(VllmPerfError):
    """No GPU of this machine meets what the marker asks for."""


class NoDriverError(NoGpuError):
    """There is no driver here, and so no GPU; a driver that is here and does not work is no such case."""


class GpuForbiddenError(NoGpuError):
    """A GPU that this process may not touch, as under a cgroup of SLURM's."""


class GpuLostError(NoGpuError):
    """A GPU went away while it was in use."""


class BaselineError(VllmPerfError):
    """A baseline file that cannot be read or written; the file is left as it was."""


class SampleError(VllmPerfError, ValueError):
    """A sample that cannot be judged: not a positive finite number, missing, or of the wrong count.

    Attributes:
        metric: the metric's name.
        problem: what is wrong, in words.
        position: indices from the outermost list to the offending item (session, engine, iteration); empty where the
            whole metric is at fault.
    """

    def __init__(self, metric: str, problem: str, position: tuple[int, ...] = ()) -> None:
        self.metric = metric
        self.problem = problem
        self.position = position
        where = "".join(f"[{index}]" for index in position)
        super().__init__(f"{metric}{where}: {problem}")

    def __reduce__(self) -> tuple[type[SampleError], tuple[str, str, tuple[int, ...]]]:
        """Rebuild from the three arguments: test runners send exceptions between processes."""
        return type(self), (self.metric, self.problem, self.position)

"""The exception tree: everything this package raises on purpose is a `VllmPerfError`.

A message says in one line what was wrong, where, and what to do about it. The hooks show it without a traceback.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher
from itertools import takewhile
from typing import Final

_NEAR: Final = 0.6
"""How alike a name must be to be offered for a wrong one, 0 .. 1; difflib's own figure."""


class VllmPerfError(Exception):
    """Root of the tree."""


class SpecError(VllmPerfError):
    """A marker, option or engine specification that is not valid."""


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
    """The engine did not start: vLLM refused the arguments, is not installed, or exited while loading."""


class EngineUnsupportedError(EngineStartError):
    """The vLLM build or the device cannot run the engine; the message is the library's own."""


class ReferenceEngineError(EngineError):
    """The reference interpreter's engine failed, be it for what its build cannot run: never a reason to skip a test."""


class EngineDiedError(EngineError):
    """The engine's process ended while it was in use."""


class ProfileError(EngineError):
    """An engine's GPUs cannot be profiled; the engine itself still works."""


class EngineTimeoutError(EngineError):
    """The engine did not answer within its timeout; its processes were ended."""


class NotMeasuredError(VllmPerfError):
    """A metric was read that this measurement does not have."""


class NoGpuError(VllmPerfError):
    """No GPU of this machine meets the marker's requirements."""


class NoDriverError(NoGpuError):
    """This machine has no NVIDIA driver, and so no GPU. An installed driver that does not work is another error."""


class GpuForbiddenError(NoGpuError):
    """A GPU that this process may not use, for example because of a SLURM cgroup."""


class GpuLostError(NoGpuError):
    """A GPU was lost while it was in use."""


class CheckFailed(VllmPerfError, AssertionError):  # noqa: N818 - as pytest's own outcomes are called
    """A check or an assertion of this package that failed.

    Attributes:
        line: the user's file and line; None where the traceback leads there.
        log_tail: the end of the engine's log, where an engine failed.
        verdict: whether it fails by nothing but a verdict on performance.
    """

    def __init__(
        self, text: str, line: tuple[str, int] | None = None, log_tail: str = "", *, verdict: bool = False
    ) -> None:
        super().__init__(text)
        self.line = line
        self.log_tail = log_tail
        self.verdict = verdict


class BisectError(VllmPerfError):
    """A bisection that cannot begin, or cannot go on."""


class UnpreparedError(BisectError):
    """A version whose environment cannot be made, so that it cannot be measured."""


class BaselineError(VllmPerfError):
    """A baseline file that cannot be read or written; the file is left as it was."""


class HistoryError(VllmPerfError):
    """A history database that cannot be opened, read or written; it is left as it was."""


class ReportError(VllmPerfError):
    """A report that cannot be taken, be it of another benchmark or a run of ours, or results that cannot be written."""


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


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about a name that does not exist: `; did you mean 'ttft.p50'?`; empty where none is near.

    Args:
        name: the wrong one.
        known: the right ones.
    """

    def likeness(one: str) -> tuple[float, int]:
        """How alike the two are, and how long they begin alike."""
        pair = name.casefold(), one.casefold()
        same = takewhile(lambda letters: letters[0] == letters[1], zip(*pair, strict=False))
        return SequenceMatcher(None, *pair).ratio(), len(list(same))

    nearest = max(known, key=likeness, default=None)
    return f"; did you mean {nearest!r}?" if nearest is not None and likeness(nearest)[0] >= _NEAR else ""


def in_one_line(error: BaseException) -> str:
    """The message for an exception: its text if it is ours, otherwise "internal error" with its type and text."""
    if isinstance(error, VllmPerfError):
        return str(error)
    words = " ".join(str(error).split())
    name = type(error).__name__
    return f"internal error: {name}: {words}" if words else f"internal error: {name}"


class VllmPerfWarning(UserWarning):
    """Root of this package's warnings. Filters of pytest and Python apply, such as `-W error` or `ignore`."""


class NoisyWarning(VllmPerfWarning):
    """A check whose verdict is NOISY: its change cannot be distinguished from noise."""


class DriftedWarning(VllmPerfWarning):
    """A check whose verdict is DRIFTED: the level got slower over several sessions."""

"""What a GPU does while requests are served: kernels, copies and sets, by CUPTI through torch's profiler.

A worker records in slices of so many engine steps that memory stays bounded: torch keeps every activity of a slice, and
CUPTI stops when its buffers are full. Each step begins with a marker, a kernel that does nothing and is not counted. It
says to which step a kernel belongs. A marker that is missing says that the recording was cut.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

MARKER = "spin_kernel"
"""Part of the name of the kernel that `torch.cuda._sleep` launches; vLLM launches none of that name."""

MARKER_CYCLES = 1

SLICE_ACTIVITIES = 200_000
"""So many activities are held at once; CUPTI's buffers take some 500,000."""

FIRST_SLICE_STEPS = 128
"""Steps of the first slice, while nobody knows how many kernels a step launches."""

PHASES = ("decode", "prefill")
"""A step that computes one token of each of its requests is a decode step; any other one computes prompts too."""

NOTHING_RECORDED = (
    "CUPTI recorded nothing: the driver lets only administrators profile, the device is a MIG device, or another "
    "profiler is attached"
)
CUT = "CUPTI lost activities of the GPU: its buffers were full"


class NotRecordedError(RuntimeError):
    """What the GPU did cannot be recorded; the message says why."""


class Tally:
    """What the recorded slices of one iteration come to. Times in nanoseconds.

    Attributes:
        kernels: by name: how many, and their durations, added up.
        count: activities in all.
        total: durations of all activities, added up.
        busy: the time in which at least one was running.
        span: from the first to the last of each slice, added up.
        steps: by phase: how many engine steps, and the durations of their activities.
    """

    def __init__(self) -> None:
        self.kernels: dict[str, list[int]] = {}
        self.count = self.total = self.busy = self.span = 0
        self.steps = {phase: [0, 0] for phase in PHASES}

    def add(self, activities: Sequence[tuple[int, int, str]], phases: Sequence[str]) -> None:
        """Add one slice.

        Args:
            activities: begin, end and name of each, markers among them, in any order.
            phases: of each engine step, in order; the last marker ends the slice and begins no step.

        Raises:
            NotRecordedError: when activities are missing.
        """
        ordered = sorted(activities)
        markers = sum(MARKER in name for _, _, name in ordered)
        if markers <= len(phases):
            raise NotRecordedError(NOTHING_RECORDED if markers == 0 else CUT)
        for phase in phases:
            self.steps[phase][0] += 1
        step, first, end = -1, None, 0
        for begin, until, name in ordered:
            if MARKER in name:
                step += 1
                continue
            duration = until - begin
            first = begin if first is None else first
            self.busy += max(0, until - max(begin, end))
            end = max(end, until)
            self.count += 1
            self.total += duration
            found = self.kernels.setdefault(name, [0, 0])
            found[0] += 1
            found[1] += duration
            if 0 <= step < len(phases):
                self.steps[phases[step]][1] += duration
        self.span += end - (first or end)

    def told(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "activities": self.count,
            "total_ns": self.total,
            "busy_ns": self.busy,
            "span_ns": self.span,
            "kernels": [[name, *both] for name, both in self.kernels.items()],
            "steps": self.steps,
        }


class Recorder:
    """Records what the GPU of this process does, one iteration after another.

    Args:
        trace: where the first slice is kept as a Chrome trace, of each iteration in turn; empty for nowhere.
    """

    def __init__(self, trace: str = "") -> None:
        self._torch: Any = sys.modules["torch"]
        self._trace = trace
        self._profile: Any = None
        self._tally = Tally()
        self._phases: list[str] = []
        self._slice_steps = FIRST_SLICE_STEPS
        self._failure = ""

    def start(self) -> None:
        """Begin an iteration.

        Raises:
            NotRecordedError: when the profiler does not start.
        """
        self._tally, self._failure = Tally(), ""
        self._begin()

    def step(self, phase: str) -> None:
        """An engine step begins; what was launched so far belongs to those before it."""
        if self._failure:
            return
        if len(self._phases) >= self._slice_steps:
            try:
                self._end()
                self._begin()
            except NotRecordedError as error:  # told by `stop`: the engine goes on
                self._failure = str(error)
                return
        self._phases.append(phase)
        self._mark()

    def stop(self) -> dict[str, Any]:
        """End the iteration. Returns what it comes to, see `Tally`.

        Raises:
            NotRecordedError: when activities are missing.
        """
        if not self._failure:
            self._end()
        if self._failure:
            raise NotRecordedError(self._failure)
        return self._tally.told()

    def _begin(self) -> None:
        profiler: Any = self._torch.profiler
        self._phases = []
        self._torch.cuda.synchronize()
        try:
            self._profile = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
            self._profile.start()
        except Exception as error:
            self._profile = None
            raise NotRecordedError(f"torch's profiler does not start: {_line(error)}") from None

    def _end(self) -> None:
        profile, self._profile = self._profile, None
        self._torch.cuda.synchronize()
        self._mark()
        self._torch.cuda.synchronize()
        try:
            profile.stop()
            activities = self._activities(profile.profiler.kineto_results.events())
        except Exception as error:
            raise NotRecordedError(f"torch's profiler failed: {_line(error)}") from None
        self._tally.add(activities, self._phases)
        if self._trace:
            with contextlib.suppress(Exception):  # the disk is full, say: the figures do not depend on it
                profile.export_chrome_trace(self._trace)
            self._trace = ""
        if self._phases:
            self._slice_steps = max(1, SLICE_ACTIVITIES * len(self._phases) // max(1, len(activities)))

    def _activities(self, events: Any) -> list[tuple[int, int, str]]:
        """Begin, end and name of what ran on the GPU; what the host did is left out."""
        gpu = self._torch.autograd.DeviceType.CUDA
        return [
            (begin := event.start_ns(), begin + event.duration_ns(), event.name())
            for event in events
            if event.device_type() == gpu and not event.is_user_annotation()
        ]

    def _mark(self) -> None:
        self._torch.cuda._sleep(MARKER_CYCLES)


def phase_of(tokens: int, requests: int) -> str:
    """Which phase a step belongs to, see `PHASES`; steps of speculative decoding compute more than one token each."""
    return PHASES[tokens > requests]


def hooked(execute: Callable[..., Any], recorder: Recorder) -> Callable[..., Any]:
    """`execute_model` of a worker, with each step told to the recorder."""

    def executed(scheduler_output: Any, *positional: Any, **named: Any) -> Any:
        scheduled = getattr(scheduler_output, "num_scheduled_tokens", None) or {}
        if scheduled:
            recorder.step(phase_of(sum(scheduled.values()), len(scheduled)))
        return execute(scheduler_output, *positional, **named)

    return executed


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def trace_of_rank(path: str, rank: int) -> str:
    """Where a rank keeps its trace: `x.json.gz`, then `x-rank1.json.gz`."""
    folder, name = os.path.split(path)
    stem, _, suffix = name.partition(".")
    return path if rank == 0 else os.path.join(folder, f"{stem}-rank{rank}.{suffix}")

"""What a GPU does while requests are served: kernels, copies and sets, by CUPTI through torch's profiler.

A worker records in slices of so many engine steps that memory stays bounded: torch keeps every activity of a slice, and
CUPTI stops when its buffers are full. Each step begins with a marker, a kernel that does nothing and is not counted. It
says to which step a kernel belongs. A marker that is missing says that the recording was cut.
"""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

MARKER = "spin_kernel"
"""Part of the name of the kernel that `torch.cuda._sleep` launches; vLLM launches none of that name."""

MARKER_CYCLES = 1

COLLECTIVE = re.compile(
    "nccl|cross_device_reduce|multimem|nvshmem|deep_ep|(?<!sm)all_?(reduce|gather|to_?all|2_?all)|reduce_?scatter",
    re.IGNORECASE,
)
"""Names of kernels that end when the last rank has joined them: of NCCL, vLLM, FlashInfer, torch and NVSHMEM."""

SLICE_ACTIVITIES = 200_000
"""So many activities are held at once; CUPTI's buffers take some 500,000."""

FIRST_SLICE_STEPS = 8
"""Steps of the first slice, while nobody knows how many kernels a step launches."""

MOST_GROWTH = 16
"""A slice is at most so many times as long as the one before: what comes may be busier than what was."""

PHASES = ("decode", "prefill")
"""A step that computes one token of each of its requests is a decode step; any other one computes prompts too."""

NOTHING_RECORDED = (
    "CUPTI recorded nothing: the driver allows only administrators to profile, the device is a MIG device, or "
    "another profiler is attached"
)
CUT = "CUPTI lost GPU records because its buffers were full"
ON_CPU = "the engine runs on a CPU"
NOT_RECORDING = "no recording is in progress"


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
        collectives: by name and phase: the duration of each collective kernel, in order. What belongs to no step has
            the phase "".
    """

    def __init__(self) -> None:
        self.kernels: dict[str, list[int]] = {}
        self.count = self.total = self.busy = self.span = 0
        self.steps = {phase: [0, 0] for phase in PHASES}
        self.collectives: dict[str, dict[str, list[int]]] = {}

    def add(self, activities: Sequence[tuple[int, int, str]], phases: Sequence[str]) -> None:
        """Add one slice. What began before its first marker belongs to no step.

        Args:
            activities: begin, end and name of each, markers among them, in any order.
            phases: of each engine step, in order; the last marker ends the slice and begins no step.

        Raises:
            NotRecordedError: when activities are missing.
        """
        ordered = sorted(activities)
        names = {name for _, _, name in ordered}  # there are few, and many activities
        marked = {name for name in names if MARKER in name}
        markers = sum(name in marked for _, _, name in ordered)
        if markers <= len(phases):
            raise NotRecordedError(NOTHING_RECORDED if markers == 0 else CUT)
        by_step = self._add_kernels(ordered, marked, markers)
        for phase, duration in zip(phases, by_step[1:], strict=False):
            self.steps[phase][0] += 1
            self.steps[phase][1] += duration
        if collective := {name for name in names if COLLECTIVE.search(name)}:
            self._add_collectives(ordered, marked, collective, ("", *phases))

    def _add_kernels(self, ordered: Sequence[tuple[int, int, str]], marked: set[str], markers: int) -> list[int]:
        """Count activities by name. Returns their durations by the marker before them, first those before any.

        Local names alone in the loop: it runs some 50,000 times an iteration.
        """
        kernels, by_step = self.kernels, [0] * (markers + 1)
        step = count = busy = end = 0
        first = None
        for begin, until, name in ordered:
            if name in marked:
                step += 1
                continue
            duration = until - begin
            if first is None:
                first = end = begin
            if until > end:
                busy += until - (begin if begin > end else end)
                end = until
            count += 1
            by_step[step] += duration
            found = kernels.get(name)
            if found is None:
                found = kernels[name] = [0, 0]
            found[0] += 1
            found[1] += duration
        self.count += count
        self.total += sum(by_step)
        self.busy += busy
        self.span += 0 if first is None else end - first
        return by_step

    def _add_collectives(
        self, ordered: Sequence[tuple[int, int, str]], marked: set[str], names: set[str], phases: Sequence[str]
    ) -> None:
        """Keep each duration of these kernels, under the phase of the marker before them."""
        step = 0
        for begin, until, name in ordered:
            if name in marked:
                step += 1
            elif name in names:
                phase = phases[step] if step < len(phases) else ""
                self.collectives.setdefault(name, {}).setdefault(phase, []).append(until - begin)

    def told(self) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "activities": self.count,
            "total_ns": self.total,
            "busy_ns": self.busy,
            "span_ns": self.span,
            "kernels": [[name, *both] for name, both in self.kernels.items()],
            "steps": self.steps,
            "collectives": self.collectives,
        }


class Recorder:
    """Records what the GPU of this process does, one iteration after another."""

    def __init__(self) -> None:
        self._torch: Any = sys.modules["torch"]
        self._trace = ""
        self._profile: Any = None
        self._tally = Tally()
        self._phases: list[str] = []
        self._slice_steps = FIRST_SLICE_STEPS
        self._failure = NOT_RECORDING

    def start(self, trace: str = "") -> None:
        """Begin an iteration.

        Args:
            trace: where its first slice is kept as a Chrome trace, in gzip; empty for nowhere.

        Raises:
            NotRecordedError: when the profiler does not start.
        """
        self.abandon()
        self._tally, self._trace = Tally(), trace
        self._begin()
        self._failure = ""

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
            NotRecordedError: when activities are missing, or no iteration was begun.
        """
        failure, self._failure = self._failure, NOT_RECORDING
        if failure:
            raise NotRecordedError(failure)
        self._end()
        return self._tally.told()

    def abandon(self) -> None:
        """Leave no profiler attached, whatever was recorded."""
        profile, self._profile = self._profile, None
        self._failure = NOT_RECORDING
        if profile is not None:
            with contextlib.suppress(Exception):
                profile.stop()

    def _begin(self) -> None:
        profiler: Any = self._torch.profiler
        self._phases = []
        self._torch.cuda.synchronize()
        try:
            with warnings.catch_warnings():  # such as: a profiler keeps the events of one cycle only
                warnings.simplefilter("ignore")
                self._profile = profiler.profile(activities=[profiler.ProfilerActivity.CUDA])
                self._profile.start()
        except Exception as error:
            failure = NotRecordedError(f"torch's profiler did not start: {_line(error)}")
            self.abandon()
            raise failure from None

    def _end(self) -> None:
        """Read a slice; no profiler is attached afterwards, whatever happens."""
        try:
            self._torch.cuda.synchronize()  # all streams: the last marker is to be the last of all
            self._mark()
            self._torch.cuda.synchronize()
        except BaseException:
            self.abandon()
            raise
        profile, self._profile = self._profile, None
        try:
            profile.stop()
            events = profile.profiler.kineto_results.events()
            activities = self._activities(events)
        except Exception as error:
            raise NotRecordedError(f"torch's profiler failed: {_line(error)}") from None
        self._tally.add(activities, self._phases)
        self._keep_trace(profile)
        self._adapt(len(events))

    def _keep_trace(self, profile: Any) -> None:
        trace, self._trace = self._trace, ""
        if trace:
            with contextlib.suppress(Exception):  # the disk is full, say: the figures do not depend on it
                profile.export_chrome_trace(trace)

    def _adapt(self, events: int) -> None:
        """Make the next slice as long as memory allows, by what the last one held, calls of the host among it."""
        steps = len(self._phases)
        if steps:
            fitting = SLICE_ACTIVITIES * steps // max(1, events)
            self._slice_steps = max(1, min(fitting, MOST_GROWTH * steps))

    def _activities(self, events: Sequence[Any]) -> list[tuple[int, int, str]]:
        """Begin, end and name of what ran on the GPU; what the host did is left out, and ranges that a user named."""
        if not events:
            return []
        gpu = self._torch.autograd.DeviceType.CUDA
        annotation = getattr(type(events[0]), "is_user_annotation", lambda _: False)  # older versions do not tell
        return [
            (begin := event.start_ns(), begin + event.duration_ns(), event.name())
            for event in events
            if event.device_type() == gpu and not annotation(event)
        ]

    def _mark(self) -> None:
        self._torch.cuda._sleep(MARKER_CYCLES)


def stopped(recorder: Recorder | None) -> dict[str, Any]:
    """What an iteration comes to, see `Tally.told`, or `problem` in words."""
    try:
        if recorder is None:
            raise NotRecordedError(NOT_RECORDING)
        return recorder.stop()
    except NotRecordedError as error:
        return {"problem": str(error)}


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

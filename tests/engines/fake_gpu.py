"""A GPU in torch's place: what is launched runs one after the other on its stream, and a profiler sees it."""

from __future__ import annotations

import warnings
from types import ModuleType, SimpleNamespace
from typing import Any

CPU, CUDA = "cpu", "cuda"
MARKER_NS = 5


class OldEvent:
    """What Kineto of an older torch tells of one activity.

    Attributes:
        live: how many of them exist.
        most: how many existed at once.
    """

    live = most = 0

    def __init__(self, name: str, begin: int, duration: int, device: str = CUDA, annotation: bool = False) -> None:
        self._told = (name, begin, duration, device, annotation)
        OldEvent.live += 1
        OldEvent.most = max(OldEvent.most, OldEvent.live)

    def __del__(self) -> None:
        OldEvent.live -= 1

    def name(self) -> str:
        return self._told[0]

    def start_ns(self) -> int:
        return self._told[1]

    def duration_ns(self) -> int:
        return self._told[2]

    def device_type(self) -> str:
        return self._told[3]


class Event(OldEvent):
    """The same of a newer one, which tells of ranges that a user named."""

    def is_user_annotation(self) -> bool:
        return self._told[4]


class FakeTorch(ModuleType):
    """torch, as far as the recorder asks it.

    Attributes:
        cuda: launches markers.
        profiler: records.
        now: the GPU's clock, in nanoseconds.
        opened: profilers that are attached.
        slices: how many activities each profiler had when it was stopped.
        lost: names that CUPTI does not record.
        capacity: activities that a profiler takes; all later ones are lost.
        failing: which call of the profiler or of CUDA raises, by name.
        traces: where traces were written.
        event: what is told of an activity.
        used: whether CUDA is in use.
    """

    def __init__(self) -> None:
        super().__init__("torch")
        self.now = 1000
        self.opened: list[Profile] = []
        self.slices: list[int] = []
        self.lost: set[str] = set()
        self.capacity = 10**9
        self.failing: dict[str, str] = {}
        self.traces: list[str] = []
        self.used = True
        self.event: type[OldEvent] = Event
        self.cuda = SimpleNamespace(
            synchronize=lambda: self.may_fail("synchronize"),
            _sleep=lambda cycles: self.launch("void spin_kernel(long)", MARKER_NS * cycles),
            is_initialized=lambda: self.used,
        )
        self.autograd = SimpleNamespace(DeviceType=SimpleNamespace(CUDA=CUDA))
        activity = SimpleNamespace(CUDA="cuda activities")
        self.profiler = SimpleNamespace(ProfilerActivity=activity, profile=lambda activities: Profile(self, activities))

    def may_fail(self, call: str) -> None:
        if call in self.failing:
            raise RuntimeError(self.failing[call])

    def launch(self, name: str, duration: int, **more: Any) -> None:
        """Run a kernel after everything that was launched before."""
        self.record(self.event(name, self.now, duration, **more))
        self.now += duration

    def record(self, event: OldEvent) -> None:
        for profile in self.opened:
            if not any(part in event.name() for part in self.lost) and len(profile.events) < self.capacity:
                profile.events.append(event)


class Profile:
    """torch.profiler.profile."""

    def __init__(self, torch: FakeTorch, activities: list[str]) -> None:
        torch.may_fail("profile")
        assert activities == [torch.profiler.ProfilerActivity.CUDA]
        self._torch = torch
        self.events: list[OldEvent] = []
        self.profiler = SimpleNamespace(kineto_results=None)

    def start(self) -> None:
        warnings.warn("Profiler clears events at the end of each cycle", UserWarning, stacklevel=2)  # as torch has it
        self._torch.opened.append(self)
        self._torch.may_fail("start")

    def stop(self) -> None:
        self._torch.opened.remove(self)
        self._torch.may_fail("stop")
        self._torch.slices.append(len(self.events))
        events, self.events = self.events, []
        self.profiler.kineto_results = SimpleNamespace(events=lambda: events)

    def export_chrome_trace(self, path: str) -> None:
        self._torch.may_fail("export")
        self._torch.traces.append(path)

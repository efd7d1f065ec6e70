"""What NVML told of a GPU over time, and what that comes to over a span."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

Span = tuple[float, float]
"""Begin and end, in seconds on the monotonic clock."""


@dataclass(frozen=True)
class GpuReading:
    """One look at a device. What it did not tell is None.

    Attributes:
        at: seconds on the monotonic clock, when the look had been taken.
        used_bytes: of the device's memory, by all processes.
        processes: bytes by process id; None for a process whose share is hidden.
        utilization: share of the last period in which a kernel ran, 0 .. 1.
        power: watts.
        energy: joules since the driver was loaded; NVML counts on every 100 ms.
        sm_clock: hertz.
        memory_clock: hertz.
        temperature: degrees Celsius.
        clock_events: NVML's bits of why clocks are what they are.
        free_bytes: of the memory, for anybody; what the driver reserves is neither used nor free.
        use_by_process: share of the GPU's time, 0 .. 1, that each process used since the last reading with this value;
            empty in the first, which only begins the count. None where nothing is known, or nothing new yet.
    """

    at: float
    used_bytes: int | None = None
    processes: Mapping[int, int | None] | None = None
    utilization: float | None = None
    power: float | None = None
    energy: float | None = None
    sm_clock: float | None = None
    memory_clock: float | None = None
    temperature: float | None = None
    clock_events: int | None = None
    free_bytes: int | None = None
    use_by_process: Mapping[int, float] | None = None


@dataclass(frozen=True)
class GpuTrace:
    """All readings of one device while something was measured.

    Attributes:
        uuid: the device's.
        readings: oldest first.
        lost: why it could not be read any more; None when it could until the end.
    """

    uuid: str
    readings: tuple[GpuReading, ...]
    lost: str | None = None

    def within(self, span: Span) -> tuple[GpuReading, ...]:
        """The readings of a span."""
        return tuple(one for one in self.readings if span[0] <= one.at <= span[1])


@dataclass(frozen=True)
class Occupants:
    """Who may be on a device, and what was done on it before.

    Attributes:
        before: processes on it before this run's first engine; None where unknown.
        own: processes of this run's engines.
        utilization: share of the time in which a kernel ran before this run's engine was started on it, while none of
            this run was there, 0 .. 1; None where unknown.
    """

    before: Collection[int] | None = None
    own: Collection[int] = frozenset()
    utilization: float | None = None


@dataclass(frozen=True)
class GpuUse:
    """What one or several devices did in a span. What was not told is None.

    Attributes:
        peak_bytes: most memory in use at once, by all processes; of several devices, the sum of what each had.
        energy: joules.
        power: mean watts, all devices together.
        utilization: mean share of time with a kernel running, over the devices.
        sm_clock: median hertz, of the slowest device; of readings with a kernel running, as an idle GPU clocks down.
        temperature: highest, in degrees Celsius.
        clock_events: all of NVML's bits that were set at any time.
        memory_clock: median hertz, of the slowest device; as `sm_clock`.
        power_capped: share of the readings with a kernel running in which the power limit held the clocks down, of the
            device that it held most.
    """

    peak_bytes: int | None
    energy: float | None
    power: float | None
    utilization: float | None
    sm_clock: float | None
    temperature: float | None
    clock_events: int
    memory_clock: float | None = None
    power_capped: float | None = None

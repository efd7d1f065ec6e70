"""What NVML answers, told apart: numbers, silence, a lost GPU, no driver; and one device, read again and again."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

import pynvml
import pytest

from pytest_vllmperf.errors import GpuLostError, NoDriverError, NoGpuError
from pytest_vllmperf.gpu.nvml import USE_PERIOD_S, DeviceReader, Nvml
from pytest_vllmperf.records.devices import GpuReading
from tests.gpu.fake_nvml import MIB, RESERVED, FakeGpu, FakeNvml, FakePart

UUID = "GPU-00000001-aaaa"
ENERGY = "nvmlDeviceGetTotalEnergyConsumption"
COMPUTING = "nvmlDeviceGetComputeRunningProcesses_v3"
DRAWING = "nvmlDeviceGetGraphicsRunningProcesses_v3"
USE = "nvmlDeviceGetProcessUtilization"
EVENTS, THROTTLE = "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons"


def read(nvml: FakeNvml, uuid: str = UUID, times: int = 1) -> list[GpuReading]:
    with Nvml() as opened:
        reader = DeviceReader(opened, uuid)
        return [reader.read() for _ in range(times)]


@pytest.mark.parametrize("name", ["NOT_SUPPORTED", "FUNCTION_NOT_FOUND", "NO_PERMISSION", "NO_DATA", "NOT_FOUND",
                                  "ARGUMENT_VERSION_MISMATCH"])  # fmt: skip
def test_what_is_not_told_is_none(nvml: FakeNvml, name: str) -> None:
    nvml.fail(ENERGY, getattr(pynvml, f"NVML_ERROR_{name}"))
    with Nvml() as opened:
        assert opened.ask(ENERGY, opened.handle(UUID)) is None
        why = "Insufficient Permissions" if name == "NO_PERMISSION" else f"{ENERGY} is not supported here"
        with pytest.raises(NoGpuError, match=f"^NVML cannot read the GPUs: {why}$"):
            opened.need(ENERGY, opened.handle(UUID))


@pytest.mark.parametrize(
    ("code", "words"),
    [(pynvml.NVML_ERROR_GPU_IS_LOST, "GPU is lost"), (pynvml.NVML_ERROR_RESET_REQUIRED, "GPU requires restart")],
)
def test_a_lost_gpu_is_no_silence(nvml: FakeNvml, code: int, words: str) -> None:
    nvml.fail(ENERGY, code)
    with Nvml() as opened, pytest.raises(GpuLostError, match=f"^the GPU is gone: {words}$"):
        opened.ask(ENERGY, opened.handle(UUID))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (pynvml.NVML_ERROR_UNKNOWN, "Unknown Error"),
        (pynvml.NVML_ERROR_INVALID_ARGUMENT, "Invalid Argument"),
        (77, "error number 77"),  # pynvml asks the library for words that it does not know
    ],
)
def test_any_other_error_is_told_in_the_words_of_nvml(nvml: FakeNvml, code: int, words: str) -> None:
    nvml.fail(ENERGY, code)
    with Nvml() as opened, pytest.raises(NoGpuError, match=f"^NVML cannot read the GPUs: {words}$") as caught:
        opened.ask(ENERGY, opened.handle(UUID))
    assert type(caught.value) is NoGpuError


def test_no_driver(nvml: FakeNvml) -> None:
    nvml.fail("nvmlInitWithFlags", pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    with pytest.raises(NoDriverError, match=r"^NVML does not answer: Driver Not Loaded$"), Nvml():
        pass
    assert nvml.calls == ["nvmlInitWithFlags"]


OTHERWISE = "make nvidia-smi work on this machine first; if a container lost its GPUs, restart it"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (
            pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH,
            "RM has detected an NVML/RM version mismatch; "
            "the driver was updated, but the old kernel module is still loaded: reboot",
        ),
        (pynvml.NVML_ERROR_NO_PERMISSION, "Insufficient Permissions; give this user access to /dev/nvidia*"),
        (pynvml.NVML_ERROR_UNKNOWN, f"Unknown Error; {OTHERWISE}"),
        (77, f"error number 77; {OTHERWISE}"),
    ],
)
def test_a_driver_that_does_not_work_is_no_missing_driver(nvml: FakeNvml, code: int, words: str) -> None:
    nvml.fail("nvmlInitWithFlags", code)
    with pytest.raises(NoGpuError) as caught, Nvml():
        pass
    assert str(caught.value) == f"the NVIDIA driver does not work: {words}"
    assert type(caught.value) is NoGpuError


def test_no_library(no_library: None) -> None:
    with pytest.raises(NoDriverError, match=r"^NVML does not answer: NVML Shared Library Not Found$"), Nvml():
        pass


def test_nvml_is_closed_on_the_way_out(nvml: FakeNvml) -> None:
    with suppress(ZeroDivisionError), Nvml():
        assert nvml.opened == 1
        raise ZeroDivisionError
    assert nvml.calls == ["nvmlInitWithFlags", "nvmlShutdown"]
    with pytest.raises(NoGpuError, match="Uninitialized"):
        Nvml().ask("nvmlDeviceGetCount")


def test_handles_by_uuid(nvml: FakeNvml) -> None:
    nvml.gpus = [FakeGpu(), FakeGpu(uuid="GPU-2"), FakeGpu(uuid="GPU-3", mig=True, parts=[None, FakePart()])]
    with Nvml() as opened:
        for uuid in (UUID, "GPU-2", "GPU-3", "MIG-11111111-aaaa"):
            assert opened.need("nvmlDeviceGetUUID", opened.handle(uuid)) == uuid
        with pytest.raises(NoGpuError, match=r"^NVML does not find GPU GPU-4$"):
            opened.handle("GPU-4")


def test_the_gpu_of_a_mig_device(nvml: FakeNvml) -> None:
    nvml.gpus = [FakeGpu(), FakeGpu(uuid="GPU-2", mig=True, parts=[FakePart()])]
    with Nvml() as opened:
        part, whole = opened.handle("MIG-11111111-aaaa"), opened.handle("GPU-2")
        assert opened.need("nvmlDeviceGetUUID", opened.physical(part)) == "GPU-2"
        assert opened.physical(whole) is whole


def test_memory_without_what_the_driver_keeps(nvml: FakeNvml) -> None:
    nvml.gpus[0].used = 100 * MIB
    with Nvml() as opened:
        memory = opened.memory(opened.handle(UUID))
    assert (memory.total, memory.used) == (143771 * MIB, 100 * MIB)
    assert memory.free == memory.total - memory.used - RESERVED


@pytest.mark.parametrize("missing", [True, False])
def test_an_old_driver_counts_what_it_keeps_as_used(nvml: FakeNvml, missing: bool) -> None:
    if missing:
        nvml.missing.add("nvmlDeviceGetMemoryInfo_v2")
    else:
        nvml.fail("nvmlDeviceGetMemoryInfo_v2", pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH)
    with Nvml() as opened:
        memory = opened.memory(opened.handle(UUID))
    assert (memory.total, memory.used) == (143771 * MIB, RESERVED)


@pytest.mark.parametrize(
    ("computing", "drawing", "told"),
    [
        ({}, {}, {}),
        ({1: 10, 2: 20}, {}, {1: 10, 2: 20}),
        ({1: 10}, {3: 30}, {1: 10, 3: 30}),
        ({1: None, 2: 0}, {3: None}, {1: None, 2: None, 3: None}),  # as a container hides them
        ({1: 10}, {1: None}, {1: 10}),  # of one that does both
        ({1: None}, {1: 10}, {1: 10}),
        ({pid: pid * 2**32 for pid in range(1, 41)}, {}, {pid: pid * 2**32 for pid in range(1, 41)}),
    ],
)
def test_memory_by_process(
    nvml: FakeNvml, computing: dict[int, int | None], drawing: dict[int, int | None], told: dict[int, int | None]
) -> None:
    nvml.gpus[0].computing, nvml.gpus[0].drawing = computing, drawing
    with Nvml() as opened:
        assert opened.processes(opened.handle(UUID)) == told


@pytest.mark.parametrize(
    ("missing", "told"), [([DRAWING], {1: 10}), ([COMPUTING], {2: 20}), ([COMPUTING, DRAWING], None)]
)
@pytest.mark.parametrize("old", [True, False])
def test_processes_that_a_driver_does_not_tell(
    nvml: FakeNvml, missing: list[str], told: dict[int, int] | None, old: bool
) -> None:
    nvml.gpus[0].computing, nvml.gpus[0].drawing = {1: 10}, {2: 20}
    if old:
        nvml.missing |= set(missing)
    for function in missing:
        nvml.fail(function, pynvml.NVML_ERROR_NOT_SUPPORTED)
    with Nvml() as opened:
        assert opened.processes(opened.handle(UUID)) == told


def test_one_reading_in_si_units(nvml: FakeNvml) -> None:
    gpu = FakeGpu(
        used=7 * MIB,
        computing={1: 5 * MIB},
        utilization=(83, 40),
        power=612_345,
        energy=2**40 + 7,
        sm_clock=1830,
        memory_clock=3200,
        temperature=61,
        clock_events=0x100000024,
    )
    nvml.gpus = [gpu]
    with Nvml() as opened:
        reading = DeviceReader(opened, UUID, clock=lambda: 12.5).read()
    assert vars(reading) == {
        "at": 12.5,
        "used_bytes": 7 * MIB,
        "processes": {1: 5 * MIB},
        "utilization": 0.83,
        "power": pytest.approx(612.345),
        "energy": pytest.approx((2**40 + 7) / 1000, abs=1e-4),
        "sm_clock": 1.83e9,
        "memory_clock": 3.2e9,
        "temperature": 61,
        "clock_events": 0x100000024,
        "free_bytes": gpu.total - gpu.reserved - 7 * MIB,
        "use_by_process": {},
    }


def test_zero_is_told(nvml: FakeNvml) -> None:
    nvml.gpus = [FakeGpu(utilization=(0, 0), power=0, energy=0, sm_clock=0, temperature=0, clock_events=0)]
    (reading,) = read(nvml)
    assert (reading.used_bytes, reading.utilization, reading.power, reading.energy) == (0, 0, 0, 0)
    assert (reading.sm_clock, reading.temperature, reading.clock_events) == (0, 0, 0)


def test_readings_follow_the_device(nvml: FakeNvml) -> None:
    moments = count(1.0, 0.5)
    with Nvml() as opened:
        reader = DeviceReader(opened, UUID, clock=lambda: next(moments))
        before = reader.read()
        nvml.gpus[0].used, nvml.gpus[0].power, nvml.gpus[0].computing = 9, 700_000, {3: 9}
        after = reader.read()
    assert (before.at, before.used_bytes, before.processes) == (1.0, 0, {})
    assert (after.at, after.used_bytes, after.power, after.processes) == (1.5, 9, 700.0, {3: 9})


@pytest.mark.parametrize("name", ["utilization", "power", "energy", "sm_clock", "memory_clock", "temperature"])
def test_what_a_device_does_not_tell_reads_none(nvml: FakeNvml, name: str) -> None:
    setattr(nvml.gpus[0], name, None)
    told = vars(read(nvml)[0])
    assert [key for key, value in told.items() if value is None] == [name]


@pytest.mark.parametrize(
    ("name", "function", "calls"),
    [
        ("utilization", "nvmlDeviceGetUtilizationRates", 1),
        ("power", "nvmlDeviceGetPowerUsage", 1),
        ("energy", ENERGY, 1),
        ("temperature", "nvmlDeviceGetTemperature", 1),
        ("sm_clock", "nvmlDeviceGetClockInfo", 1 + 3),  # of the memory's clock it is asked each time
        ("memory_clock", "nvmlDeviceGetClockInfo", 1 + 3),
        ("clock_events", EVENTS, 1),
        ("clock_events", THROTTLE, 1),
    ],
)
def test_what_was_not_told_once_is_not_asked_again(nvml: FakeNvml, name: str, function: str, calls: int) -> None:
    setattr(nvml.gpus[0], name, None)
    assert [getattr(reading, name) for reading in read(nvml, times=3)] == [None] * 3
    assert nvml.calls.count(function) == calls


def test_processes_that_are_not_told_are_not_asked_for_again(nvml: FakeNvml) -> None:
    for function in (COMPUTING, DRAWING):
        nvml.fail(function, pynvml.NVML_ERROR_NO_PERMISSION)
    assert [reading.processes for reading in read(nvml, times=3)] == [None] * 3
    assert (nvml.calls.count(COMPUTING), nvml.calls.count(DRAWING)) == (1, 1)


def test_what_is_told_is_asked_each_time(nvml: FakeNvml) -> None:
    nvml.gpus[0].clock_events = 0  # which is an answer
    read(nvml, times=3)
    for function in ("nvmlDeviceGetPowerUsage", ENERGY, EVENTS, COMPUTING, "nvmlDeviceGetMemoryInfo_v2"):
        assert nvml.calls.count(function) == 3
    assert THROTTLE not in nvml.calls


def test_a_driver_that_calls_clock_events_by_their_old_name(nvml: FakeNvml) -> None:
    nvml.missing.add(EVENTS)
    nvml.gpus[0].clock_events = 0x44
    assert [reading.clock_events for reading in read(nvml, times=3)] == [0x44] * 3
    assert nvml.calls.count(THROTTLE) == 3


def test_of_a_mig_device_memory_and_processes_are_read(nvml: FakeNvml) -> None:
    part = FakePart(used=3 * MIB, computing={4: 2 * MIB})
    nvml.gpus = [FakeGpu(mig=True, parts=[part], used=99 * MIB, computing={4: 2 * MIB, 5: 6 * MIB})]
    with Nvml() as opened:
        reader = DeviceReader(opened, part.uuid, clock=lambda: 2.0)
        nvml.calls.clear()
        assert reader.read() == GpuReading(
            at=2.0, used_bytes=3 * MIB, processes={4: 2 * MIB}, free_bytes=part.total - part.reserved - 3 * MIB
        )
        assert set(nvml.calls) == {"nvmlDeviceGetMemoryInfo_v2", COMPUTING, DRAWING}


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetPowerUsage", ENERGY,
     "nvmlDeviceGetClockInfo", "nvmlDeviceGetTemperature", EVENTS, COMPUTING],
)  # fmt: skip
def test_a_gpu_that_is_lost_in_mid_run(nvml: FakeNvml, function: str) -> None:
    nvml.fail(function, pynvml.NVML_ERROR_GPU_IS_LOST, after=4)
    with Nvml() as opened:
        reader = DeviceReader(opened, UUID)
        reader.read()
        reader.read()
        with pytest.raises(GpuLostError):
            [reader.read() for _ in range(3)]


def test_a_reader_of_a_device_that_is_not_there(nvml: FakeNvml) -> None:
    with Nvml() as opened, pytest.raises(NoGpuError, match="does not find GPU GPU-2"):
        DeviceReader(opened, "GPU-2")


def uses(nvml: FakeNvml, *steps: tuple[float, list[tuple[int, int, int]]]) -> list[object]:
    """Use by process as it is read at some times, each after the driver took more samples."""
    moments = iter([at for at, _ in steps])
    found: list[object] = []
    with Nvml() as opened:
        reader = DeviceReader(opened, UUID, clock=lambda: next(moments))
        for _, more in steps:
            assert nvml.gpus[0].samples is not None
            nvml.gpus[0].samples += more
            found.append(reader.read().use_by_process)
    return found


def test_use_by_process_is_the_mean_since_the_last_answer(nvml: FakeNvml) -> None:
    assert USE_PERIOD_S == 0.5
    assert uses(
        nvml,
        (0.0, [(1, 7, 90)]),  # of before: only the count begins
        (0.4, [(2, 7, 90)]),  # not asked yet
        (0.5, [(3, 8, 60), (4, 7, 30)]),
        (1.0, []),  # nothing new
        (1.5, [(5, 7, 40), (6, 0, 0), (7, 0, 0), (8, 0, 0)]),
        (1.9, [(9, 8, 80)]),
        (2.0, [(10, 8, 100)]),  # idle samples behind the last time stamp count once more
    ) == [{}, None, {7: 0.4, 8: 0.2}, None, {7: 0.1}, None, {8: 0.36}]


def test_an_idle_gpu_has_no_use_yet(nvml: FakeNvml) -> None:
    assert uses(nvml, (0.0, []), (1.0, []), (2.0, [(1, 7, 50)])) == [{}, None, {7: 0.5}]


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_FOUND, pynvml.NVML_ERROR_INSUFFICIENT_SIZE])
def test_nothing_new_is_no_refusal(nvml: FakeNvml, code: int) -> None:
    nvml.fail(USE, code, after=2)
    assert uses(nvml, (0.0, [(1, 7, 50)]), (1.0, [(2, 7, 50)]), (2.0, [])) == [{}, None, None]
    assert nvml.calls.count(USE) > 3  # it is asked again


def test_a_driver_that_says_so_with_success(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeNvml, "_nvmlDeviceGetProcessUtilization", lambda *_: None)
    assert uses(nvml, (0.0, []), (1.0, []), (2.0, [])) == [{}, None, None]
    assert nvml.calls.count(USE) == 3


@pytest.mark.parametrize("name", ["NOT_SUPPORTED", "NO_PERMISSION", "UNKNOWN", "INVALID_ARGUMENT"])
def test_use_that_is_not_told_is_asked_for_once_and_ends_no_reading(nvml: FakeNvml, name: str) -> None:
    nvml.fail(USE, getattr(pynvml, f"NVML_ERROR_{name}"))
    assert uses(nvml, *((float(second), [(second, 7, 50)]) for second in range(4))) == [None] * 4
    assert nvml.calls.count(USE) == 1


def test_use_that_an_old_driver_does_not_know(nvml: FakeNvml) -> None:
    nvml.missing.add(USE)
    assert uses(nvml, (0.0, []), (1.0, [(1, 7, 50)])) == [None, None]


def test_a_gpu_that_is_lost_when_its_use_is_asked_for(nvml: FakeNvml) -> None:
    nvml.fail(USE, pynvml.NVML_ERROR_GPU_IS_LOST)
    with pytest.raises(GpuLostError, match=r"^the GPU is gone: GPU is lost$"):
        uses(nvml, (0.0, []))

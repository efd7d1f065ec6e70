"""Which GPUs a process may use, and what they are; NVML's library is a stand-in, pynvml is real."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pynvml
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf import gpu
from pytest_vllmperf.errors import NoGpuError
from pytest_vllmperf.gpu import GpuDevice, visible
from pytest_vllmperf.records.devices import GpuReading
from tests.gpu.fake_nvml import MIB, FakeGpu, FakeNvml, FakePart

relaxed = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])

GIB = 2**30
NAMES = ("NVIDIA H200", "NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 3090", "NVIDIA RTX A6000")
ALL = tuple(GpuDevice(f"GPU-{i:08d}-aaaa", name, 24 * GIB, (9, 0), "565") for i, name in enumerate(NAMES, start=1))
H200, RTX4090, RTX3090, A6000 = ALL
PARTS = tuple(
    GpuDevice(f"MIG-{i:08d}-bbbb", "NVIDIA H200 MIG 1g.18gb", 18 * GIB, (9, 0), "565", mig=True) for i in (1, 2)
)


def uuids(found: Sequence[GpuDevice]) -> list[str]:
    return [device.uuid for device in found]


def divided(*parts: FakePart | None) -> FakeGpu:
    return FakeGpu(uuid="GPU-00000009-cccc", mig=True, parts=list(parts))


def test_what_an_h200_is(nvml: FakeNvml) -> None:
    assert gpu.devices() == (
        GpuDevice(
            uuid="GPU-00000001-aaaa",
            name="NVIDIA H200",
            total_bytes=143771 * MIB,
            compute_capability=(9, 0),
            driver="565.57.01",
            cuda="12.7",
            mig=False,
            power_limit=700.0,
            memory_bandwidth=6144 / 8 * 3201e6 * 2,
            flops=132 * 1980e6 * 4096,
        ),
    )
    assert gpu.devices()[0].memory_bandwidth == pytest.approx(4.9e12, rel=0.005)  # 4.8 TB/s by its datasheet


def test_devices_come_in_the_order_of_nvml(nvml: FakeNvml) -> None:
    nvml.gpus = [FakeGpu(uuid="GPU-b"), FakeGpu(uuid="GPU-c", compute=(8, 6)), FakeGpu(uuid="GPU-a", total=7 * MIB)]
    found = gpu.devices()
    assert uuids(found) == ["GPU-b", "GPU-c", "GPU-a"]
    assert found[1].compute_capability == (8, 6)
    assert found[2].total_bytes == 7 * MIB


@pytest.mark.parametrize(
    ("number", "version"),
    [(11040, "11.4"), (12000, "12.0"), (12070, "12.7"), (12100, "12.10"), (13000, "13.0"), (0, "")],
)
def test_cuda_version(nvml: FakeNvml, number: int, version: str) -> None:
    nvml.cuda = number
    assert gpu.devices()[0].cuda == version


@pytest.mark.parametrize(
    ("function", "changed"),
    [
        ("nvmlSystemGetCudaDriverVersion_v2", {"cuda": ""}),
        ("nvmlDeviceGetEnforcedPowerLimit", {"power_limit": None}),
        ("nvmlDeviceGetMemoryBusWidth", {"memory_bandwidth": None}),
        ("nvmlDeviceGetMaxClockInfo", {"memory_bandwidth": None, "flops": None}),
        ("nvmlDeviceGetNumGpuCores", {"flops": None}),
        ("nvmlDeviceGetMigMode", {}),
        ("nvmlDeviceIsMigDeviceHandle", {}),
        ("nvmlDeviceGetMemoryInfo_v2", {}),
    ],
)
@pytest.mark.parametrize("way", ["missing", "not supported", "forbidden"])
def test_what_a_driver_does_not_tell_is_left_out(
    nvml: FakeNvml, function: str, changed: dict[str, Any], way: str
) -> None:
    (expected,) = gpu.devices()
    if way == "missing":
        nvml.missing.add(function)
        pynvml._nvmlGetFunctionPointer_cache.clear()
    else:
        nvml.fail(
            function, pynvml.NVML_ERROR_NOT_SUPPORTED if way == "not supported" else pynvml.NVML_ERROR_NO_PERMISSION
        )
    assert gpu.devices() == (GpuDevice(**{**vars(expected), **changed}),)


NEEDED = [
    "nvmlSystemGetDriverVersion",
    "nvmlDeviceGetCount_v2",
    "nvmlDeviceGetHandleByIndex_v2",
    "nvmlDeviceGetUUID",
    "nvmlDeviceGetName",
    "nvmlDeviceGetCudaComputeCapability",
]


@pytest.mark.parametrize("function", [*NEEDED, "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMigMode"])
def test_a_device_that_cannot_be_read_is_told(nvml: FakeNvml, function: str) -> None:
    nvml.fail(function, pynvml.NVML_ERROR_UNKNOWN)
    with pytest.raises(NoGpuError) as caught:
        gpu.devices()
    assert str(caught.value) == "NVML cannot read the GPUs: Unknown Error"


@pytest.mark.parametrize("function", NEEDED)
def test_a_function_that_every_driver_has(nvml: FakeNvml, function: str) -> None:
    nvml.missing.add(function)
    with pytest.raises(NoGpuError, match=f"{function.removesuffix('_v2')} is not supported here"):
        gpu.devices()


LOST, FORBIDDEN = "the GPU is gone: GPU is lost", "NVML cannot read the GPUs: Insufficient Permissions"


def partly_broken() -> list[FakeGpu]:
    """Four GPUs: the second is lost, the third is somebody else's."""
    return [
        FakeGpu(uuid="GPU-a"),
        FakeGpu(uuid="GPU-b", lost=True),
        FakeGpu(uuid="GPU-c", forbidden=True),
        FakeGpu(uuid="GPU-d"),
    ]


def test_a_gpu_that_cannot_be_read_takes_no_other_with_it(nvml: FakeNvml) -> None:
    nvml.gpus = partly_broken()
    assert uuids(gpu.devices()) == ["GPU-a", "GPU-d"]
    assert gpu.hidden() == ""
    assert [one.unusable for one in gpu.installed()] == ["", LOST, "", FORBIDDEN]


@pytest.mark.parametrize(
    ("variable", "expected", "hides"),
    [
        ("0", ["GPU-a"], 1),
        ("2", ["GPU-d"], 1),  # a lost GPU counts, one that CUDA cannot see does not
        ("1,2", ["GPU-d"], 1),
        ("GPU-d,0", ["GPU-d", "GPU-a"], 0),
        ("", [], 2),
        ("9", [], 2),
    ],
)
def test_numbers_mean_the_same_gpus_where_one_cannot_be_read(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, variable: str, expected: list[str], hides: int
) -> None:
    nvml.gpus = partly_broken()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert uuids(gpu.devices()) == expected
    assert gpu.hidden() == (f"CUDA_VISIBLE_DEVICES={variable!r} hides {hides} of this machine" if hides else "")


@pytest.mark.parametrize(("variable", "reason"), [("1", LOST), ("3", FORBIDDEN), ("1,3", f"{LOST}; {FORBIDDEN}")])
def test_where_nothing_that_was_chosen_can_be_used_the_reason_is_told(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, variable: str, reason: str
) -> None:
    nvml.gpus = partly_broken()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    with pytest.raises(NoGpuError) as caught:
        gpu.devices()
    assert str(caught.value) == reason


def test_two_lost_gpus_are_two(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.gpus = [FakeGpu(lost=True), FakeGpu(uuid="GPU-2", lost=True), FakeGpu(uuid="GPU-3")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert uuids(gpu.devices()) == ["GPU-3"]
    nvml.gpus.pop()
    with pytest.raises(NoGpuError, match=f"^{LOST}$"):
        gpu.devices()


def test_the_first_gpu_of_a_job_is_that_which_it_may_touch(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.gpus = [FakeGpu(forbidden=True), FakeGpu(uuid="GPU-2", forbidden=True), FakeGpu(uuid="GPU-3")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert uuids(gpu.devices()) == ["GPU-3"]


def test_a_failing_shutdown_hides_nothing(nvml: FakeNvml) -> None:
    nvml.fail("nvmlShutdown", pynvml.NVML_ERROR_UNKNOWN)
    nvml.gpus[0].computing = {1: 5}
    assert len(gpu.devices()) == 1
    reading = gpu.look("GPU-00000001-aaaa")
    assert reading is not None
    assert reading.processes == {1: 5}
    nvml.opened -= 2


def test_without_a_library_there_are_none(no_library: None) -> None:
    assert gpu.devices() == ()
    assert gpu.look("GPU-00000001-aaaa") is None


def test_without_a_driver_there_are_none(nvml: FakeNvml) -> None:
    nvml.fail("nvmlInitWithFlags", pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
    assert gpu.devices() == ()
    assert gpu.look("GPU-00000001-aaaa") is None
    assert set(nvml.calls) == {"nvmlInitWithFlags"}


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH, pynvml.NVML_ERROR_UNKNOWN])
def test_a_driver_that_does_not_work_is_not_taken_for_none(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    nvml.fail("nvmlInitWithFlags", code)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(NoGpuError, match=r"^the NVIDIA driver does not work: "):
        gpu.devices()
    assert gpu.hidden() == ""
    assert gpu.look("GPU-00000001-aaaa") is None
    assert set(nvml.calls) == {"nvmlInitWithFlags"}


def test_a_machine_with_a_driver_and_no_gpu(nvml: FakeNvml) -> None:
    nvml.gpus = []
    assert gpu.devices() == ()


def test_only_visible_devices_are_told(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    nvml.gpus = [FakeGpu(uuid=one.uuid) for one in ALL]
    assert (uuids(gpu.devices()), gpu.hidden()) == (uuids(ALL), "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-00000002")
    assert uuids(gpu.devices()) == uuids((A6000, RTX4090))
    assert gpu.hidden() == "CUDA_VISIBLE_DEVICES='3,GPU-00000002' hides 2 of this machine"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.devices() == ()
    assert gpu.hidden() == "CUDA_VISIBLE_DEVICES='' hides 4 of this machine"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert gpu.hidden() == ""
    assert uuids(gpu.installed()) == uuids(ALL)


def test_mig_devices_stand_for_their_gpu(nvml: FakeNvml) -> None:
    small = FakePart(total=16 * GIB)
    large = FakePart(uuid="MIG-22222222-aaaa", name="NVIDIA H200 MIG 3g.71gb", total=71 * GIB)
    nvml.gpus = [FakeGpu(uuid="GPU-first"), divided(small, large), FakeGpu(uuid="GPU-last")]
    first, one, other, last = gpu.devices()
    assert (first.uuid, first.mig, last.uuid, last.mig) == ("GPU-first", False, "GPU-last", False)
    assert one == GpuDevice(
        uuid="MIG-11111111-aaaa",
        name="NVIDIA H200 MIG 1g.18gb",
        total_bytes=16 * GIB,
        compute_capability=(9, 0),
        driver="565.57.01",
        cuda="12.7",
        mig=True,
        power_limit=700.0,  # which it shares with the others
        memory_bandwidth=None,
    )
    assert (other.uuid, other.name, other.total_bytes) == (large.uuid, large.name, large.total)


def test_places_without_a_mig_device_are_passed_over(nvml: FakeNvml) -> None:
    part, other = FakePart(), FakePart(uuid="MIG-2")
    nvml.gpus = [divided(None, part, None, None, other, None, None)]
    assert uuids(gpu.devices()) == ["MIG-11111111-aaaa", "MIG-2"]
    assert "nvmlDeviceGetMemoryBusWidth" not in nvml.calls  # the whole GPU's, whatever a part may answer


def test_a_divided_gpu_without_parts_cannot_be_used(nvml: FakeNvml) -> None:
    nvml.gpus = [divided(*[None] * 7), FakeGpu()]
    assert uuids(gpu.devices()) == ["GPU-00000001-aaaa"]


@pytest.mark.parametrize("mig", [False, None])  # to be divided at the next reset; of a kind that cannot be
def test_a_gpu_that_is_not_divided_is_whole(nvml: FakeNvml, mig: bool | None) -> None:
    nvml.gpus = [FakeGpu(mig=mig, parts=[FakePart()])]
    assert [(one.uuid, one.mig) for one in gpu.devices()] == [("GPU-00000001-aaaa", False)]


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("MIG-22222222-aaaa", ["MIG-22222222-aaaa"]),
        ("MIG-2,MIG-1", ["MIG-22222222-aaaa", "MIG-11111111-aaaa"]),
        ("1", ["MIG-22222222-aaaa"]),
        ("GPU-00000009", []),  # the divided GPU itself
    ],
)
def test_visible_mig_devices(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, variable: str, expected: list[str]
) -> None:
    nvml.gpus = [divided(FakePart(), FakePart(uuid="MIG-22222222-aaaa"))]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", variable)
    assert uuids(gpu.devices()) == expected


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, ALL), ("", ()), (" ", ()), ("0", (H200,)), ("2,0", (RTX3090, H200)), (" 1 , 3 ", (RTX4090, A6000)),
        ("0,-1,1", (H200,)), ("0,9,1", (H200,)), ("0,,1", (H200,)), ("-1", ()), ("4", ()), ("NoDevFiles", ()),
        ("GPU-00000003", (RTX3090,)), ("GPU-00000003-aaaa", (RTX3090,)), ("GPU-00000003-aaaa,1", (RTX3090, RTX4090)),
        ("0,GPU-00000007,1", (H200,)),  # of another machine
        ("0,GPU-0000,1", (H200,)),  # which one is not told
        ("MIG-00000003", ()), ("1,1", ()), ("0,GPU-00000001", ()),
    ],
)  # fmt: skip
def test_what_cuda_would_see(variable: str | None, expected: tuple[GpuDevice, ...]) -> None:
    assert visible(ALL, variable) == expected


def test_mig_devices_by_the_variable() -> None:
    assert visible((H200, *PARTS), "MIG-00000002,0") == (PARTS[1], H200)
    assert visible((H200, *PARTS), "MIG-") == ()


@relaxed
@given(st.text(st.sampled_from("0123,-GPU² "), max_size=10) | st.text(max_size=6))
def test_no_value_of_the_variable_brings_a_device_that_is_not_there(variable: str) -> None:
    chosen = visible(ALL, variable)
    assert set(chosen) <= set(ALL)
    assert len(set(chosen)) == len(chosen)
    assert visible((), variable) == ()


def test_one_look_at_a_device(nvml: FakeNvml) -> None:
    nvml.gpus = [FakeGpu(), FakeGpu(uuid="GPU-2", used=5 * GIB, computing={7: 5 * GIB})]
    reading = gpu.look("GPU-2")
    assert reading is not None
    assert (reading.used_bytes, reading.processes) == (5 * GIB, {7: 5 * GIB})


@pytest.mark.parametrize("uuid", ["GPU-2", "GPU-3"])  # lost, never there
def test_a_look_at_a_device_that_is_gone(nvml: FakeNvml, uuid: str) -> None:
    nvml.gpus.append(FakeGpu(uuid="GPU-2", lost=True))
    assert gpu.look(uuid) is None


ONE = GpuReading(0.0, processes={1: 10, 2: 20, 5: 40})
OTHER = GpuReading(0.0, processes={1: 7, 4: None})


@pytest.mark.parametrize(
    ("pids", "readings", "held"),
    [
        ({1, 2}, (ONE,), 30),
        ({1}, (ONE,), 10),
        ({1}, (ONE, OTHER), 17),  # of a model on two devices
        ({1, 4}, (OTHER,), None),  # of one process NVML does not say
        ({3, 9}, (ONE, OTHER), None),  # other people's, or hidden by a container
        ({1}, (ONE, GpuReading(0.0)), None),  # of one device NVML does not say
        ({1}, (GpuReading(0.0, processes={}),), None),
        (set(), (ONE,), None),
        ({1}, (), None),
    ],
)
def test_memory_held_by_processes(pids: set[int], readings: tuple[GpuReading, ...], held: int | None) -> None:
    assert gpu.held_by(pids, readings) == held
    assert gpu.held_by(pids, readings[::-1]) == held


@pytest.mark.parametrize("computing", [{}, {7: None}, {7: 0}, {31337: 5}])
def test_memory_is_unknown_in_a_container_that_hides_processes(
    nvml: FakeNvml, computing: dict[int, int | None]
) -> None:
    nvml.gpus[0].computing, nvml.gpus[0].used = computing, 5
    reading = gpu.look("GPU-00000001-aaaa")
    assert reading is not None
    assert gpu.held_by({7}, [reading]) is None
    assert reading.used_bytes == 5

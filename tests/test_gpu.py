"""GPUs: sizes, requirements, and NVML behind a stand-in module."""

import re
import sys
from contextlib import suppress
from operator import attrgetter
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf import gpu
from pytest_vllmperf.errors import NoGpuError, SpecError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement, parse_size, visible

relaxed = settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])

GIB = 2**30
POWERS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip


def device(number: int, name: str = "NVIDIA H200", gib: float = 80, compute: tuple[int, int] = (9, 0)) -> GpuDevice:
    return GpuDevice(f"GPU-{number:08d}-aaaa", name, int(gib * GIB), compute, "565.57.01")


H200 = device(1, "NVIDIA H200", 139.8, (9, 0))
RTX4090 = device(2, "NVIDIA GeForce RTX 4090", 23.99, (8, 9))
RTX3090 = device(3, "NVIDIA GeForce RTX 3090", 24, (8, 6))
A6000 = device(4, "NVIDIA RTX A6000", 48, (8, 6))
ALL = (H200, RTX4090, RTX3090, A6000)

spaces = st.sampled_from(["", " ", "  "])


@relaxed
@given(st.integers(1, 2000), st.sampled_from(sorted(POWERS)), spaces, spaces, spaces)
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, before: str, between: str, after: str) -> None:
    assert parse_size(f"{before}{number}{between}{unit}{after}") == number * POWERS[unit]


@relaxed
@given(st.integers(1, 2**50))
def test_bytes_are_bytes(number: int) -> None:
    assert parse_size(number) == parse_size(f"{number}B") == number


def test_fractions_need_a_unit() -> None:
    assert parse_size("1.5GiB") == 3 * 2**29
    for size in (1.5, "1.5"):
        with pytest.raises(SpecError):
            parse_size(size)


@pytest.mark.parametrize(
    "size",
    ["", "16", "GiB", "16 gib", "16GIB", "16 PB", "-1GiB", "0GiB", "0.0GB", "1,5GiB", "16GiB more", "1e3MB", "nanGB",
     0, -5, True, None, 2.0, [16], b"16GiB", "0.5B"],
)  # fmt: skip
def test_what_is_no_size_is_named(size: object) -> None:
    with pytest.raises(SpecError, match=re.escape(repr(size))) as caught:
        parse_size(size)
    assert "GiB" in str(caught.value)
    assert "\n" not in str(caught.value)


@relaxed
@given(st.text(max_size=12))
def test_any_text_is_a_size_above_zero_or_refused(text: str) -> None:
    with suppress(SpecError):
        assert parse_size(text) > 0


@pytest.mark.parametrize(
    ("requirement", "fitting"),
    [
        (GpuRequirement.create(), ALL),
        (GpuRequirement.create("h200"), (H200,)),
        (GpuRequirement.create("RTX 4090|A6000"), (RTX4090, A6000)),
        (GpuRequirement.create("RTX"), (RTX4090, RTX3090, A6000)),
        (GpuRequirement.create(r"RTX \d"), (RTX4090, RTX3090)),
        (GpuRequirement.create(min_vram="24GiB"), (H200, RTX3090, A6000)),
        (GpuRequirement.create(min_vram=48 * GIB), (H200, A6000)),
        (GpuRequirement.create(min_compute="8.9"), (H200, RTX4090)),
        (GpuRequirement.create(min_compute=9.0), (H200,)),
        (GpuRequirement.create("RTX", min_vram="30GiB", min_compute="8.6"), (A6000,)),
        (GpuRequirement.create(min_compute="10.0"), ()),
    ],
)
def test_which_devices_fit(requirement: GpuRequirement, fitting: tuple[GpuDevice, ...]) -> None:
    assert tuple(one for one in ALL if requirement.fits(one)) == fitting


def test_the_first_that_fit_are_chosen() -> None:
    assert GpuRequirement.create("RTX", count=2).choose(ALL) == (RTX4090, RTX3090)
    assert GpuRequirement.create("RTX", count=2).choose(ALL[::-1]) == (A6000, RTX3090)
    assert GpuRequirement.create().choose(ALL) == (H200,)


def test_compute_capabilities_are_numbers_not_text() -> None:
    assert GpuRequirement.create(min_compute="9.0").fits(device(5, compute=(12, 0)))
    assert not GpuRequirement.create(min_compute="8.10").fits(device(5, compute=(8, 9)))


def test_too_few_are_told_with_what_was_found() -> None:
    wanted = GpuRequirement.create("RTX 4090", min_vram="16GiB", min_compute="8.9", count=2)
    with pytest.raises(NoGpuError) as caught:
        wanted.choose(ALL[:2])
    assert str(caught.value) == (
        "needs 2 x RTX 4090 with 16 GiB of compute capability 8.9, found NVIDIA H200, NVIDIA GeForce RTX 4090"
    )
    with pytest.raises(NoGpuError, match="needs a GPU, found no GPU"):
        GpuRequirement.create().choose(())


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (GpuRequirement.create(), "a GPU"),
        (GpuRequirement.create(count=2), "2 x GPU"),
        (GpuRequirement.create("H200"), "H200"),
        (GpuRequirement.create(min_vram="23.5GiB"), "a GPU with 23.5 GiB"),
    ],
)
def test_a_requirement_in_words(requirement: GpuRequirement, words: str) -> None:
    assert requirement.describe() == words


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"name": "RTX ("}, "gpu('RTX (')"),
        ({"name": None}, "gpu(None)"),
        ({"name": b"H200"}, "H200"),
        ({"name": re.compile("H200")}, "H200"),
        ({"count": 0}, "count=0"),
        ({"count": True}, "count=True"),
        ({"count": "2"}, "count='2'"),
        ({"min_vram": "lots"}, "'lots'"),
        ({"min_vram": 0}, "0"),
        ({"min_compute": "hopper"}, "min_compute='hopper'"),
        ({"min_compute": 9}, "min_compute=9"),
        ({"min_compute": (8, 9)}, "min_compute=(8, 9)"),
    ],
)
def test_a_requirement_that_cannot_be_meant_is_refused(given_: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        GpuRequirement.create(**given_)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        (None, ALL),
        ("", ()),
        ("0", (H200,)),
        ("2,0", (RTX3090, H200)),
        (" 1 , 3 ", (RTX4090, A6000)),
        ("0,-1,1", (H200,)),
        ("0,9,1", (H200,)),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("GPU-00000003", (RTX3090,)),
        ("GPU-00000003-aaaa,1", (RTX3090, RTX4090)),
        ("MIG-00000003", ()),
    ],
)
def test_what_cuda_would_see(variable: str | None, expected: tuple[GpuDevice, ...]) -> None:
    assert visible(ALL, variable) == expected


@relaxed
@given(st.text(st.sampled_from("0123,-GPU² "), max_size=10) | st.text(max_size=6))
def test_no_value_of_the_variable_brings_a_device_that_is_not_there(variable: str) -> None:
    assert set(visible(ALL, variable)) <= set(ALL)
    assert visible((), variable) == ()


class FakeNvml(ModuleType):
    """As much of `pynvml` as is used, over a list of devices."""

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):  # noqa: N801, N818 - pynvml's own name
        pass

    def __init__(self, devices: tuple[GpuDevice, ...] = ALL) -> None:
        super().__init__("pynvml")
        self.devices = devices
        self.calls: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.processes: dict[GpuDevice, dict[int, int | None]] = {}

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]

    def nvmlInit(self) -> None:  # noqa: N802
        self._called("nvmlInit")

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._called("nvmlShutdown")

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        self._called("nvmlSystemGetDriverVersion")
        return "565.57.01"

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> GpuDevice:  # noqa: N802
        self._called("nvmlDeviceGetHandleByIndex")
        return self.devices[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> GpuDevice:  # noqa: N802
        self._called("nvmlDeviceGetHandleByUUID")
        return next(one for one in self.devices if one.uuid == uuid)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: GpuDevice) -> list[SimpleNamespace]:  # noqa: N802
        self._called("nvmlDeviceGetComputeRunningProcesses")
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes.get(handle, {}).items()]

    def nvmlDeviceGetMemoryInfo(self, handle: GpuDevice) -> SimpleNamespace:  # noqa: N802
        self._called("nvmlDeviceGetMemoryInfo")
        return SimpleNamespace(total=handle.total_bytes, free=1, used=2)

    nvmlDeviceGetUUID = staticmethod(attrgetter("uuid"))  # noqa: N815
    nvmlDeviceGetName = staticmethod(attrgetter("name"))  # noqa: N815
    nvmlDeviceGetCudaComputeCapability = staticmethod(attrgetter("compute_capability"))  # noqa: N815


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    module = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return module


def test_devices_are_read_and_nvml_is_closed_again(nvml: FakeNvml) -> None:
    assert gpu.devices() == ALL
    assert (nvml.calls[0], nvml.calls[-1]) == ("nvmlInit", "nvmlShutdown")


def test_only_visible_devices_are_told(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert gpu.devices() == (A6000, RTX4090)


def test_without_a_driver_there_are_none(nvml: FakeNvml) -> None:
    nvml.failing["nvmlInit"] = nvml.NVMLError_LibraryNotFound("NVML Shared Library Not Found")
    assert gpu.devices() == ()
    assert gpu.memory_held({1}, ALL) is None
    assert nvml.calls == ["nvmlInit"] * 2


@pytest.mark.parametrize(
    "call", ["nvmlSystemGetDriverVersion", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMemoryInfo"]
)
def test_a_device_that_cannot_be_read_is_told_and_nvml_is_closed(nvml: FakeNvml, call: str) -> None:
    nvml.failing[call] = nvml.NVMLError("GPU is lost")
    with pytest.raises(NoGpuError) as caught:
        gpu.devices()
    assert str(caught.value) == "NVML cannot read the GPUs: GPU is lost"
    assert nvml.calls[-1] == "nvmlShutdown"


def test_a_failing_shutdown_hides_nothing(nvml: FakeNvml) -> None:
    nvml.failing["nvmlShutdown"], nvml.processes = nvml.NVMLError("unknown error"), {H200: {1: 5}}
    assert (gpu.devices(), gpu.memory_held({1}, ALL)) == (ALL, 5)


@pytest.mark.parametrize(
    ("pids", "devices", "held"),
    [
        ({1, 2}, (H200,), 30),
        ({1}, (H200,), 10),
        ({1}, (H200, A6000), 17),  # of a model on two devices
        ({1, 4}, (A6000,), None),  # of one process NVML does not say
        ({3, 9}, (H200, A6000), None),  # other people's, or hidden by a container
    ],
)
def test_memory_held_by_processes(nvml: FakeNvml, pids: set[int], devices: Any, held: int | None) -> None:
    nvml.processes = {H200: {1: 10, 2: 20, 5: 40}, A6000: {1: 7, 4: None}}
    assert gpu.memory_held(pids, devices) == held
    assert (nvml.calls[0], nvml.calls[-1]) == ("nvmlInit", "nvmlShutdown")


@pytest.mark.parametrize("call", ["nvmlDeviceGetHandleByUUID", "nvmlDeviceGetComputeRunningProcesses"])
def test_memory_is_unknown_where_nvml_cannot_tell(nvml: FakeNvml, call: str) -> None:
    nvml.failing[call] = nvml.NVMLError("not supported")
    assert gpu.memory_held({1}, ALL) is None
    assert nvml.calls[-1] == "nvmlShutdown"

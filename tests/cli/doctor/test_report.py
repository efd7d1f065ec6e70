"""`vllmperf doctor` as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.cli.doctor import report, software
from pytest_vllmperf.cli.doctor.software import Build, Vllm
from pytest_vllmperf.lab.leases import VARIABLE
from tests.gpu.fake_nvml import FakeNvml

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(software, "torch", lambda found: ())


def has(monkeypatch: pytest.MonkeyPatch, build: Build | None) -> None:
    """This Python has that build of vLLM."""
    monkeypatch.setattr(software, "find_vllm", lambda: None if build is None else Vllm("0.32.0", build, "/vllm"))


def told(capsys: Capture) -> dict[str, object]:
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.usefixtures("no_library")
def test_a_cpu_is_ready_for_the_tiny_model_and_its_clock_is_not_gated(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    has(monkeypatch, Build.CPU)
    assert cli.main(["doctor", "--offline"]) == 0
    out = capsys.readouterr().out
    assert '  @pytest.mark.vllm("vllmperf:tiny", enforce_eager=True, max_model_len=512)\n' in out
    assert "clock            not gated" in out
    assert "Ready: a test can run here." in out
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in out.splitlines())  # a path is not cut


def test_a_gpu_is_ready_for_a_larger_model_and_its_clock_is_gated(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    has(monkeypatch, Build.GPU)
    assert cli.main(["doctor", "--offline", "--json"]) == 0
    found = told(capsys)
    assert found["markers"] == (
        '@pytest.mark.gpu("H200")\n@pytest.mark.vllm("vllmperf:qwen3-0.6b", max_model_len=2048)'
    )
    assert (found["ready"], found["first"]) == (True, "")
    clock = next(one for one in found["sections"]["Devices"] if one["name"] == "clock")  # type: ignore[index]
    assert (clock["state"], clock["data"]["gates"]) == ("ok", ["clock", "device"])


def test_a_gpu_that_others_use_gets_a_marker_with_what_is_left(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, Build.GPU)
    nvml.gpus[0].used = nvml.gpus[0].total // 2
    assert "gpu_memory_utilization=0.4)" in report.diagnose(ask_hub=False).test.markers


@pytest.mark.usefixtures("no_library")
@pytest.mark.parametrize(
    ("build", "first"),
    [
        (None, "pip install 'pytest-vllmperf[cpu]'"),
        (Build.GPU, "make nvidia-smi list a GPU here; or, to test on the CPU, in a new environment: pip install "
         "'pytest-vllmperf[cpu]'"),
    ],
)  # fmt: skip
def test_not_ready_is_1_with_the_one_thing_to_do_first(
    build: Build | None, first: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    has(monkeypatch, build)
    assert cli.main(["doctor", "--offline", "--json"]) == 1
    assert told(capsys)["first"] == first
    assert cli.main(["doctor", "--offline"]) == 1
    assert f"Not ready. First: {first}" in " ".join(capsys.readouterr().out.split())


def test_vllm_that_cannot_be_looked_at_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise RuntimeError("half installed")

    monkeypatch.setattr(software, "find_vllm", fails)
    found = report.diagnose(ask_hub=False)
    assert found.exit_code == 1
    assert "cannot be looked at: half installed" in "\n".join(found.lines(200))


def test_no_failing_probe_stops_it(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no such thing")

    has(monkeypatch, Build.CPU)
    for where in (report.software, report.machine):
        for name in [name for name, one in vars(where).items() if callable(one) and name.islower()]:
            if name != "find_vllm":
                monkeypatch.setattr(where, name, fails)
    assert cli.main(["doctor", "--json"]) == 0
    sections = told(capsys)["sections"]
    assert [one["state"] for one in sections["Machine"]] == ["unknown"] * 5  # type: ignore[index]


def test_it_imports_neither_vllm_nor_torch() -> None:
    code = (
        "import sys\nfrom pytest_vllmperf.cli import main\nmain(['doctor', '--offline'])\n"
        "print(*[one for one in ('vllm', 'torch', 'transformers') if one in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert "A first test here" in done.stdout

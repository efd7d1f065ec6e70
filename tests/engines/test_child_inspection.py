"""How vLLM's look at a model's class is moved into a forked process; here with a registry that stands for vLLM's."""

import importlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
NAME = "vllmperf_inspection"
STARTED = "an interpreter was started"


@pytest.fixture
def inspection(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield importlib.import_module(NAME)
    sys.modules.pop(NAME, None)


@pytest.fixture
def registry(inspection: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module with the function that vLLM has."""
    module = ModuleType(inspection.REGISTRY)
    module._run_in_subprocess = lambda function: STARTED  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, inspection.REGISTRY, module)
    return module


def run(registry: Any, function: Callable[[], Any]) -> Any:
    return registry._run_in_subprocess(function)


def test_it_looks_in_another_process_and_what_it_found_comes_back(inspection: Any, registry: Any) -> None:
    seen: list[int] = []

    def look() -> tuple[int, bytes]:
        seen.append(os.getpid())
        return os.getpid(), b"x" * 1_000_000

    inspection.prepare()
    process, found = run(registry, look)
    assert process != os.getpid()
    assert found == b"x" * 1_000_000
    assert seen == [], "what it does stays there"
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def fails() -> None:
    raise RuntimeError("of the forked process")


def ends() -> None:
    os._exit(0)


@pytest.mark.parametrize("look", [fails, ends, lambda: lambda: None], ids=["fails", "ends", "cannot be pickled"])
def test_where_that_fails_vllm_does_it_its_own_way(
    inspection: Any, registry: Any, look: Callable[[], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    inspection.prepare()
    assert run(registry, look) == STARTED
    assert "no answer from a forked process" in capfd.readouterr().err


def test_where_it_hangs_too(inspection: Any, registry: Any, tmp_path: Path) -> None:
    def hang() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(600)

    inspection.prepare(timeout=0.2)
    assert run(registry, hang) == STARTED
    pid = tmp_path / "pid"
    if pid.exists():  # a machine that is busy may not have come to it
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_where_cuda_is_in_use_nothing_is_forked(
    inspection: Any, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", in_use)
    inspection.prepare()
    assert run(registry, os.getpid) == STARTED


@pytest.mark.parametrize("imported", [True, False])
def test_a_version_without_it_is_left_alone(inspection: Any, monkeypatch: pytest.MonkeyPatch, imported: bool) -> None:
    module = ModuleType(inspection.REGISTRY)
    monkeypatch.setitem(sys.modules, inspection.REGISTRY, module if imported else None)
    inspection.prepare()
    assert not hasattr(module, "_run_in_subprocess")

"""How vLLM's look at a model's class is moved into a forked process; here with a registry that stands for vLLM's."""

import importlib
import os
import sys
import threading
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
    module = importlib.import_module(NAME)
    monkeypatch.setattr(module, "_threads", lambda: 1)  # here pytest's own may run, and those of libraries
    yield module
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

    inspection.prepare(0)
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
    inspection.prepare(0)
    assert run(registry, look) == STARTED
    assert "no answer from a forked process" in capfd.readouterr().err


def test_where_it_hangs_too(
    inspection: Any, registry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def hang() -> None:
        (tmp_path / "pid").write_text(str(os.getpid()))
        time.sleep(600)

    monkeypatch.setattr(inspection, "LEAST_S", 0.2)
    inspection.prepare(0.1)
    assert run(registry, hang) == STARTED
    assert "TimeoutError: it took more than" in capfd.readouterr().err
    pid = tmp_path / "pid"
    if pid.exists():  # a machine that is busy may not have come to it
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid.read_text()), 0)


def test_it_may_take_as_long_as_the_import_that_it_saves(
    inspection: Any, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed: list[float] = []
    monkeypatch.setattr(inspection, "forking", lambda original, timeout: allowed.append(timeout))
    for import_seconds in (inspection.LEAST_S / 2, inspection.LEAST_S * 3):
        registry._run_in_subprocess = lambda function: STARTED
        inspection.prepare(import_seconds)
    assert allowed == [inspection.LEAST_S, inspection.LEAST_S * 3]


def test_a_process_that_tells_little_by_little_has_no_more_time(
    inspection: Any, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(function: Any, write: int) -> None:
        for _ in range(600):
            os.write(write, b"x")
            time.sleep(0.05)
        os._exit(0)

    monkeypatch.setattr(inspection, "_tell", drip)
    with pytest.raises(TimeoutError):
        inspection._told(lambda: None, 0.3)


def test_beside_another_thread_nothing_is_forked(
    inspection: Any, registry: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()  # the real number of threads
    monkeypatch.setitem(sys.modules, inspection.REGISTRY, registry)
    inspection.prepare(0)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        assert run(registry, os.getpid) == STARTED
    finally:
        stop.set()
        thread.join()
    assert "other threads holds" in capfd.readouterr().err


def test_where_cuda_is_in_use_nothing_is_forked(
    inspection: Any, registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_use = SimpleNamespace(cuda=SimpleNamespace(is_initialized=lambda: True))
    monkeypatch.setitem(sys.modules, "torch", in_use)
    inspection.prepare(0)
    assert run(registry, os.getpid) == STARTED


@pytest.mark.parametrize("imported", [True, False])
def test_a_version_without_it_is_left_alone(inspection: Any, monkeypatch: pytest.MonkeyPatch, imported: bool) -> None:
    module = ModuleType(inspection.REGISTRY)
    monkeypatch.setitem(sys.modules, inspection.REGISTRY, module if imported else None)
    inspection.prepare(0)
    assert not hasattr(module, "_run_in_subprocess")

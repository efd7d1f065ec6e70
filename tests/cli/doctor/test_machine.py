"""Memory, container, and the hub."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf.cli.doctor import machine
from pytest_vllmperf.cli.doctor.finding import State

GIB = 2**30


@pytest.fixture
def cgroup(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def limited(cgroup: Path, limit: str, used: int) -> None:
    (cgroup / "memory.max").write_text(f"{limit}\n")
    (cgroup / "memory.current").write_text(f"{used}\n")


def test_a_small_container_warns_on_a_cpu_only(cgroup: Path) -> None:
    limited(cgroup, str(2 * GIB), GIB)
    (one,) = machine.memory(on_cpu=True, cgroup=cgroup)
    assert one.state is State.WARNING
    assert "1.0 GiB free; the container's limit is 2.0 GiB" in one.text
    assert one.data["container_bytes"] == 2 * GIB
    assert [one.state for one in machine.memory(on_cpu=False, cgroup=cgroup)] == [State.FINE]


def test_a_container_without_a_limit_has_the_machines_memory(cgroup: Path) -> None:
    limited(cgroup, "max", GIB)
    (one,) = machine.memory(on_cpu=False, cgroup=cgroup)
    assert one.data["container_bytes"] is None
    assert one.data["total_bytes"] == psutil.virtual_memory().total


def test_cores_that_a_container_may_use(cgroup: Path) -> None:
    (cgroup / "cpu.max").write_text("150000 100000\n")
    assert machine._cpu_quota(cgroup) == 1.5
    (cgroup / "cpu.max").write_text("max 100000\n")
    assert machine._cpu_quota(cgroup) is None
    (one,) = machine.processor()
    assert "cores" in one.text


def test_kinds_of_containers(tmp_path: Path) -> None:
    (one,) = machine.container({}, tmp_path)
    assert one.data == {"kinds": []}
    (tmp_path / ".dockerenv").touch()
    (one,) = machine.container({"SLURM_JOB_ID": "1"}, tmp_path)
    assert one.text == "SLURM, Docker"


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 404, 503])
def test_a_hub_that_answers_anything_is_reached(status: int) -> None:
    with answering(status) as address:
        (one,) = machine.hub({"HF_ENDPOINT": address, "HF_TOKEN": "very-secret-value"}, ask=machine.answer)
    assert one.state is State.FINE
    assert (one.data["reachable"], one.data["token"]) == (True, True)
    assert "HF_TOKEN=***" in one.text
    assert "very-secret-value" not in str(one)


def test_a_hub_that_does_not_answer_is_told_with_what_works_without() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        (one,) = machine.hub({"HF_ENDPOINT": address}, ask=machine.answer, timeout=0.2)
    assert (one.state, one.data["reachable"]) == (State.ABSENT, False)
    assert "cannot be reached: " in one.text
    assert "vllmperf:tiny" in one.remedy


def test_an_address_that_is_none_is_not_opened() -> None:
    (one,) = machine.hub({"HF_ENDPOINT": "file:///etc/passwd"}, ask=machine.answer)
    assert "it is not an HTTP address" in one.text


def test_offline_nothing_is_asked() -> None:
    def never(address: str, timeout: float) -> str:
        raise AssertionError(address)

    (one,) = machine.hub({"HF_HUB_OFFLINE": "1"}, ask=never)
    assert one.text.startswith("HF_HUB_OFFLINE=1 forbids downloads; cache ")
    assert one.data["offline"] == "HF_HUB_OFFLINE"


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine._NEEDED_FREE_DISK > 0
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: type("Usage", (), {"free": GIB}))
    (one,) = machine.temporary()
    assert (one.state, "TMPDIR" in one.remedy) == (State.WARNING, True)


def test_a_hub_that_nobody_asked_is_unknown() -> None:
    (one,) = machine.hub({}, ask=None)
    assert (one.state, "reachable" in one.data) == (State.UNKNOWN, False)

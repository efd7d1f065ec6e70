"""The workers of a sweep on a Ray cluster, as the sweep sees them: events that come, orders that go."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from math import prod
from pathlib import Path
from typing import Final, Protocol

import psutil
from pydantic import ValidationError

from pytest_vllmperf.engines.folders import RunFolder, sockets_parent
from pytest_vllmperf.errors import EngineError, SpecError
from pytest_vllmperf.lab.targets import parallel_arguments
from pytest_vllmperf.sweep.messages import EVENT, STUDY, Event, Failed, Job, Open, Order
from pytest_vllmperf.sweep.study import Study

LOCAL: Final = "local"
AUTO: Final = "auto"
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[^\s:/]+):(?P<port>\d{1,5})")
_CONNECT_S: Final = 5.0
_START_S: Final = 120.0
_SILENCE_S: Final = 60.0
_END_S: Final = 20.0
_KILLED_S: Final = 5.0
_RECONNECT_S: Final = 20
"""So long Ray tries to reach the head of its cluster again, instead of a minute."""
_SOCKET_NAME: Final = 84
"""Bytes of `/vr-abcdefgh/r/session_` with a time and a process, and the longest name of a socket of Ray's in it."""
_BOOT: Final = """\
import sys
sys.path[:1] = [sys.argv[1]]
try:
    from pytest_vllmperf.sweep.ray_process import main
except ImportError as error:
    import json
    print(json.dumps({"kind": "failed", "why": f"Ray cannot be imported: {error}"}))
    sys.exit(1)
main()
"""


class Workers(Protocol):
    """Workers, wherever they run."""

    def event(self, timeout: float) -> Event | None:
        """The next event; None where there is none in time.

        Raises:
            EngineError: when the cluster is gone.
        """

    def measure(self, worker: int, job: Job) -> None:
        """Have a worker that has nothing to do measure a point."""

    def rest(self, worker: int) -> None:
        """Have a worker that has nothing to do give its devices back."""


class RayWorkers:
    """Workers on a Ray cluster, through a process that is connected to it.

    Args:
        process: `ray_process`.
        address: of the cluster, for a person.
        safe: what is said where the cluster goes away.
    """

    def __init__(self, process: subprocess.Popen[bytes], address: str, safe: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process, self._orders = process, process.stdin
        self._read = process.stdout.fileno()
        self._where = "the local Ray instance" if address == LOCAL else f"the Ray cluster at {address}"
        self._safe = safe
        self._buffer = b""
        self._heard, self._limit = time.monotonic(), _START_S

    def event(self, timeout: float) -> Event | None:
        """See `Workers`."""
        until = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = until - time.monotonic()
            poll = select.poll()
            poll.register(self._read, select.POLLIN)
            if not poll.poll(max(0.0, left) * 1e3):
                self._check_silence()
                if left <= 0:
                    return None
                continue
            if not (read := os.read(self._read, 1 << 16)):
                raise self._gone("went away")
            self._buffer += read
        line, _, self._buffer = self._buffer.partition(b"\n")
        self._heard, self._limit = time.monotonic(), _SILENCE_S
        return self._checked(line)

    def measure(self, worker: int, job: Job) -> None:
        """See `Workers`."""
        self._send(Order(worker=worker, job=job))

    def rest(self, worker: int) -> None:
        """See `Workers`."""
        self._send(Order(worker=worker))

    def _checked(self, line: bytes) -> Event:
        try:
            event = EVENT.validate_json(line)
        except ValidationError:
            raise self._gone("sent what no worker sends") from None
        if isinstance(event, Failed):
            raise EngineError(f"{self._where} cannot be used: {event.why}")
        return event

    def _send(self, order: Order) -> None:
        try:
            self._orders.write(order.model_dump_json().encode() + b"\n")
            self._orders.flush()
        except OSError:
            raise self._gone("went away") from None

    def _check_silence(self) -> None:
        if time.monotonic() - self._heard >= self._limit:
            raise self._gone(f"has not answered for {self._limit:.0f} s")

    def _gone(self, what: str) -> EngineError:
        return EngineError(f"{self._where} {what}; {self._safe}")


@contextmanager
def opened(study: Study, address: str, workers: int | None) -> Iterator[RayWorkers]:
    """The workers of a cluster, until the block ends; their engines are then gone.

    Args:
        study: what they measure.
        address: `local`, `auto` or HOST:PORT.
        workers: how many; None for one a GPU, or one a node where there are none.

    Raises:
        SpecError: without Ray, for an address that is none, and for a study that cannot be measured so.
        EngineError: when the cluster does not answer.
    """
    check(study, address)
    safe = f"finished points are in {study.results}, and the same command goes on from there"
    with ExitStack() as held:
        folder = ""
        if address == LOCAL:
            places = (tempfile.gettempdir(), "/tmp", "/var/tmp")  # noqa: S108
            run = RunFolder(sockets_parent(places, _SOCKET_NAME) or Path(tempfile.gettempdir()), "vr-")
            held.callback(shutil.rmtree, run.path, ignore_errors=True)  # Ray's processes may write until they end
            held.callback(run.close)
            folder = str(run.path / "r")  # Ray opens its folder to all users; the one around it stays private
        process = held.enter_context(_started(_environment(local=address == LOCAL)))
        wanted = Open(
            address=address,
            study=STUDY.dump_json(study).decode(),
            folder=str(Path.cwd()),
            temporary=folder,
            gpus=gpus_of(study),
            workers=workers,
        )
        assert process.stdin is not None
        with suppress(OSError):  # that it is gone is told when it is listened to
            process.stdin.write(wanted.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        yield RayWorkers(process, address, safe)


def check(study: Study, address: str) -> None:
    """Refuse what cannot work, before anything is started.

    Raises:
        SpecError: without Ray, for an address that is none, and for a study that cannot be measured so.
        EngineError: where nobody answers at the address.
    """
    if importlib.util.find_spec("ray") is None:
        raise SpecError('--ray: Ray is not installed; pip install "pytest-vllmperf[ray]"')
    for axis in (*({axis.name: axis.values for axis in study.space.axes}.items()), *study.engine.items()):
        _check_argument(*axis)
    if address in (LOCAL, AUTO):
        return
    match = _HOST_PORT.fullmatch(address)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise SpecError(f"--ray={address}: the address of a Ray cluster is HOST:PORT, auto, or local")
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), _CONNECT_S).close()
    except OSError as error:
        why = error.strerror or f"no answer within {_CONNECT_S:.0f} s"
        raise EngineError(
            f"--ray={address}: no Ray cluster answers there: {why}; start it with ray start --head"
        ) from None


def gpus_of(study: Study) -> int:
    """How many GPUs the largest engine of a study takes."""
    told = {name: [value] for name, value in study.engine.items()}
    told |= {axis.name: list(axis.values) for axis in study.space.axes}
    return prod(max((size for size in sizes if isinstance(size, int) and size > 0), default=1)
                for sizes in parallel_arguments(told).values())  # fmt: skip


def _check_argument(name: str, values: object) -> None:
    """Engines that Ray spreads need the GPUs that workers hold; leases on an endpoint hold within one host only."""
    told = values if isinstance(values, (list, tuple)) else [values]
    if name in ("distributed_executor_backend", "data_parallel_backend") and "ray" in told:
        raise SpecError(
            f"--ray: {name}='ray' spreads an engine over the cluster's GPUs, which workers hold; leave --ray out"
        )
    if name == "backend" and "endpoint" in told:
        raise SpecError("--ray: workers would load one endpoint at the same time; leave --ray out")


def _environment(*, local: bool) -> Mapping[str, str]:
    """Of the process that is connected: nothing is reported to Ray's makers, nobody else can use a local instance."""
    own = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_gcs_rpc_server_reconnect_timeout_s": str(_RECONNECT_S),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    if local:
        own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_worker_niceness": "0"}
    return {**os.environ, **own}


@contextmanager
def _started(env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """The process, in a session of its own: Ctrl-C is for this process, which then ends it."""
    package = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-c", _BOOT, package],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=env,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have it end its workers: it reads the end of its input. After a while, or at a second Ctrl-C, it is killed."""
    orders, process.stdin = process.stdin, None
    try:
        with suppress(OSError):
            if orders is not None:
                orders.close()
        process.communicate(timeout=_END_S)
    except subprocess.TimeoutExpired:
        _kill(process)
    except KeyboardInterrupt:
        _kill(process)
        raise


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With the processes of a local Ray instance, which would live on for half a minute."""
    family: list[psutil.Process] = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for child in family:
        with suppress(psutil.Error):
            child.kill()
    process.communicate()
    psutil.wait_procs(family, _KILLED_S)

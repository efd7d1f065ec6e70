"""Starts engines of any backend, and keeps one server process per interpreter, library and environment."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.forkserver import ForkServer, Library
from pytest_vllmperf.engines.starting import Start
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.spec import EngineSpec

_ServerKey = tuple[str, Library, tuple[tuple[str, str], ...]]


class Launcher:
    """Starts engines. Everything it started is gone after `close`.

    Args:
        timeouts: given to every engine.
        backends: the kinds of engines that there are.
    """

    def __init__(self, timeouts: Timeouts, backends: Backends = BACKENDS) -> None:
        self._timeouts = timeouts
        self._backends = backends
        self._servers: dict[_ServerKey, ForkServer] = {}
        self._folder: Path | None = None
        self._failed = False
        self._started: Counter[EngineSpec] = Counter()

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        """Start an engine and wait until it can take requests.

        Args:
            spec: what to run.
            device_env: variables that give it its devices.
            progress: called with what is going on.

        Raises:
            SpecError: for a backend that does not exist, or an argument that its engines cannot be measured with.
            EngineStartError: when it does not come up; its log is then kept.
        """
        backend = self._backends.of(self._backends.checked(spec))
        number = self._started[spec]
        self._started[spec] += 1
        env = {**device_env, **dict(spec.env)}
        try:
            return backend.start(Start(spec, number, env, self._timeouts, progress, self))
        except EngineError:
            self._failed = True
            raise

    @property
    def folder(self) -> Path:
        """Logs and the engines' temporary files; kept after `close` only when an engine failed to start."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="vllmperf-"))
        return self._folder

    def close(self) -> None:
        """End every server process, and every engine that still runs."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()
        if self._folder is not None and not self._failed:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def server(self, start: Start, library: Library) -> ForkServer:
        """The server process of this engine's interpreter and environment, started if need be.

        Variables are part of the key: vLLM and torch read many of them when they are imported.

        Raises:
            EngineStartError: when the library cannot be imported there.
        """
        python = start.spec.python
        key = (python, library, tuple(sorted(start.env.items())))
        if key in self._servers and not self._servers[key].alive:
            self._servers.pop(key).close()
        if key not in self._servers:
            server = ForkServer(python, library, start.env, Path(tempfile.mkdtemp(dir=self.folder, prefix="")))
            importing = f"importing {library.label}"
            try:
                server.wait_ready(self._timeouts.start, lambda waited: start.progress(importing, waited))
            except BaseException:
                server.close()
                raise
            self._servers[key] = server
        return self._servers[key]

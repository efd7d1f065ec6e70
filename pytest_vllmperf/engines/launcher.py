"""Starts engines of any backend, and keeps one server process per interpreter, library and environment."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from pytest_vllmperf import models
from pytest_vllmperf.engines.arguments import check_arguments
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.child_engine import start_child
from pytest_vllmperf.engines.forkserver import ForkServer
from pytest_vllmperf.engines.programs import PROGRAMS, program
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineError
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.spec import EngineSpec

_SHOWN = {chosen.library: chosen.name for chosen in PROGRAMS.values()}
_ServerKey = tuple[str, str, tuple[tuple[str, str], ...]]


class Launcher:
    """Starts engines. Everything it started is gone after `close`.

    Args:
        timeouts: given to every engine.
    """

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._servers: dict[_ServerKey, ForkServer] = {}
        self._folder: Path | None = None
        self._failed = False
        self._simulated: Counter[EngineSpec] = Counter()

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        """Start an engine and wait until it can take requests.

        Args:
            spec: what to run.
            device_env: variables that give it its devices.
            progress: told what is going on.

        Raises:
            EngineStartError: when it does not come up; its log is then kept.
        """
        if spec.backend == "simulated":
            return SimulatedEngine(spec, self._count(spec))
        try:
            models.check_location(spec.model, spec.args, {**os.environ, **dict(spec.env)})
            model = models.resolve(spec.model)
            chosen = program(spec)
            check_arguments(spec, chosen.library)
            server = self._server(spec, chosen.library, device_env, progress)
            return start_child(spec, chosen, model, server, self.folder, self._timeouts, progress)
        except EngineError:
            self._failed = True
            raise

    def _count(self, spec: EngineSpec) -> int:
        """How many engines of this spec were started before."""
        self._simulated[spec] += 1
        return self._simulated[spec] - 1

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

    def _server(self, spec: EngineSpec, library: str, device_env: Mapping[str, str], progress: Progress) -> ForkServer:
        """The spec's server process, started if need be.

        Variables are part of the key: vLLM and torch read many of them when they are imported.
        """
        env = {**device_env, **dict(spec.env)}
        key = (spec.python, library, tuple(sorted(env.items())))
        if key in self._servers and not self._servers[key].alive:
            self._servers.pop(key).close()
        if key not in self._servers:
            folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=""))
            server = ForkServer(spec.python, library, env, folder)
            try:
                server.wait_ready(self._timeouts.start, lambda waited: progress(f"importing {_SHOWN[library]}", waited))
            except BaseException:
                server.close()
                raise
            self._servers[key] = server
        return self._servers[key]

"""Starts engines of any backend, and keeps one server process per interpreter, library and environment."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from pytest_vllmperf.engines.backends import BACKENDS, Backends
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.folders import RunFolder, compiled_code, sockets_parent
from pytest_vllmperf.engines.forkserver import ForkServer, Library, unwritable
from pytest_vllmperf.engines.starting import Start
from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.spec import EngineSpec

_VLLM_SOCKETS = "VLLM_RPC_BASE_PATH"
_COMPILED = "TORCHINDUCTOR_CACHE_DIR"
_SHORT_PLACES = ("/tmp", "/var/tmp")  # noqa: S108 - for a private folder
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
        self._folder: RunFolder | None = None
        self._sockets: RunFolder | None = None
        self._started: Counter[EngineSpec] = Counter()

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        """Start an engine and wait until it can take requests.

        Args:
            spec: what to run.
            device_env: variables that give it its devices.
            progress: called with what is going on.

        Raises:
            SpecError: for a backend that does not exist, or an argument that its engines cannot be measured with.
            EngineStartError: when it does not come up; its log is then kept, and named in the error.
        """
        backend = self._backends.of(self._backends.checked(spec))
        number = self._started[spec]
        self._started[spec] += 1
        env = {**device_env, **dict(spec.env)}
        return backend.start(Start(spec, number, env, self._timeouts, progress, self))

    @property
    def folder(self) -> Path:
        """Logs and the engines' temporary files; of it only logs of engines that failed are left after `close`.

        Raises:
            EngineStartError: when it cannot be made.
        """
        if self._folder is None:
            try:
                self._folder = RunFolder(Path(tempfile.gettempdir()), "vllmperf-")
            except OSError as error:
                raise EngineStartError(unwritable(error)) from None
        return self._folder.path

    def close(self) -> None:
        """End every server process, and every engine that still runs."""
        with ExitStack() as ends:  # the last entered is the first to end, and none is left out when one raises
            for folder in (self._folder, self._sockets):
                if folder is not None:
                    ends.callback(folder.close)
            for server in self._servers.values():
                ends.callback(server.close)
            self._folder, self._sockets = None, None
            self._servers.clear()

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
            server = self._new_server(python, library, start.env)
            importing = f"importing {library.label}"
            try:
                server.wait_ready(self._timeouts.start, lambda waited: start.progress(importing, waited))
            except BaseException:
                server.close()
                raise
            self._servers[key] = server
        return self._servers[key]

    def _new_server(self, python: str, library: Library, env: Mapping[str, str]) -> ForkServer:
        """A server process with a temporary folder of its own, below the user's, which has a short name as well.

        Sockets' names are limited to 107 bytes, and vLLM, torch and multiprocessing put sockets into TMPDIR. So TMPDIR
        is a link in a short folder: large files still go where the user wants them. What torch compiles goes where it
        goes without us, or every engine would compile it anew: on a CPU twenty seconds before the first score.
        """
        try:
            folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=""))
            short = self._sockets_folder()
            link = short / folder.name
            if link != folder:
                link.symlink_to(folder)
        except OSError as error:
            raise EngineStartError(unwritable(error)) from None
        chosen = {} if _VLLM_SOCKETS in os.environ else {_VLLM_SOCKETS: str(short)}
        if _COMPILED not in os.environ and "TMPDIR" not in env and (cache := compiled_code()) is not None:
            chosen[_COMPILED] = str(cache)
        return ForkServer(python, library, {"TMPDIR": str(link), **chosen, **env}, folder)

    def _sockets_folder(self) -> Path:
        """A folder with a short name; that of the run where no place for one is found."""
        if self._sockets is None:
            places = (tempfile.gettempdir(), os.environ.get("XDG_RUNTIME_DIR"), *_SHORT_PLACES)
            if (parent := sockets_parent(places)) is None:
                return self.folder
            self._sockets = RunFolder(parent, "vp-")
        return self._sockets.path

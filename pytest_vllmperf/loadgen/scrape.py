"""Asks a server for its `/metrics` before a run, once a second meanwhile, and afterwards."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.loadgen.calls import checked_key, host_header
from pytest_vllmperf.loadgen.faults import quoted
from pytest_vllmperf.loadgen.figures import Figures, figures, server_metrics, wanted
from pytest_vllmperf.loadgen.job import Server
from pytest_vllmperf.records.served import ServerMetrics

_MOST_BYTES: Final = 1 << 26
_BLOCK: Final = 1 << 16


@dataclass(frozen=True)
class Watched:
    """What a server said of itself during a run.

    Attributes:
        metrics: None where it has none of vLLM's figures, or they cannot be compared.
        notes: why, and what else a person should know.
    """

    metrics: ServerMetrics | None
    notes: tuple[str, ...] = ()


class ScrapeError(Exception):
    """A server that gave no `/metrics`; the message says why."""


class MetricsWatch:
    """Watches one server's `/metrics` during one run, from a thread with a connection of its own.

    The thread keeps lines and leaves their numbers to `stop`: it shares a core with the load generator.
    """

    def __init__(self, server: Server, api_key: str | None = None, *, every: float = 1.0, timeout: float = 2.0) -> None:
        """Prepare to watch; nothing is sent yet.

        Args:
            server: where it listens; `/metrics` stands beside the `/v1` of its base.
            api_key: sent as a bearer token; None for none.
            every: seconds between two scrapes.
            timeout: seconds for a connection and for each piece of an answer; a whole scrape may take twice as long.
        """
        self._source = _Source(server, api_key, timeout)
        self._every = every
        self._longest = 3 * timeout + 1
        self._begun, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="vllmperf-metrics", daemon=True)
        self._before = self._after = ""
        self._meanwhile: list[str] = []
        self._missed = 0
        self._problem = ""

    def start(self) -> None:
        """Take the figures before the run, and watch from now on; a server without them is not asked again."""
        self._thread.start()
        self._begun.wait(self._longest)

    def stop(self) -> Watched:
        """Stop watching, take the figures after the run, and say what came of it."""
        self._over.set()
        self._thread.join(2 * self._longest)
        if self._thread.is_alive():
            return Watched(None, ("no figures of the server: a request for /metrics did not end in time",))
        if self._problem:
            return Watched(None, (f"no figures of the server: {self._problem}",))
        try:
            before, after, *meanwhile = [figures(text) for text in (self._before, self._after, *self._meanwhile)]
        except ValueError as error:
            return Watched(None, (f"no figures of the server: {quoted(str(error), self._source.key)}",))
        return self._watched(before, after, meanwhile)

    def _watched(self, before: Figures, after: Figures, meanwhile: list[Figures]) -> Watched:
        if not after:
            return Watched(None, ("no figures of the server: its /metrics has none of vLLM's",))
        metrics = server_metrics(before, after, meanwhile)
        if metrics is None:
            return Watched(None, ("no figures of the server: its counters went backwards, so it was started anew",))
        missed = f"{self._missed} of the server's /metrics did not come during the run"
        return Watched(metrics, (missed,) if self._missed else ())

    def _watch(self) -> None:
        """Everything that may wait for the server; in the thread, so that no server can hold the run."""
        try:
            self._before = self._source.scrape()
            self._begun.set()
            while not self._over.wait(self._every):
                self._look()
            self._after = self._source.scrape()
        except ScrapeError as error:
            self._problem = str(error)
        finally:
            self._begun.set()
            self._source.close()

    def _look(self) -> None:
        try:
            self._meanwhile.append(self._source.scrape())
        except ScrapeError:
            self._missed += 1


class _Source:
    """One server's `/metrics`, over a connection that is kept as long as it holds. Used by one thread at a time."""

    def __init__(self, server: Server, api_key: str | None, timeout: float) -> None:
        self.key = api_key or ""
        self._used = False
        self._timeout = timeout
        self._path = f"{server.base.rstrip('/').removesuffix('/v1')}/metrics"
        self._headers = {"Host": host_header(server), "Accept-Encoding": "identity", "Accept": "text/plain"}
        if api_key is not None:
            self._headers["Authorization"] = f"Bearer {checked_key(api_key)}"
        self._connection = (
            http.client.HTTPSConnection(server.host, server.port, timeout=timeout, context=ssl.create_default_context())
            if server.tls
            else http.client.HTTPConnection(server.host, server.port, timeout=timeout)
        )

    def scrape(self) -> str:
        """The wanted lines of `/metrics`.

        Raises:
            ScrapeError: where they do not come.
        """
        try:
            try:
                return self._ask()
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                if not self._used:
                    raise
                self.close()  # the server had closed a connection that was idle
                return self._ask()
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            words = quoted(str(error) or type(error).__name__, self.key)
            raise ScrapeError(f"{self._path} cannot be read: {words}") from None
        except ScrapeError:
            self.close()
            raise

    def _ask(self) -> str:
        self._connection.request("GET", self._path, headers=self._headers)
        with self._connection.getresponse() as response:
            if response.status != http.client.OK:
                raise ScrapeError(f"{self._path} answers HTTP {response.status}")
            body = self._read(response)
        self._used = True
        return wanted(body.decode(errors="replace"))

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """The body, within its time and size: a server that sends a byte now and then must not hold the thread."""
        until = time.monotonic() + 2 * self._timeout
        body = bytearray()
        while block := response.read1(_BLOCK):
            body += block
            if time.monotonic() > until or len(body) > _MOST_BYTES:
                raise TimeoutError("it does not end")
        if response.length:  # what is missing of its Content-Length; read1 leaves that to its caller
            raise ConnectionError("the connection ended before the answer did")
        return bytes(body)

    def close(self) -> None:
        """Give the connection back; the next scrape opens another."""
        self._used = False
        self._connection.close()

"""Opens connections: addresses, descriptors, TLS, and what can go wrong with each."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf.loadgen.connection import Connection, Owner
from pytest_vllmperf.loadgen.job import Server

_RESERVE: Final = 16
"""Descriptors that are left for others than connections."""

_Address = tuple[int, Any]
"""A family of addresses, and an address of it."""


class NotOpened(Exception):  # noqa: N818 - a result, turned into an answer that failed
    """No connection.

    Attributes:
        failure: its kind, a name in `records.answers.FAILURES`.
    """

    def __init__(self, failure: str, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure


@dataclass
class _Stage:
    """How far the opening of a connection has come: what it is called where its time is over, and in words."""

    failure: str = "connect"
    late: str = "no connection"


def raise_limit() -> None:
    """Allow this process as many open files as its hard limit grants."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def descriptors_left() -> int:
    """How many connections this process may have open."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return int(max(0, limit - len(list(Path("/proc/self/fd").iterdir())) - _RESERVE))


class Opener:
    """Opens connections to one server.

    Args:
        server: where to.
        timeout: seconds for one connection, its TLS handshake included.
        keep_alive: whether connections are to be used again.
        most: how many may be open at once.

    Attributes:
        refused: connections that were not opened because `most` were open.
    """

    def __init__(self, server: Server, timeout: float, *, keep_alive: bool, most: int) -> None:
        self._server = server
        self._timeout = timeout
        self._keep = keep_alive
        self._most = most
        self._open = 0
        self._addresses: list[_Address] = []
        self._unknown = ""
        self._tls = ssl.create_default_context() if server.tls else None
        self.refused = 0

    async def resolve(self) -> None:
        """Look the server's addresses up, once: no name is asked for while requests are timed."""
        loop = asyncio.get_running_loop()
        server = self._server
        try:
            asked = loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
            found = await asyncio.wait_for(asked, self._timeout)
        except asyncio.TimeoutError:
            self._unknown = f"{server.host}: its address was not found within {self._timeout:g} s"
        except OSError as error:
            self._unknown = f"{server.host}: {error.strerror or error}"
        else:
            self._addresses = [(family, address) for family, _, _, _, address in found]

    async def open(self, owner: Owner) -> Connection:
        """A new connection.

        Args:
            owner: of the connection.

        Raises:
            NotOpened: when there is none, with the reason.
        """
        if self._unknown:
            raise NotOpened("connect", self._unknown)
        if self._open >= self._most:
            self.refused += 1
            raise NotOpened("connect", self.limit())
        self._open += 1
        stage = _Stage()
        try:
            return await asyncio.wait_for(self._connected(owner, stage), self._timeout)
        except BaseException as error:
            self._open -= 1
            if isinstance(error, asyncio.TimeoutError):
                raise NotOpened(stage.failure, f"{stage.late} within {self._timeout:g} s") from None
            raise

    def limit(self) -> str:
        """What is said where no descriptor is left for a connection."""
        return f"a client process may have {self._most} connections open, by its limit of open files (ulimit -Hn)"

    def closed(self) -> None:
        """A connection that was opened here is closed."""
        self._open -= 1

    async def _connected(self, owner: Owner, stage: _Stage) -> Connection:
        """A connection to the first address that takes it; that one is asked first from then on."""
        problem = NotOpened("connect", "no address")
        for address in tuple(self._addresses):
            try:
                sock = await self._socket(address)
            except OSError as error:
                problem = NotOpened("connect", self._reason(error))
                continue
            if self._addresses[0] is not address:
                self._addresses = [address, *(other for other in self._addresses if other is not address)]
            if self._tls is not None:
                stage.failure, stage.late = "tls", "the TLS handshake was not over"
            return await self._protocol(owner, sock)
        raise problem

    def _reason(self, error: OSError) -> str:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return self.limit()
        where = f"{self._server.host}:{self._server.port}"
        if error.errno == errno.EADDRNOTAVAIL:
            return f"{where}: no local port is left; use connections again (keep-alive)"
        return f"{where}: {os.strerror(error.errno) if error.errno else error}"

    async def _socket(self, address: _Address) -> socket.socket:
        """A socket that is connected."""
        family, place = address
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(sock, place)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _protocol(self, owner: Owner, sock: socket.socket) -> Connection:
        """The connection on a connected socket, encrypted where asked for."""
        made = partial(Connection, owner, sock, direct=self._tls is None, keep=self._keep)
        name = self._server.host if self._tls else None
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                made, sock=sock, ssl=self._tls, server_hostname=name
            )
        except (OSError, ssl.SSLError, ssl.CertificateError) as error:
            sock.close()
            raise NotOpened("tls" if self._tls else "connect", str(error) or type(error).__name__) from None
        except BaseException:
            sock.close()
            raise
        return connection

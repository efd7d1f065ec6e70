"""The parent's end of an engine's line protocol: one JSON object a line. Every wait has an end."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from typing import Any

TICK_S = 0.25
_CHUNK = 1 << 16

OnTick = Callable[[float], None]
"""Called about four times a second with the seconds waited; it may raise to give up."""


class ChannelClosed(Exception):  # noqa: N818 - an event of the protocol, turned into an error by the engine
    """The other side is gone."""


class ChannelTimeout(Exception):  # noqa: N818
    """No message in time."""


def is_ready(fd: int, event: int, timeout: float) -> bool:
    """Whether a descriptor can be used, or has been closed at its other side, within `timeout` seconds.

    Args:
        fd: any number: `select` would refuse those above 1023.
        event: `select.POLLIN` or `select.POLLOUT`.
        timeout: in seconds.
    """
    poll = select.poll()
    poll.register(fd, event)
    return bool(poll.poll(max(0.0, timeout) * 1000))


class Channel:
    """A pair of pipes to one child.

    Args:
        read_fd: where its messages come from; owned by the channel.
        write_fd: where its requests go; owned by the channel.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        os.set_blocking(write_fd, False)  # a child that reads no more fills the pipe
        self._buffer = bytearray()
        self._open = True

    def ask(self, message: dict[str, Any], timeout: float, on_tick: OnTick | None = None) -> dict[str, Any]:
        """Send one message and wait for its answer.

        Args:
            message: what to send.
            timeout: in seconds, for both.
            on_tick: see `OnTick`.

        Raises:
            ChannelClosed: when the other side ends first.
            ChannelTimeout: when the message was not read, or not answered, in time.
        """
        started = time.monotonic()
        self.send(message, timeout, on_tick)
        return self.receive(timeout - (time.monotonic() - started), on_tick)

    def send(self, message: dict[str, Any], timeout: float, on_tick: OnTick | None = None) -> None:
        """Write one message whole.

        Args:
            message: what to send.
            timeout: in seconds.
            on_tick: see `OnTick`.

        Raises:
            ChannelClosed: when nobody reads any more.
            ChannelTimeout: when it was not read in time.
        """
        data, started = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n"), time.monotonic()
        while data:
            self._wait(self._write_fd, select.POLLOUT, started, timeout, on_tick)
            try:
                data = data[os.write(self._write_fd, data) :]
            except BlockingIOError:  # the pipe has room, but not for a single page
                continue
            except OSError:
                raise ChannelClosed from None

    def receive(self, timeout: float, on_tick: OnTick | None = None) -> dict[str, Any]:
        """The next message.

        Args:
            timeout: in seconds.
            on_tick: see `OnTick`.

        Raises:
            ChannelClosed: when the other side ends first.
            ChannelTimeout: when nothing came.
        """
        started = time.monotonic()
        while (end := self._buffer.find(b"\n")) < 0:
            self._wait(self._read_fd, select.POLLIN, started, timeout, on_tick)
            self._fill()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

    def _wait(self, fd: int, event: int, started: float, timeout: float, on_tick: OnTick | None) -> None:
        """Return once a pipe can be used."""
        while (waited := time.monotonic() - started) < timeout:
            if is_ready(fd, event, min(TICK_S, timeout - waited)):
                return
            if on_tick is not None:
                on_tick(time.monotonic() - started)
        raise ChannelTimeout

    def _fill(self) -> None:
        chunk = os.read(self._read_fd, _CHUNK)
        if not chunk:
            raise ChannelClosed
        self._buffer += chunk

    def close(self) -> None:
        """Close both ends; the child sees the end of its input. Does nothing the second time."""
        if self._open:
            self._open = False
            os.close(self._write_fd)
            os.close(self._read_fd)

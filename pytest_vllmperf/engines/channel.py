"""The parent's end of an engine's line protocol: one JSON object a line, with time-outs."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable
from typing import Any

TICK_S = 0.25
_CHUNK = 1 << 16


class ChannelClosed(Exception):  # noqa: N818 - an event of the protocol, turned into an error by the engine
    """The other side is gone."""


class ChannelTimeout(Exception):  # noqa: N818
    """No message in time."""


class Channel:
    """A pair of pipes to one child.

    Args:
        read_fd: where its messages come from; owned by the channel.
        write_fd: where its requests go; owned by the channel.
    """

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._buffer = bytearray()
        self._open = True

    def send(self, message: dict[str, Any]) -> None:
        """Write one message whole.

        Raises:
            ChannelClosed: when nobody reads any more.
        """
        data = memoryview(json.dumps(message, separators=(",", ":")).encode() + b"\n")
        try:
            while data:
                data = data[os.write(self._write_fd, data) :]
        except OSError:
            raise ChannelClosed from None

    def receive(self, timeout: float, on_tick: Callable[[float], None] | None = None) -> dict[str, Any]:
        """The next message.

        Args:
            timeout: seconds.
            on_tick: called about four times a second with the seconds waited; it may raise to give up.

        Raises:
            ChannelClosed: when the other side ends first.
            ChannelTimeout: when nothing came.
        """
        started = time.monotonic()
        while (end := self._buffer.find(b"\n")) < 0:
            waited = time.monotonic() - started
            if waited >= timeout:
                raise ChannelTimeout
            ready, _, _ = select.select([self._read_fd], [], [], min(TICK_S, timeout - waited))
            if ready:
                self._fill()
            elif on_tick is not None:
                on_tick(time.monotonic() - started)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message: dict[str, Any] = json.loads(line)
        return message

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

"""A real browser without a window, driven over the DevTools protocol through two pipes."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
EXECUTABLE: Final = next(filter(None, map(shutil.which, _NAMES)), None)
NEEDS_BROWSER: Final = pytest.mark.skipif(EXECUTABLE is None, reason=f"no browser is installed: {', '.join(_NAMES)}")
_TIMEOUT_S: Final = 60.0
_GRACE_S: Final = 5.0
_HIGH: Final = 16
"""Descriptors from here on stand in nobody's way."""


class Page:
    """A page that is open, and all that went wrong on it.

    Args:
        browser: it is open in.
        session: the protocol's name of it.
    """

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """One command of the protocol."""
        return self._browser.call(method, self._session, **arguments)

    def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def wait(self, script: str) -> Any:
        """The value of an expression, once there is one that is true."""
        end = time.monotonic() + _TIMEOUT_S
        while not (found := self.evaluate(script)):
            assert time.monotonic() < end, f"never became true: {script}; {self.problems}"
            time.sleep(0.05)
        return found

    def prefer(self, scheme: str) -> None:
        """Light or dark."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def resize(self, width: int, height: int = 900) -> None:
        """The size of the window."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def screenshot(self, file: Path, *, clip: dict[str, float] | None = None, whole: bool = False) -> None:
        """A picture of the window, or of a part or the whole of the page."""
        more: dict[str, Any] = {"clip": {**clip, "scale": 1}} if clip else {}
        found = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole or bool(clip), **more)
        file.write_bytes(base64.b64decode(found["data"]))

    @property
    def problems(self) -> list[str]:
        """What the console has of errors and warnings, and what the page was refused."""
        self.evaluate("0")  # events come in order: all before this are here now
        return self._browser.problems


class Browser:
    """A browser of its own, with a profile that is new."""

    def __init__(self, profile: Path) -> None:
        assert EXECUTABLE is not None
        own_read, its_write = os.pipe()
        its_read, own_write = os.pipe()
        arguments = [
            EXECUTABLE, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
            "--disable-dev-shm-usage", "--disable-background-networking", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        # The browser has its end of both pipes as 3 and 4, whatever they are here.
        theirs = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, _HIGH) for one in (its_read, its_write)]
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        places = [(nowhere, 0), (nowhere, 1), (nowhere, 2), (theirs[0], 3), (theirs[1], 4)]
        actions = [(os.POSIX_SPAWN_DUP2, own, there) for own, there in places]
        self._process = os.posix_spawn(EXECUTABLE, arguments, os.environ, file_actions=actions)
        for one in (its_read, its_write, nowhere, *theirs):
            os.close(one)
        self._read, self._write = own_read, own_write
        self._buffer = b""
        self._number = 0
        self.problems: list[str] = []

    def call(self, method: str, session: str = "", **arguments: Any) -> dict[str, Any]:
        """One command of the protocol, and its result."""
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": arguments, **({"sessionId": session} if session else {})}
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + _TIMEOUT_S
        while b"\0" not in self._buffer:
            assert select.select([self._read], [], [], max(0.0, end - time.monotonic()))[0], (
                "the browser does not answer"
            )
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        told = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert"):
            self.problems.append(str([one.get("value", one.get("description")) for one in told["args"]]))
        elif event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(str(told["exceptionDetails"]))
        elif event.get("method") == "Log.entryAdded":
            self.problems.append(told["entry"]["text"])

    def open(self, file: Path, scheme: str = "light", *, scripts: bool = True) -> Page:
        """A file in a new page, once it is loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setScriptExecutionDisabled", value=not scripts)
        page.resize(1280)
        page.prefer(scheme)
        page.call("Page.navigate", url=file.absolute().as_uri())
        page.wait(f"document.readyState === 'complete' && location.href.startsWith({file.absolute().as_uri()!r})")
        return page

    def close(self) -> None:
        """End it."""
        os.close(self._write)
        os.close(self._read)
        end = time.monotonic() + _GRACE_S
        while os.waitpid(self._process, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.kill(self._process, signal.SIGKILL)
                os.waitpid(self._process, 0)
                return
            time.sleep(0.02)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser while it is used."""
    found = Browser(profile)
    try:
        yield found
    finally:
        found.close()

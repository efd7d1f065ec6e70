"""What a person sees while engines start and run: on a terminal, in a log, and from an xdist worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pytest_vllmperf.harness.console import Console


class Terminal:
    """Pytest's terminal reporter, as far as it is used, and its capturing."""

    def __init__(self, *, isatty: bool) -> None:
        self.isatty = isatty
        self.text = ""
        self.captured = True
        self._tw = SimpleNamespace(fullwidth=40)

    def ensure_newline(self) -> None:
        if self.text and not self.text.endswith("\n"):
            self.text += "\n"

    def write(self, text: str, *, flush: bool) -> None:
        assert flush
        assert not self.captured, "pytest's capturing would swallow it"
        self.text += text

    @contextmanager
    def global_and_fixture_disabled(self) -> Iterator[None]:
        self.captured = False
        yield
        self.captured = True


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def console(terminal: Terminal, clock: Clock, *, verbose: int = 0, worker: str | None = None) -> Console:
    plugins: dict[str, Any] = {"capturemanager": terminal, "terminalreporter": None if worker else terminal}
    config = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get), getoption={"verbose": verbose}.get)
    if worker:
        config.workerinput = {"workerid": worker}
    return Console(cast("pytest.Config", config), clock)


def test_a_terminal_has_one_line_that_is_rewritten_and_taken_away() -> None:
    terminal = Terminal(isatty=True)
    terminal.text = "test_a.py ."
    shown = console(terminal, Clock())
    shown.progress("importing vLLM", 0.0)
    shown.progress("importing vLLM", 1.6)
    shown.clear()
    shown.clear()
    assert terminal.text == (
        "test_a.py .\n\r\x1b[Kvllmperf: importing vLLM\r\x1b[Kvllmperf: importing vLLM (2 s)\r\x1b[K"
    )


def test_a_line_never_wraps() -> None:
    terminal = Terminal(isatty=True)
    console(terminal, Clock()).progress("x" * 100, 0.0)
    assert terminal.text.removeprefix("\r\x1b[K") == "vllmperf: " + "x" * 29


def test_a_log_is_told_what_takes_long_at_most_once_a_minute() -> None:
    terminal, clock = Terminal(isatty=False), Clock()
    shown = console(terminal, clock)
    for seconds, doing in [(0, "loading"), (9.9, "loading"), (10, "loading"), (69.9, "loading"), (70, "compiling")]:
        clock.now = 1000.0 + seconds
        shown.progress(doing, float(seconds))
    clock.now += 59.9
    shown.progress("iteration 3/10, 12 s left", 0.0)
    assert terminal.text == "vllmperf: loading (10 s)\nvllmperf: compiling (70 s)\n"
    clock.now += 0.1
    shown.progress("iteration 4/10, 10 s left", 0.0)
    shown.clear()
    assert terminal.text.splitlines()[2:] == ["vllmperf: iteration 4/10, 10 s left"]


def test_a_worker_says_on_stderr_who_waits_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    shown = console(Terminal(isatty=False), Clock(), worker="gw2")
    shown.progress("waiting for 1 of 2 GPUs", 9.9)
    assert capsys.readouterr().err == ""
    shown.progress("waiting for 1 of 2 GPUs", 10.0)
    shown.clear()
    assert capsys.readouterr() == ("", "\nvllmperf gw2: waiting for 1 of 2 GPUs (10 s)\n")


@pytest.mark.parametrize("worker", [None, "gw0"])
@pytest.mark.parametrize("isatty", [True, False])
def test_quiet_is_quiet(isatty: bool, worker: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(isatty=isatty)
    shown = console(terminal, Clock(), verbose=-1, worker=worker)
    shown.progress("importing vLLM", 100.0)
    shown.clear()
    assert (terminal.text, capsys.readouterr().err) == ("", "")


def test_where_there_is_no_terminal_nothing_is_said() -> None:
    terminal = Terminal(isatty=False)
    plugins: dict[str, Any] = {"capturemanager": terminal}
    config = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get), getoption=dict[str, int]().get)
    Console(cast("pytest.Config", config)).progress("importing vLLM", 100.0)
    assert terminal.text == ""


@pytest.mark.parametrize("isatty", [True, False])
def test_a_line_that_stays_takes_the_place_of_the_one_that_does_not(isatty: bool) -> None:
    terminal = Terminal(isatty=isatty)
    shown = console(terminal, Clock())
    shown.progress("loading", 0.0)
    shown.say("test_chat: no baseline\x1b[2J")
    live = "\r\x1b[Kvllmperf: loading\r\x1b[K" if isatty else ""
    gap = "\n" if isatty else ""
    assert terminal.text == f"{live}{gap}vllmperf: test_chat: no baseline\\x1b[2J\n"
    quiet = Terminal(isatty=isatty)
    console(quiet, Clock(), verbose=-1).say("test_chat: no baseline")
    assert quiet.text == ""


def test_only_a_line_that_is_rewritten_in_place_is_live() -> None:
    """What is not live is not told every second."""
    assert console(Terminal(isatty=True), Clock()).live
    assert not console(Terminal(isatty=True), Clock(), verbose=-1).live
    assert not console(Terminal(isatty=False), Clock()).live
    assert not console(Terminal(isatty=True), Clock(), worker="gw0").live

"""The time left is counted down while an iteration runs."""

from __future__ import annotations

import threading

import pytest

from pytest_vllmperf.lab.pace import Stage
from pytest_vllmperf.lab.ticking import ticking


class Told:
    """What was shown, and a way to wait for more of it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.more = threading.Condition()

    def __call__(self, line: str, waited: float) -> None:
        assert waited == 0.0
        with self.more:
            self.lines.append(line)
            self.more.notify_all()

    def wait_for(self, count: int) -> None:
        with self.more:
            assert self.more.wait_for(lambda: len(self.lines) >= count, timeout=60)


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_stage_is_shown_again_with_what_is_left_by_then() -> None:
    told, clock = Told(), Clock()
    with ticking(told, "tiny: ", every=0.001, clock=clock) as show:
        show(Stage("iteration 3/10", 21.0))
        clock.now += 9
        told.wait_for(4)
    assert told.lines[0] == "tiny: iteration 3/10, 21 s left"
    assert told.lines[-1] == "tiny: iteration 3/10, 12 s left"


def test_nothing_is_shown_after_the_end_however_it_came() -> None:
    told, before = Told(), threading.active_count()

    def interrupted() -> None:
        with ticking(told, "", every=0.001) as show:
            show(Stage("iteration 1/2", 600.0))
            told.wait_for(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert threading.active_count() == before


def test_what_has_no_known_end_is_shown_once() -> None:
    told, done = Told(), threading.Event()
    with ticking(told, "", every=0.001) as show:
        show("device pass 1/3")
        show(Stage("warm-up 1"))
        done.wait(0.05)
    assert told.lines == ["device pass 1/3", "warm-up 1"]


def test_of_what_takes_longer_than_expected_no_end_is_told() -> None:
    assert Stage("iteration 3/10", 21.0).after(30) == "iteration 3/10"
    assert Stage("iteration 3/10", 21.0).after(1).after(1) == "iteration 3/10, 19 s left"
    assert Stage("warm-up 1").after(1) == "warm-up 1"

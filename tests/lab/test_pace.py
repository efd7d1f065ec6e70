"""Which iteration a measurement is at, and how long it will take."""

from __future__ import annotations

from pytest_vllmperf.lab.pace import Pace


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def before(pace: Pace, clock: Clock, done: int, warm: int | None, took: float) -> str:
    """What is told before an iteration that takes so long."""
    told = pace.before(done, warm, 10)
    clock.now += took
    return told


def test_nothing_is_guessed_before_an_iteration_is_over_or_while_the_warm_up_has_no_end() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert before(pace, clock, 0, None, 4.0) == "warm-up 1"
    assert before(pace, clock, 1, None, 2.0) == "warm-up 2"
    assert before(pace, clock, 2, 3, 2.0) == "warm-up 3/3, 33 s left"  # 11 iterations of 3 s
    assert Pace(clock).before(0, 2, 10) == "warm-up 1/2"


def test_the_last_iterations_count_and_minutes_are_minutes() -> None:
    clock = Clock()
    pace = Pace(clock)
    before(pace, clock, 0, 0, 1000.0)
    told = [before(pace, clock, done, 0, 1.0) for done in range(1, 8)]
    assert told[0] == "iteration 2/10, 150 min left"
    assert told[-1] == "iteration 8/10, 3 s left"


def test_less_than_a_second_is_not_worth_a_word() -> None:
    clock = Clock()
    pace = Pace(clock)
    before(pace, clock, 0, 0, 0.999)
    assert before(pace, clock, 9, 0, 0.0) == "iteration 10/10"

"""A history in lines of a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.records.trends import Break, Declared, RunOfHistory, SeriesId, Shift, Trend, Trends
from pytest_vllmperf.report.trends import BARS, bars, cause, commits, events, lines, text_of
from tests.reporting import HOSTILE

THROUGHPUT = Declared("output throughput", "tok/s", "higher", "throughput", "engine", gated=True)
VALUES = (4812.0,) * 6 + (4466.0,) * 6


def run(day: int, commit: str | None = "abcdef0123", **more: bool) -> RunOfHistory:
    full = None if commit is None else f"{commit}{day:030x}"
    return RunOfHistory(day, f"2026-11-{day:02}T14:05:00+00:00", full, more.get("dirty", False), complete=True)


RUNS = tuple(run(day) for day in range(1, 13))


def shift(at: int = 6, change: float | None = -0.072, **more: object) -> Shift:
    made = Shift(
        at=at,
        before=4812.0,
        after=4466.0,
        change=change,
        worse=True,
        p_value=1e-9,
        last_before=RUNS[at - 1],
        first_after=RUNS[at],
        changed=("vLLM 0.32.0 -> 0.33.0",),
        unchanged=("driver 580.95",),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def trend(*shifts: Shift, test: str = "tests/test_chat.py::test_chat", check: str = "", profile: str = "h200") -> Trend:
    series = SeriesId(test, check, 0, profile, "output_throughput")
    return Trend(series, THROUGHPUT, tuple(float(day) for day in range(12)), VALUES, RUNS, tuple(shifts))


def test_a_change_and_its_cause() -> None:
    assert lines(Trends((trend(shift()),), runs=12), width=120) == [
        "1 change in 1 metric of 12 runs: 1 for the worse, 0 for the better",
        "",
        "2026-11-07 14:05  since vLLM 0.32.0 -> 0.33.0, driver 580.95 unchanged; commits abcdef0..abcdef0",
        "  WORSE  test_chat  output throughput  -7.2 %  4,812 -> 4,466 tok/s  ██████▁▁▁▁▁▁",
    ]


def test_the_newest_comes_first_and_what_came_together_stands_together() -> None:
    other = trend(shift(change=0.02, worse=False), test="a.py::test_other")
    third = trend(shift(9), test="a.py::test_third")
    text = lines(Trends((trend(shift()), other, third), runs=12), width=120, spark=False)
    assert [line.split()[:2] for line in text if line] == [
        ["3", "changes"],
        ["2026-11-10", "14:05"],
        ["WORSE", "test_third"],
        ["2026-11-07", "14:05"],
        ["WORSE", "test_chat"],
        ["better", "test_other"],
    ]


def test_nothing_changed_and_notes() -> None:
    text = lines(Trends((trend(),), runs=12, hidden=3, notes=("a test is missing",)))
    assert text == [
        "no change found in 1 metric of 12 runs",
        "",
        "note: 3 changes in other metrics; vllmperf history show --metrics all lists them",
        "note: a test is missing",
    ]


def test_what_is_not_compared_is_an_event() -> None:
    began = Break(RUNS[5], RUNS[6], ("requests 4 -> 5",))
    both = tuple(replace(trend(test=f"a.py::{name}"), began=began) for name in ("x", "y"))
    assert lines(Trends(both, runs=12), width=120)[1:] == [
        "",
        "2026-11-07 14:05  since requests 4 -> 5; commits abcdef0..abcdef0",
        "  NOT COMPARED with the runs before: a.py::x, a.py::y",
    ]


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    long = "tests/performance/test_chat.py::test_chat[a-very-long-name-of-a-model-with-all-its-settings-0.95]"
    found = Trends((trend(shift(), test=long), trend(shift(), test=long.replace("chat", "talk"))), runs=12)
    text = lines(found, width=width, every=True)
    assert max(map(len, text)) <= width
    names = [line.split()[1] for line in text if line.startswith("  WORSE")]
    assert len(set(names)) == 2


def test_names_are_not_cut_short_for_small_bars() -> None:
    found = Trends((trend(shift(), test="tests/test_chat.py::test_chat_on_eight"),), runs=12)
    narrow, wide = (lines(found, width=width)[-1] for width in (80, 120))
    assert "test_chat_on_eight" in narrow
    assert "█" not in narrow
    assert wide.endswith("██████▁▁▁▁▁▁")


def test_every_series_has_a_row() -> None:
    text = lines(Trends((trend(shift()), trend(test="a.py::test_b")), runs=12), width=120, every=True, spark=False)
    assert text[-2:] == [
        "  12  test_chat  output throughput  -7.2 %  4,812 -> 4,466 tok/s",
        "  12  test_b     output throughput  +0.0 %  4,639 -> 4,639 tok/s",
    ]


def test_kinds_of_hardware_are_named_where_there_are_several() -> None:
    text = "\n".join(lines(Trends((trend(shift()), trend(shift(), profile="h100")), runs=12), width=120))
    assert "2026-11-07 14:05  h100  since" in text
    assert "2026-11-07 14:05  h200  since" in text


def test_hostile_names_stay_on_their_line() -> None:
    trends = tuple(
        replace(trend(shift(changed=(name,)), test=f"t.py::test[{name}]", check=name, profile=name),
                metric=replace(THROUGHPUT, label=name, unit=name))
        for name in HOSTILE
    )  # fmt: skip
    text = lines(Trends(trends, runs=12), width=120, every=True)
    rows = [line for line in text if line.startswith("  WORSE")]
    assert len(rows) == len(HOSTILE)
    assert not any("\n" in row or "\x1b" in row or "\r" in row for row in rows)


def test_causes() -> None:
    assert cause(shift(changed=(), unchanged=())) == (
        "no known difference in the environment; commits abcdef0..abcdef0"
    )
    assert cause(shift(changed=(), unchanged=(), nearby="vLLM 1 -> 2 1 run before this change")) == (
        "no known difference in the environment, but vLLM 1 -> 2 1 run before this change; commits abcdef0..abcdef0"
    )
    assert cause(shift(changed=(), unchanged=("vLLM 1", "driver 2"))).startswith(
        "no known difference in the environment (vLLM 1 and driver 2 unchanged); "
    )


def test_commits() -> None:
    assert commits(run(1, None), run(2, None)) == "commit unknown"
    assert commits(run(1, None), run(2, "b" * 10)) == "commits unknown..bbbbbbb"
    same = run(1, "a" * 10)
    assert commits(same, same) == "same commit aaaaaaa"
    assert commits(same, replace(same, dirty=True)) == "commits aaaaaaa..aaaaaaa+changes"


def test_events_know_their_runs() -> None:
    (event,) = events([trend(shift())])
    assert (event.time, event.last_before, event.first_after) == (6.0, RUNS[5], RUNS[6])


def test_bars() -> None:
    assert bars([1.0, 2.0, 3.0]) == f"{BARS[0]}{BARS[4]}{BARS[7]}"
    assert bars([5.0] * 100) == BARS[3] * 12
    assert bars([]) == ""
    assert bars([float(value) for value in range(1200)])[::11] == BARS[0] + BARS[7]


def test_a_metric_of_the_tests_own_is_shown_with_its_unit() -> None:
    own = replace(trend(), id=replace(trend().id, metric="mine"), metric=replace(THROUGHPUT, unit="apples"))
    assert text_of(own)(3.0) == "3 apples"
    assert text_of(replace(own, metric=replace(THROUGHPUT, unit="s")))(0.0123) == "12.3 ms"


def test_a_date_that_is_none_is_shown_as_it_is() -> None:
    assert replace(RUNS[0], started="yesterday").minute == "yesterday"
    assert replace(RUNS[0], started="2026-01-01T01:30:00+01:00").minute == "2026-01-01 00:30"

"""The program that says how well GPU time repeats: on engines whose spread is known."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.storage.baselines import BaselineFile
from pytest_vllmperf.storage.versioned import dumps
from pytest_vllmperf.verdict import VerdictSettings
from tests.verdict.conftest import bench

gpu_time, draws = bench("gpu_time"), bench("gpu_draws")

SETTINGS = VerdictSettings(("gpu_time",))
DRAWS = 40


def engine(seconds: float, *, steps: float = 256) -> EngineSamples:
    """An engine whose GPU took so long, 1 % more and 1 % less."""
    samples = {
        "engine_steps": [steps] * 3,
        "output_tokens": [8192.0] * 3,
        "output_throughput": [20000.0, 15000.0, 16000.0],
    }
    times = [0.99 * seconds, seconds, 1.01 * seconds]
    passes = {"gpu_time": times, "gpu_time.decode_step": [time / 255 for time in times]}
    return EngineSamples(discarded=0, iterations=3, samples=samples, passes=passes)


def session(*seconds: float) -> Session:
    return Session(
        recorded="2026-01-01T00:00:00+00:00",
        environment=Environment(hard={"device": "cuda"}, soft={}),
        engines=[engine(one) for one in seconds],
    )


def campaign(level: float = 0.3, *, engines: int = 10, sessions: int = 4, seed: int = 0) -> list[Session]:
    """Sessions that lie 0.1 % apart, and engines that do too."""
    draw = random.Random(seed)
    return [
        session(*(level * (1 + draw.gauss(0, 0.001) + move) for _ in range(engines)))
        for move in (draw.gauss(0, 0.001) for _ in range(sessions))
    ]


def test_spread_tells_engines_from_sessions() -> None:
    found = gpu_time.spread([session(0.99, 1.01), session(1.09, 1.11)], gpu_time.metric("gpu_time"))
    assert found.in_engine == pytest.approx(0.01, rel=1e-3)
    assert found.engines == pytest.approx(0.02 / np.sqrt(2) / 1.05)
    assert found.sessions == pytest.approx(0.1 / np.sqrt(2) / 1.05)
    assert found.farthest_engines == pytest.approx(0.02 / 1.05)
    assert found.farthest_sessions == pytest.approx(0.1 / 1.05)


def test_one_engine_has_no_spread_between_engines() -> None:
    found = gpu_time.spread([session(1.0)], gpu_time.metric("gpu_time"))
    assert (found.engines, found.sessions) == (None, None)


def test_what_an_engine_has_not_measured_has_no_spread() -> None:
    assert gpu_time.spread([session(1.0, 1.1)], gpu_time.metric("gpu_busy")) is None


def test_a_step_more_moves_the_time_and_not_the_time_per_step() -> None:
    one = session(1.0).model_copy(update={"engines": [engine(256.0, steps=256), engine(257.0, steps=257)]})
    assert gpu_time.spread([one], gpu_time.divided("gpu_time", "engine_steps")).engines == pytest.approx(0, abs=1e-12)
    assert gpu_time.spread([one], gpu_time.metric("gpu_time")).engines > 0.002


def test_every_split_is_taken_once() -> None:
    sessions = campaign(engines=6, sessions=3)
    found = list(gpu_time.splits(sessions))
    assert Counter(kind for kind, _, _ in found) == {
        "a session by another one": 6,
        "a session by all others": 3,
        "half a session by the other half": 6,
    }
    for _, stored, new in found:
        ids = [id(one) for part in stored for one in part.engines]
        assert not set(ids) & {id(one) for one in new}


def test_fewer_than_three_engines_are_no_baseline() -> None:
    assert not list(gpu_time.splits([session(1.0, 1.0), session(1.0, 1.0)]))


def test_equal_engines_pass_every_split_and_slower_ones_fail() -> None:
    sessions = campaign()
    slower = [one.model_copy(update={"engines": [engine(0.306 * 1.03)] * 6}) for one in sessions[:1]]
    for _, stored, new in gpu_time.splits(sessions):
        assert gpu_time.ended(stored, new, SETTINGS) is Status.OK
    assert gpu_time.ended(sessions, slower[0].engines, SETTINGS) is Status.REGRESSED


def values(sessions: Sequence[Session]) -> list[np.ndarray]:
    return draws.engine_values(sessions, ["gpu_time", "gpu_time.decode_step"])  # type: ignore[no-any-return]


def test_engine_values_are_logarithms_by_session() -> None:
    first, second = values([session(1.0, 2.0, 3.0), session(4.0)])
    assert (first.shape, second.shape) == ((2, 3), (2, 1))
    assert first[0] == pytest.approx(np.log([1.0, 2.0, 3.0]), abs=1e-4)
    assert second[1, 0] == pytest.approx(np.log(4.0 / 255), abs=1e-4)


@pytest.mark.parametrize("count", [1, 3])
def test_draws_never_mix_stored_and_new_engines(count: int) -> None:
    marked = [np.arange(10.0)[np.newaxis] + 100 * number for number in range(4)]
    rng = random.Random(1)
    for kind in (
        draws.Kind("another", marked, count),
        draws.SameSession("same", [np.arange(40.0)[np.newaxis]], count),
    ):
        for _ in range(DRAWS):
            drawn = kind.draw(rng)
            stored, new = set(drawn.stored[0]), set(drawn.new[0])
            assert (len(stored), len(new)) == (3 * count, 6)
            assert not stored & new
            if kind.name == "another":
                assert not {value // 100 for value in stored} & {value // 100 for value in new}


def test_what_has_too_few_engines_is_left_out() -> None:
    names = [(one.name, one.count) for one in draws.kinds(values(campaign(engines=10, sessions=2)), {})]
    assert names == [("the same session", 1), ("another session", 1), ("another session, stored are parts", 3)]


def test_parts_of_other_sessions_stand_for_sessions_that_are_missing() -> None:
    marked = [np.arange(10.0)[np.newaxis] + 100 * number for number in range(3)]
    drawn = draws.Parts("parts", marked, 3).draw(random.Random(1))
    assert (drawn.layout, drawn.stored.shape, drawn.new.shape) == ((3, 3, 3), (1, 9), (1, 6))
    assert not {value // 100 for value in drawn.stored[0]} & {value // 100 for value in drawn.new[0]}
    assert not draws.Parts("parts", marked, 1).possible
    assert not draws.Parts("parts", marked[:1], 3).possible


def test_a_change_beyond_the_margin_is_found_and_none_is_no_alarm() -> None:
    sessions = values(campaign())
    slow = values(campaign(0.3 * 1.05, sessions=1))
    same, other, theirs = (one for one in draws.kinds(sessions, {"slow": slow}) if one.count == 1)
    for kind in (same, other):
        found = draws.resampled(kind, SETTINGS, DRAWS)
        assert (found.end[0], found.end[-1]) == (0, 1)
        assert all(third <= end for third, end in zip(found.third, found.end, strict=True))
    assert draws.resampled(theirs, SETTINGS, DRAWS).end[0] == 1


def test_the_report_has_all_tables() -> None:
    sessions = campaign(engines=4, sessions=2)
    text = gpu_time.report("test_a", sessions, {"busy": sessions}, gpu_time.Asked(SETTINGS, 5))
    headings = ("8 engines in 2 sessions\n", "margin 1.0%")
    for told in (*headings, "| GPU time of an iteration", "| a session by another one", "| busy "):
        assert told in text


def test_engines_without_a_device_pass_are_left_out_and_told() -> None:
    sessions = campaign(engines=4, sessions=2)
    bare = engine(0.3).model_copy(update={"passes": {}})
    first = sessions[0].model_copy(update={"engines": [bare, *sessions[0].engines]})
    alone = sessions[0].model_copy(update={"engines": [bare]})
    text = gpu_time.report("test_a", [first, sessions[1], alone], {"bare": [alone]}, gpu_time.Asked(SETTINGS, 5))
    assert "8 engines in 2 sessions; 2 without gpu_time are left out\n" in text
    assert "bare" not in text
    assert "nothing is judged" in gpu_time.report("test_a", [alone], {}, gpu_time.Asked(SETTINGS, 5))


def test_sessions_of_several_files_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    judging = Judging(gate=["gpu_time"], margin=0.05)
    for number, session_of_machine in enumerate(campaign(engines=4, sessions=2)):
        entry = Entry(engine="tiny", workload={}, judging=judging, sessions=[session_of_machine])
        (tmp_path / f"{number}.json").write_text(dumps(BaselineFile(tests={"test_a": entry, "test_b": entry})))
    files = [str(tmp_path / f"{number}.json") for number in range(2)]
    arguments = ["--check", "test_a", "--draws", "5", "--prior", "session_sd=0.002"]
    monkeypatch.setattr("sys.argv", ["gpu_time", *files, *arguments, "--new", files[0]])
    assert gpu_time.main() == 0
    told = capsys.readouterr().out
    assert "test_a: 8 engines in 2 sessions" in told
    assert "| 0 " in told
    assert "test_b" not in told

"""The search and its decision, on a measurer with a planted optimum and noise."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.sweep import PointResult
from pytest_vllmperf.records.tuning import Tuned
from pytest_vllmperf.storage import atomic
from pytest_vllmperf.sweep.promise import least_share
from pytest_vllmperf.sweep.results import Results, opened
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.tuned import Findings, nothing_measured
from pytest_vllmperf.sweep.tuner import FAILED_AGAIN, Tuner
from tests.sweep.planted import LOADS, PROMISE, SEQS, TOKENS, Planted, Shape, study

PEAK = Shape(tokens=3, seqs=1, width=1.5, most=4)
BEST = {"max_num_batched_tokens": TOKENS[3], "max_num_seqs": SEQS[1], "concurrency": LOADS[4]}


def tuned(
    folder: Path, planted: Planted, trials: int = 25, seed: int = 0, replicates: int = 4, **axes: Any
) -> tuple[Tuned, Tuner]:
    made = study(folder, replicates, **axes)
    with opened(made) as results:
        tuner = Tuner(made, PROMISE, results, planted, lambda line: None)
        tuner.run(trials, seed)
        return Findings(made, PROMISE, results, planted, tuner).tuned(), tuner


def test_the_whole_grid_finds_the_planted_optimum_with_fewer_points_than_it_has(tmp_path: Path) -> None:
    planted = Planted(PEAK)
    found, _ = tuned(tmp_path, planted)
    assert found.best is not None
    assert found.best.point.settings == BEST
    assert found.best.decided
    assert (len(found.tried), found.engines) == (26, 25)
    assert len([again for _, again in planted.calls if not again]) < 0.7 * 26 * len(LOADS)


def test_how_certain_the_promise_is_follows_from_the_requests_of_the_replicates(tmp_path: Path) -> None:
    found, tuner = tuned(tmp_path, Planted(PEAK))
    assert found.best is not None
    (point,) = [one for one in tuner.raced if one.values == BEST]
    iterations = sum(len(engine.values("goodput")) for engine in tuner.replicates(point))
    assert found.best.point.requests == 64 * iterations > 0
    assert found.best.least_share == least_share(found.best.point.share, 64 * iterations)


def test_every_point_is_measured_once_on_the_search_and_as_often_as_it_says_after(tmp_path: Path) -> None:
    planted = Planted(PEAK)
    found, _ = tuned(tmp_path, planted)
    first = [point for point, again in planted.calls if not again]
    assert len(first) == len(set(first)) == found.points
    assert planted.count[Point.of(BEST)] >= 2
    assert max(planted.count.values()) <= 4


def test_figures_come_from_engines_that_took_no_part_in_the_search(tmp_path: Path) -> None:
    class Lucky(Planted):
        """The engine of the search is twice as fast as any other of its kind."""

        def measured(self, point: Point) -> PointResult:
            one = super().measured(point)
            fast = [{**e.samples, "goodput_rate": [2 * v for v in e.samples["goodput_rate"]]} for e in one.engines]
            engines = [e.model_copy(update={"samples": s}) for e, s in zip(one.engines, fast, strict=True)]
            return one.model_copy(update={"engines": tuple(engines)})

    found, _ = tuned(tmp_path, Lucky(PEAK))
    assert found.best is not None
    truth = PEAK.goodput(found.best.point.settings)[0]
    assert found.best.point.rate == pytest.approx(truth, rel=0.05)
    assert found.best.low is not None
    assert found.best.high is not None
    assert found.best.low < truth < found.best.high


def test_the_luckiest_engine_of_the_search_does_not_win(tmp_path: Path) -> None:
    lucky = {"max_num_batched_tokens": 256, "max_num_seqs": 64}

    class Lucky(Planted):
        def measured(self, point: Point) -> PointResult:
            one = super().measured(point)
            if not lucky.items() <= point.values.items() or point.values["concurrency"] > 8:
                return one
            samples = {**one.engines[0].samples, "goodput_rate": [99.0] * 3}
            return one.model_copy(update={"engines": (one.engines[0].model_copy(update={"samples": samples}),)})

    found, tuner = tuned(tmp_path, Lucky(PEAK))
    assert any(lucky.items() <= point.values.items() for point in tuner.raced)
    assert found.best is not None
    assert found.best.point.settings == BEST


@pytest.mark.parametrize("stop", [5, 60, 105, 118])
def test_a_search_that_was_ended_goes_on_and_comes_to_the_same(tmp_path: Path, stop: int) -> None:
    pytest.importorskip("optuna")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = Planted(PEAK)
    expected = tuned(tmp_path / "a", whole, 20, 7)[0]

    class Killed(Planted):
        def measured(self, point: Point) -> PointResult:
            self._count()
            return super().measured(point)

        def once_more(self, point: Point, fresh: set[str]) -> Any:
            self._count()
            return super().once_more(point, fresh)

        def _count(self) -> None:
            if len(self.calls) == min(stop, len(whole.calls) - 1):
                raise KeyboardInterrupt

    ended = Killed(PEAK)
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "b", ended, 20, 7)
    after = Planted(PEAK, count=dict(ended.count))
    assert tuned(tmp_path / "b", after, 20, 7)[0] == expected
    assert ended.calls + after.calls == whole.calls
    again = Planted(PEAK)
    assert tuned(tmp_path / "b", again, 20, 7)[0] == expected
    assert again.calls == []


def test_the_planted_optimum_is_found_with_fewer_trials_than_the_grid_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optima at every place of the grid but its edge, three seeds each, engines that vary by 2 %, 16 trials of 25.

    A point whose goodput is at most 3 % below the best counts as found. Trials at random would find it in 64 %.
    """
    pytest.importorskip("optuna")
    monkeypatch.setattr(atomic, "write_text", lambda path, text: True)
    found = []
    for place in range(9):
        shape = Shape(1 + place // 3, 1 + place % 3, 1.5, 4)
        best = shape.goodput({**BEST, "max_num_batched_tokens": TOKENS[shape.tokens], "max_num_seqs": SEQS[shape.seqs]})
        for seed in range(3):
            result, _ = tuned(tmp_path, Planted(shape, seed), 16, seed)
            assert result.best is not None
            found.append(shape.goodput(result.best.point.settings)[0] >= 0.97 * best[0])
    assert sum(found) >= 0.9 * len(found)


def test_the_gain_over_the_default_arguments_has_its_interval(tmp_path: Path) -> None:
    found, _ = tuned(tmp_path, Planted(PEAK))
    assert found.best is not None
    same, *_ = found.best.gains
    default = {"max_num_batched_tokens": "(default)", "max_num_seqs": "(default)", "concurrency": LOADS[4]}
    assert same.settings == default
    truth = PEAK.goodput(BEST)[0] / PEAK.goodput(default)[0]
    assert same.real
    assert same.low is not None
    assert same.high is not None
    assert same.low < truth < same.high


def test_default_arguments_that_are_the_best_are_recommended_without_a_gain(tmp_path: Path) -> None:
    found, _ = tuned(tmp_path, Planted(Shape(tokens=2, seqs=4, width=1.0, most=4)))
    assert found.best is not None
    assert found.best.default
    assert found.best.gains == ()


def test_engines_that_are_alike_cannot_be_told_apart_and_the_rule_decides(tmp_path: Path) -> None:
    planted = Planted(Shape(0, 0, 1e9, 4), engine_sd=0.05)
    found, _ = tuned(tmp_path, planted, max_num_seqs=[4, 8])
    assert found.best is not None
    assert found.best.alike
    assert not found.best.decided
    assert found.best.default


def test_a_promise_that_no_point_keeps_names_the_nearest(tmp_path: Path) -> None:
    found, _ = tuned(tmp_path, Planted(Shape(3, 1, 1.5, -1)))
    assert found.best is None
    assert not found.contenders
    assert found.nearest is not None
    assert found.nearest.settings["concurrency"] == 1
    assert not nothing_measured(found)


def test_points_that_fail_are_results_and_never_win(tmp_path: Path) -> None:
    planted = Planted(PEAK, failing=lambda values: "out of memory" if values["max_num_seqs"] == SEQS[1] else "")
    found, _ = tuned(tmp_path, planted)
    assert found.best is not None
    assert found.best.point.settings["max_num_seqs"] != SEQS[1]
    assert sum(one.words == "out of memory" for one in found.tried) == 5
    assert found.failed[0][0] == "out of memory: scripted"


def test_where_everything_fails_nothing_was_measured(tmp_path: Path) -> None:
    found, _ = tuned(tmp_path, Planted(PEAK, failing=lambda values: "did not start"))
    assert nothing_measured(found)
    assert (found.best, found.nearest) == (None, None)


def test_a_point_that_fails_when_it_is_measured_again_is_out(tmp_path: Path) -> None:
    planted = Planted(PEAK, failing_again=lambda values: values["max_num_batched_tokens"] == TOKENS[3])
    found, _ = tuned(tmp_path, planted)
    assert found.best is not None
    assert found.best.point.settings["max_num_batched_tokens"] != TOKENS[3]
    assert any(text.startswith(FAILED_AGAIN) for text, _ in found.failed)
    again = Planted(PEAK)
    assert tuned(tmp_path, again)[0] == found
    assert again.calls == []


def test_where_all_leaders_break_the_promise_again_the_next_ones_are_measured(tmp_path: Path) -> None:
    class Slow(Planted):
        """Replicates of the four best engines break the promise."""

        def once_more(self, point: Point, fresh: set[str]) -> Any:
            (one,) = super().once_more(point, fresh)
            good = self.shape.goodput(point.values)[0] < 15 and "(default)" not in point.values.values()
            samples = {**one.samples, "goodput": [1.0 if good else 0.5] * 3}
            return (one.model_copy(update={"samples": samples}),)

    found, _ = tuned(tmp_path, Slow(PEAK))
    assert found.best is not None
    assert PEAK.goodput(found.best.point.settings)[0] < 15
    assert found.best.point.share == 1.0


def test_a_full_disk_leaves_the_finished_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real: Callable[[Path, str], bool] = atomic.write_text
    writes: list[Path] = []

    def full(path: Path, text: str) -> bool:
        writes.append(path)
        if len(writes) > 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, text)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_text", full)
        with pytest.raises(BaselineError, match=r"cannot be written: No space left.*points in it are safe"):
            tuned(tmp_path, Planted(PEAK))
    assert len(Results(study(tmp_path)).points) == 3


def test_other_hardware_is_refused(tmp_path: Path) -> None:
    made = study(tmp_path)
    with opened(made) as results:
        point = made.point(made.default, 1)
        results.put(point, PointResult(settings=point.values, profile="nvidia-h200"))
    with pytest.raises(BaselineError, match="were measured on nvidia-h200, and this is planted"):
        tuned(tmp_path, Planted(PEAK))


def test_two_searches_on_one_file_and_another_search_are_refused(tmp_path: Path) -> None:
    with opened(study(tmp_path)), pytest.raises(BaselineError, match="another sweep writes into it"):
        tuned(tmp_path, Planted(PEAK))
    tuned(tmp_path, Planted(PEAK))
    with pytest.raises(BaselineError, match=r"results of another study \(axes differ\)"):
        tuned(tmp_path, Planted(PEAK), concurrency=(1, 2))

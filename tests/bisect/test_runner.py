"""The runner: ends first, then the middle, undecided runs again, and the neighbours at last."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.bisect.runner import Progress
from pytest_vllmperf.errors import BaselineError, BisectError
from pytest_vllmperf.records.bisect import Judgement

from .conftest import Played, Search, attempt, places, results


@pytest.mark.parametrize("first_bad", range(1, 9))
def test_the_first_bad_version_is_found_and_compared_with_the_last_good_one(search: Search, first_bad: int) -> None:
    played = Played(first_bad=first_bad)
    found = search(played)
    assert (found.good, found.bad, found.exact, found.confirmed) == (first_bad - 1, first_bad, True, True)
    assert played.runs[0] == (0, 8)
    assert all(reference == 0 for reference, _ in played.runs[:-1])
    assert played.runs[-1] == (first_bad - 1, first_bad)
    assert len(played.runs) <= 1 + 3 + 1
    assert found.final is not None
    assert (found.final.before, found.final.after) == (str(first_bad - 1), str(first_bad))


def test_two_versions_need_one_run(search: Search) -> None:
    played = Played(count=2, first_bad=1)
    found = search(played)
    assert (played.runs, found.confirmed) == ([(0, 1)], True)
    assert found.final is not None
    assert found.final.attempt == found.steps[0].last


def test_no_regression_is_one_line_and_nothing_is_stored(search: Search, tmp_path: Path) -> None:
    with pytest.raises(
        BisectError, match=r"no regression between them: 8 against 0 is OK: TPOT p50 \+0\.0 % \["
    ) as one:
        search(Played(first_bad=99))
    assert "\n" not in str(one.value)
    assert not (tmp_path / "found.json").exists()


@pytest.mark.parametrize(
    ("played", "words"),
    [
        (Played(broken={0}), "--good 0 cannot be measured: no wheel for 0"),
        (Played(broken={8}), "--bad 8 cannot be judged against --good 0: no wheel for 8"),
        (Played(silent={8}), "--bad 8 cannot be judged against --good 0: the test was skipped without a check"),
        (Played(noisy={8: 9}), "--bad 8 cannot be judged against --good 0: undecided after 3 runs: too noisy"),
        (Played(same=True), "/8/python and /0/python have the same vLLM, that in /same"),
    ],
)
def test_an_end_that_cannot_be_judged_is_an_error(search: Search, tmp_path: Path, played: Played, words: str) -> None:
    with pytest.raises(BisectError) as one:
        search(played)
    assert words in str(one.value)
    assert not (tmp_path / "found.json").exists()


def test_an_undecided_version_is_measured_again(search: Search) -> None:
    played = Played(noisy={4: 2, 8: 1})
    found = search(played)
    assert found.confirmed
    assert (found.good, found.bad) == (4, 5)
    assert played.runs[:5] == [(0, 8), (0, 8), (0, 4), (0, 4), (0, 4)]
    judged = {step.version: [one.judgement for one in step.attempts] for step in found.steps}
    assert judged["4"] == [Judgement.UNDECIDED, Judgement.UNDECIDED, Judgement.GOOD]


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_rounds_are_the_most_runs_of_a_version(search: Search, rounds: int) -> None:
    played = Played(noisy={4: 99})
    found = search(played, rounds)
    assert results(found)[4] == "skipped"
    assert played.runs.count((0, 4)) == rounds


@pytest.mark.parametrize(
    ("played", "reason"),
    [
        (Played(first_bad=5, noisy={4: 99, 5: 99}), "undecided after 3 runs: too noisy"),
        (Played(first_bad=5, silent={4, 5}), "the test was skipped without a check"),
        (Played(first_bad=5, broken={4, 5}), "no wheel for "),
    ],
)
def test_versions_that_cannot_be_judged_are_skipped_and_leave_a_range(
    search: Search, played: Played, reason: str
) -> None:
    found = search(played)
    assert (found.good, found.bad, found.exact, found.confirmed) == (3, 6, False, False)
    assert places(found.suspects) == [4, 5, 6]
    assert results(found)[4] == results(found)[5] == "skipped"
    assert all(reason in step.reason for step in found.steps if step.version in ("4", "5"))
    assert played.runs[-1] == (3, 6)


def test_a_version_whose_run_said_nothing_is_not_run_again_in_the_same_search(search: Search) -> None:
    played = Played(silent={4})
    search(played)
    assert played.runs.count((0, 4)) == 1


def test_a_search_that_was_interrupted_goes_on_where_it_was(search: Search, tmp_path: Path) -> None:
    first = Played(interrupt=3)
    with pytest.raises(KeyboardInterrupt):
        search(first)
    second = Played()
    found = search(second)
    assert first.runs[:2] + second.runs == [(0, 8), (0, 4), (0, 6), (0, 5), (4, 5)]
    assert found.confirmed
    third = Played()
    assert search(third) == found
    assert (third.runs, third.made) == ([], [])


def test_retry_tries_what_was_skipped_again(search: Search) -> None:
    assert not search(Played(broken={4, 5})).exact
    played = Played()
    found = search(played, retry=True)
    assert (found.good, found.bad, found.confirmed) == (4, 5, True)
    assert set(played.runs) == {(0, 4), (0, 5), (4, 5)}


def test_another_question_is_refused(search: Search) -> None:
    search(Played())
    with pytest.raises(BaselineError, match=r"results of another bisection .*0 to 8; versions differ.; name another"):
        search(Played(count=11))


def test_a_change_that_the_neighbours_do_not_show_is_not_confirmed(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version was called good by chance: the comparison with it finds nothing."""
    played = Played(first_bad=5)
    measured = played.measured

    def lucky(reference: object, version: object, followed: object) -> object:
        found = measured(reference, version, followed)  # type: ignore[arg-type]
        return attempt(Judgement.GOOD, 0.0) if played.runs[-1] == (0, 6) else found

    monkeypatch.setattr(played, "measured", lucky)
    found = search(played)
    assert (found.good, found.bad, found.exact, found.confirmed) == (6, 7, True, False)


def test_the_last_comparison_is_repeated_while_it_is_undecided(search: Search) -> None:
    played = Played(first_bad=5, noisy={5: 1})
    found = search(played)
    assert played.runs[-2:] == [(4, 5), (4, 5)]
    assert found.final is not None
    assert (found.final.runs, found.final.seconds, found.confirmed) == (2, 4.0, True)


def test_engine_starts_are_those_of_all_runs(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(noisy={8: 2, 5: 1})
    found = search(played)
    assert found.final is not None
    assert (found.final.runs, found.final.engine_starts) == (2, 8)  # the last comparison is undecided once
    assert found.engine_starts == (4 * len(played.runs), True)
    assert search(Played()).engine_starts == found.engine_starts  # out of the file


def test_engine_starts_of_a_run_without_a_report_are_not_known(search: Search) -> None:
    played = Played(silent={4})
    found = search(played)
    assert found.engine_starts == (4 * (len(played.runs) - 1), False)


def test_engine_starts_of_a_comparison_that_is_one_of_the_steps_count_once(search: Search) -> None:
    found = search(Played(count=2, first_bad=1))
    assert found.engine_starts == (4, True)


def test_a_neighbour_that_cannot_be_made_again_is_told(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    played = Played(first_bad=5)
    made = played.reference

    def gone(point: object) -> object:
        played.broken |= {4} if len(played.runs) > 1 else set()
        return made(point)  # type: ignore[arg-type]

    monkeypatch.setattr(played, "reference", gone)
    found = search(played)
    assert found.final is not None
    assert (found.final.attempt, found.final.reason, found.confirmed) == (None, "no wheel for 4", False)


def test_the_reference_is_made_once(search: Search) -> None:
    played = Played()
    search(played)
    assert [one for one in played.made if one.startswith("reference")] == ["reference 0", "reference 4"]


def test_progress_counts_versions(search: Search) -> None:
    told: list[Progress] = []
    search(Played(), told=told)
    measuring = [one for one in told if "measuring" in one.doing]
    assert [(one.done, one.left) for one in measuring] == [(0, 4), (1, 3), (2, 2), (3, 1), (4, 0)]
    assert measuring[0].seconds is None
    assert all(one.seconds is not None for one in measuring[1:])


def test_kernels_are_kept_of_bad_versions_only(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_vllmperf.records.attribution import Attribution

    played = Played()
    measured = played.measured

    def with_kernels(reference: object, version: object, followed: object) -> object:
        found = measured(reference, version, followed)  # type: ignore[arg-type]
        return found.model_copy(update={"attribution": Attribution(no_pass_after="told")})

    monkeypatch.setattr(played, "measured", with_kernels)
    found = search(played)
    kept = {step.version: step.attempts[-1].attribution is not None for step in found.steps}
    assert kept == {"8": True, "4": False, "6": True, "5": True}
    assert found.final is not None
    assert found.final.attempt is not None
    assert found.final.attempt.attribution is not None

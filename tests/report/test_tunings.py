"""What a search came to, in words and as data."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from pytest_vllmperf.records.served import Slo
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.tuning import Best, Contender, Gain, Tried, Tuned
from pytest_vllmperf.report import tunings

POINT = {"max_num_seqs": 64, "concurrency": 32}
DEFAULT = {"max_num_seqs": "(default)", "concurrency": 32}
WINNER = Contender(POINT, 12.34, 0.995, 0.25, 3, keeps=True)
RIVAL = Contender(DEFAULT, 10.0, 0.99, 0.2, 3, keeps=True, ratio=0.81, low=0.7, high=0.9)
GAIN = Gain(DEFAULT, 10.0, 0.99, keeps=True, ratio=1.234, low=1.1, high=1.4)
BEST = Best(WINNER, 12.0, 12.7, EngineSpec.create("org/m", max_num_seqs=64), False, False, True, (), (GAIN,))
FOUND = Tuned(
    name="m",
    slo=Slo(ttft=0.3, tpot=0.03),
    share=0.99,
    tried=(
        Tried(DEFAULT, 10.2, 0.99, "", keeps=True),
        Tried({**POINT, "max_num_seqs": 8}, None, None, "void: client", keeps=False),
    ),
    engines=25,
    points=70,
    starts=30,
    contenders=(WINNER, RIVAL),
    best=BEST,
    failed=(("void: the load generator was the limit [client]", 2),),
)


def words(**changed: Any) -> str:
    return " ".join(" ".join(tunings.lines(replace(FOUND, **changed))).split())


def test_a_recommendation_with_its_interval_its_gain_and_what_to_paste() -> None:
    text = words()
    assert "tried 2 of 26 engines, the default one included: 70 points, 30 starts" in text
    assert "recommended: max_num_seqs=64 concurrency=32: 12.34 requests/s (95 %: 12 to 12.7)" in text
    assert "99.5 % of requests met the SLO, on 3 fresh engines that the search did not use" in text
    assert "concurrency=32 (10 requests/s): gain: +23.4 % [+10.0, +40.0]" in text
    assert "2 points void: the load generator was the limit [client]" in text
    assert text.endswith('@pytest.mark.vllm("org/m", max_num_seqs=64) vllm serve org/m --max-num-seqs 64')


def test_the_table_has_replicates_first_and_says_what_came_of_the_search_alone() -> None:
    rows = [line.split() for line in tunings.lines(FOUND)]
    assert ["64", "32", "12.34", "99.5", "%", "250", "ms", "3", "recommended"] in rows
    assert ["8", "32", "-", "-", "-", "-", "void:", "client"] in rows


def test_a_table_that_is_wider_than_the_terminal_has_the_settings_above_the_figures() -> None:
    wide = {"max_num_batched_tokens": "(default)", "max_num_seqs": "(default)", "concurrency": 32}
    changed = replace(FOUND, tried=(Tried(wide, 10.2, 0.99, "did not start", keeps=True),), contenders=())
    table = [line for line in tunings.lines(changed) if "@pytest" not in line and "vllm serve" not in line]
    assert max(map(len, table)) <= 80
    first = next(place for place, line in enumerate(table) if line.startswith("max_num_batched_tokens="))
    assert [line.split()[0] for line in table[first - 2 : first]] == ["point", "requests/s"]
    assert table[first] == "max_num_batched_tokens=(default) max_num_seqs=(default) concurrency=32"
    assert table[first + 1].startswith("  ")
    assert "did not start" in table[first + 1]


def test_axes_that_are_short_share_a_column_where_their_columns_do_not_fit() -> None:
    wide = {f"long_axis_{number}": number for number in range(5)}
    changed = replace(FOUND, tried=(Tried(wide, 10.2, 0.99, "did not start", keeps=True),), contenders=())
    table = [line for line in tunings.lines(changed) if "@pytest" not in line and "vllm serve" not in line]
    assert max(map(len, table)) <= 80
    first = next(place for place, line in enumerate(table) if line.startswith("long_axis_0=0"))
    assert "did not start" in table[first]
    assert table[first + 1].startswith("long_axis_")


def test_a_share_that_may_be_luck_is_told() -> None:
    lucky = replace(BEST, point=replace(WINNER, requests=384), least_share=0.9837)
    assert (
        "it is not certain that 99 % of requests meet the SLO there: 99.5 % of 384 requests did, which shows only that "
        "98.37 % do (95 % confidence)"
    ) in words(best=lucky)
    assert "not certain" not in words(best=replace(lucky, least_share=0.9901))
    assert "not certain" not in words()


def test_no_gain_is_called_no_gain() -> None:
    unsure = replace(GAIN, ratio=1.02, low=0.98, high=1.06)
    assert "no gain that can be distinguished from noise: +2.0 % [-2.0, +6.0]" in words(
        best=replace(BEST, gains=(unsure,))
    )
    worse = replace(GAIN, ratio=0.9, low=0.85, high=0.95)
    assert "loss: -10.0 %" in words(best=replace(BEST, gains=(worse,)))
    assert "no gain: the default arguments are as good" in words(best=replace(BEST, default=True, gains=()))
    undecided = replace(BEST, default=True, decided=False, gains=())
    assert "no gain that can be distinguished from noise; more --replicates can help" in words(best=undecided)


def test_a_default_that_misses_the_slo_or_fails_is_said() -> None:
    broken = replace(GAIN, share=0.5, keeps=False)
    assert "where only 50 % of requests meet the SLO" in words(best=replace(BEST, gains=(broken,)))
    none = Gain(DEFAULT, None, None, keeps=False, words="out of memory")
    assert "at concurrency=32: not measured: out of memory" in words(best=replace(BEST, gains=(none,)))


def test_what_cannot_be_distinguished_is_named_with_the_rule() -> None:
    alike = replace(BEST, decided=False, alike=(DEFAULT,))
    text = words(best=alike)
    assert "recommended because it has the lowest TTFT of them; the goodput of these cannot be distinguished" in text
    assert "(not decided): max_num_seqs=(default) concurrency=32" in text
    assert "no other is better by more than 3 %" in words(best=replace(alike, decided=True))


def test_the_largest_load_may_not_be_the_limit() -> None:
    assert "a larger one may have more goodput" in words(best=replace(BEST, at_end=True))
    assert "a larger one may have more goodput" not in words()


def test_an_slo_that_nothing_meets() -> None:
    nearest = Tried(POINT, 1.0, 0.7, "", keeps=False)
    text = words(best=None, nearest=nearest, contenders=())
    assert "no point meets the SLO; the nearest is max_num_seqs=64 concurrency=32: 70 % of requests met it" in text
    assert "marker" not in text
    assert "nothing could be measured" in words(best=None, nearest=None, contenders=())


def test_for_a_program() -> None:
    data = json.loads(tunings.as_json(FOUND))
    assert data["found"]["point"]["rate"] == 12.34
    assert data["found"]["gains"][0]["real"] is True
    assert data["found"]["command"] == "vllm serve org/m --max-num-seqs 64"
    assert data["slo"] == {"ttft": 0.3, "tpot": 0.03, "e2e": None}
    assert json.loads(tunings.as_json(replace(FOUND, best=None)))["found"] is None

"""The program that says whether two sweeps agree: on samples whose ratio is known, and on those of the study."""

from __future__ import annotations

import json
from math import exp, log
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from scipy import stats

from tests.verdict.conftest import bench

sweeps = bench("sweeps")

STUDY = Path(__file__).parents[2] / "docs" / "studies"
BEFORE = [1.0, 1.1, 0.9, 1.05]


def results(path: Path, *factors: float) -> str:
    """The results of a sweep of a point for each factor, as far as they are read."""
    points: list[dict[str, Any]] = [
        {
            "settings": {"a": number, "b": 1},
            "engines": [{"samples": {metric: [factor * value for value in BEFORE] for metric in sweeps.METRICS}}],
        }
        for number, factor in enumerate(factors, start=1)
    ]
    path.write_text(json.dumps({"points": points}))
    return str(path)


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the program writes."""
    monkeypatch.setattr("sys.argv", ["sweeps", *arguments])
    sweeps.main()
    return capsys.readouterr().out


def pairs_of(*by_pair: tuple[float, ...]) -> list[Any]:
    """Pairs of sweeps, each with the ratio of each point."""
    one = {f"a={number}": dict.fromkeys(sweeps.METRICS, BEFORE) for number, _ in enumerate(by_pair[0], start=1)}
    return [
        (one, {p: {m: [x * y for y in BEFORE] for m in sweeps.METRICS} for p, x in zip(one, ratios, strict=True)})
        for ratios in by_pair
    ]


def test_what_differs_in_one_pair_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [results(tmp_path / f"{factor}.json", factor, factor) for factor in (1.0, 2.0)]
    kept = str(tmp_path / "kept.json")
    told = shown(monkeypatch, capsys, kept, *files)
    assert told.count("a=1, b=1") == told.count("a=2, b=1") == 1
    assert told.count("2.000 [") == told.count(" differs") == 6
    assert shown(monkeypatch, capsys, kept) == told


def test_several_pairs_are_shown_alone_and_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [results(tmp_path / f"{factor}.json", factor) for factor in (1.0, 2.0, 1.0, 4.0)]
    kept = str(tmp_path / "kept.json")
    told = shown(monkeypatch, capsys, kept, *files)
    assert [told.count(f"{ratio} [") for ratio in ("2.000", "4.000", "2.828")] == [3, 3, 3]
    assert told.count(" differs") == 6  # each pair alone; engines differ too much for both together
    assert shown(monkeypatch, capsys, kept) == told


def test_the_interval_of_one_point_is_students() -> None:
    ratios = (1.02, 0.97, 1.05)
    found = sweeps.ratios(pairs_of(*((ratio,) for ratio in ratios)), "ttft.p50")["a=1"]
    interval = stats.ttest_1samp([log(ratio) for ratio in ratios], 0.0).confidence_interval(0.95)
    assert found == pytest.approx((exp(mean(map(log, ratios))), exp(interval.low), exp(interval.high)))


def test_points_share_their_noise() -> None:
    """A point whose ratios agree by chance has the interval of the others."""
    found = sweeps.ratios(pairs_of((1.0, 0.96), (1.0, 1.06)), "tpot.p50")
    widths = [high / low for _, low, high in found.values()]
    assert widths[0] == pytest.approx(widths[1])
    assert widths[0] > 1.1


def test_the_table_of_the_study_is_that_of_its_samples() -> None:
    pairs = sweeps.read(str(STUDY / "samples" / "two-gpus-nvidia-h200.json"))
    rows = sweeps.table(pairs).splitlines()[2:]
    text = (STUDY / "two-gpus.md").read_text(encoding="utf-8")
    assert len(rows) == 8
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert f"| {' | '.join(cells)} |" in text
    in_pair = [sweeps.table([pair]).count(" differs") for pair in pairs]
    assert in_pair == [0, 7]
    assert "all 24 contain 1 in the first pair, and 17 of 24 in the second" in text

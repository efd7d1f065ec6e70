"""`vllmperf check A.json B.json --explain`: how each verdict came about, as text and as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import __version__, cli
from pytest_vllmperf.records.samples import Entry, Judging
from tests.cli.conftest import GATE, HARD, Write, entry
from tests.cli.test_check import with_one_engine

MIXED = Judging(gate=[*GATE[:2], "engine_steps"], margin=0.05)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = cli.main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    assert err == ""
    return code, out


def told(text: str) -> str:
    return " ".join(text.split())


def data(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    return dict(json.loads(run(capsys, *arguments, "--json")[1]))


def slow() -> Entry:
    return entry(850.0, judging=MIXED)


def test_the_text_tells_model_looks_and_the_inequality_that_decided(
    write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write("a.json", test_x=entry(judging=MIXED))
    write("b.json", test_x=slow())
    code, out = run(capsys, "a.json", "b.json", "--explain")
    assert code == 1
    assert max(map(len, out.splitlines())) <= 80
    text = told(out)
    assert text.startswith(f"pytest-vllmperf {__version__}. ")
    assert "error budget: 2 gated metrics that are subject to noise, in 1 check: a_fail = 0.005 for each" in text
    assert (
        "fitted on the checks of a.json only, because it is not in the folder of its profile test_x: REGRESSED" in text
    )
    assert "decided REGRESSED: d = 0.1664 > M = 0.0513 and d = 0.1664 > q(0.995) = 0.0" in text
    assert "5 sessions of 3 engines, at 994.7, 1,004, 1,005, 992.3, 995.4 tok/s" in text
    assert "level 998.4 tok/s, the mean of the first 5 sessions" in text
    assert "paired by request" in text
    assert "decided OK: 3 within the stored range, out of 3 new engines stored 17, 15 engines new 17, 17, 17" in text
    assert out.count("    looks  ") == 2


def test_without_it_nothing_of_that_is_told(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(judging=MIXED)), write("b.json", test_x=slow())
    code, out = run(capsys, a, b)
    assert code == 1
    assert "decided" not in out
    plain = data(capsys, a, b)
    assert "basis" not in plain
    assert all("explanation" not in one for one in plain["checks"]["test_x"]["metrics"])


def test_it_changes_no_verdict(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(judging=MIXED)), write("b.json", test_x=slow())
    plain, more = data(capsys, a, b), data(capsys, a, b, "--explain")
    for one in more["checks"]["test_x"]["metrics"]:
        one.pop("explanation")
    more.pop("basis")
    assert plain == more


def test_the_data_say_the_same(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(judging=MIXED)), write("b.json", test_x=slow())
    found = data(capsys, a, b, "--explain")
    assert found["basis"] == {
        "version": __version__, "checks": 1, "gated_metrics": 2, "a_fail": 0.005, "fitted_on": str(a),
        "whole_profile": False,
    }  # fmt: skip
    throughput, ttft, steps = (one["explanation"] for one in found["checks"]["test_x"]["metrics"])
    assert (throughput["status"], throughput["budget"]["a_drift"]) == ("REGRESSED", 0.005 / 4)
    assert [one["status"] for one in throughput["looks"]] == ["UNDECIDED", "UNDECIDED", "REGRESSED"]
    assert len(throughput["model"]["engines_log"]) == 5
    assert (ttft["paired"], throughput["paired"]) == (True, False)
    assert (steps["exact"]["looks"], steps["model"]) == (["OK"] * 3, None)
    assert throughput["prior"]["sessions"] == 5


def test_in_the_folder_of_its_profile_all_of_it_is_named(
    write: Write, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a = write("baselines/nvidia-h200/tests/test_a.json", test_x=entry())
    write("baselines/nvidia-h200/test_c.json", test_z=entry())
    b = write("b.json", test_x=entry())
    basis = data(capsys, a, b, "--explain")["basis"]
    assert (basis["fitted_on"], basis["whole_profile"]) == (str(Path("baselines", "nvidia-h200")), True)
    out = told(run(capsys, a, b, "--explain")[1])
    assert "fitted on all baselines of the same hardware below baselines/nvidia-h200 " in out
    assert "fitted on 2 metrics, up to 5 sessions" in out


def test_what_the_command_makes_of_an_open_look_is_explained(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry(), test_y=entry())
    b = write(
        "b.json",
        test_x=with_one_engine(entry(600.0, sessions=1)),
        test_y=with_one_engine(entry(955.0, sessions=1)),
    )
    text = told(run(capsys, a, b, "--explain")[1])
    assert "It needs 3 engines and has 1. No further engine can be measured" in text
    assert "decided NOISY: after 1 engine none of the inequalities holds:" in text
    assert "not OK: d + q(0.9) = " in text


def test_a_margin_that_nothing_can_exceed(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    """Throughput cannot fall by 100 %: M is infinite, which JSON has no number for."""
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry(850.0))
    code, out = run(capsys, a, b, "--explain", "--margin", "100%", "--gate", "output_throughput")
    assert code == 0
    assert "100 %: M = inf" in out
    found = data(capsys, a, b, "--explain", "--margin", "100%", "--gate", "output_throughput")
    assert found["checks"]["test_x"]["metrics"][0]["explanation"]["log_margin"] is None


def test_where_nothing_is_comparable_nothing_is_explained(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    other = entry(hard={**HARD, "gpu": "NVIDIA A100"})
    code, out = run(capsys, write("a.json", test_x=entry()), write("b.json", test_x=other), "--explain")
    assert code == 3
    assert "gpu: NVIDIA H200 -> NVIDIA A100" in out
    assert "decided" not in out

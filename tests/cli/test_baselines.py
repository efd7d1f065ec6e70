"""`vllmperf baseline list`, `show` and `diff`."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.checking import history
from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.records.samples import Judging
from pytest_vllmperf.stats.prior import Prior
from tests.cli.conftest import GATE, HARD, Write, entry


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["baseline", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_list_names_every_check(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("baselines/h200/tests/test_a.json", test_x=entry(), test_y=entry(sessions=2))
    write("baselines/a100/tests/test_a.json", test_x=entry(sessions=1))
    code, out, _ = run(capsys, "list", "--baselines", tmp_path / "baselines")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["a100/tests/test_a.json"],
        ["check", "sessions", "engines", "recorded", "reason"],
        ["test_x", "1", "3", "2026-01-01", "a", "newer", "driver"],
        ["h200/tests/test_a.json"],
        ["check", "sessions", "engines", "recorded", "reason"],
        ["test_x", "5", "15", "2026-01-05", "a", "newer", "driver"],
        ["test_y", "2", "6", "2026-01-02", "a", "newer", "driver"],
    ]
    told = json.loads(run(capsys, "list", "--json", "--baselines", tmp_path / "baselines")[1])
    assert [(row["profile"], row["check"], row["engines"]) for row in told] == [
        ("a100", "test_x", 3),
        ("h200", "test_x", 15),
        ("h200", "test_y", 6),
    ]


def test_list_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "list", "--baselines", tmp_path)[:2] == (0, f"no baselines below {tmp_path}\n")
    code, _, err = run(capsys, "list", "--baselines", tmp_path / "nowhere")
    assert (code, err) == (
        2,
        f"vllmperf: {tmp_path / 'nowhere'}: no such folder; name the folder of the baselines with --baselines\n",
    )


def test_show_tells_levels_noise_and_what_will_be_found(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "show", write("a.json", test_x=entry()))
    assert code == 0
    lines = out.splitlines()
    assert lines[:4] == [
        "test_x",
        "  engine: model quantization='awq'",
        "  5 sessions, 15 engine starts, the newest of 2026-01-05",
        "  recorded again: a newer driver",
    ]
    assert lines[4].split() == ["metric", "level", "margin", "session", "engine", "detects"]
    throughput = lines[5].split()
    assert throughput[:2] == ["output", "throughput"]
    assert throughput[3:6] == ["tok/s", "5", "%"]
    assert 5 < float(throughput[-2]) < 8
    assert max(map(len, lines)) <= 80


def test_show_marks_a_margin_that_cannot_be_tested(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = write("a.json", test_x=entry())
    plain = run(capsys, "show", file)[1]
    assert "*" not in plain
    assert "  session, engine: noise between sessions, and between engine starts\n" in plain
    assert "  detects: smallest slowdown that the baseline detects (80 % of the time)\n" in plain
    out = run(capsys, "show", file, "--margin", "0.05 tpot.p50=0.025")[1]
    (marked,) = (line for line in out.splitlines() if line.endswith(" *"))
    assert marked.split()[:2] == ["TPOT", "p50"]
    told = " ".join(out.split())
    assert "* noise is still larger than the margin; sessions needed to test the margin: TPOT p50 " in told
    assert max(map(len, out.splitlines())) <= 80


def test_show_one_check_exact_metrics_and_json(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    file = write("a.json", test_x=entry(), test_y=entry())
    out = run(capsys, "show", file, "--check", "test_y", "--gate", "exact")[1]
    assert "test_x" not in out
    assert out.splitlines()[-1].split() == ["engine", "steps", "17", "0", "%", "exact", "any"]
    told = json.loads(run(capsys, "show", file, "--json")[1])
    assert set(told) == {"test_x", "test_y"}
    throughput = told["test_x"]["metrics"]["output_throughput"]
    assert throughput["level"] == pytest.approx(1000, rel=0.02)
    assert throughput["testable"] is True
    assert "sessions_to_test" in throughput
    assert set(throughput["prior"]) == {field.name for field in fields(Prior)}
    code, _, err = run(capsys, "show", file, "--check", "test_z")
    assert (code, err) == (2, f"vllmperf: {file} has no check 'test_z'; it has test_x, test_y\n")


def test_show_tells_the_hyperparameters_and_what_they_rest_on(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("a.json", test_x=entry())
    told = " ".join(run(capsys, "show", file)[1].split())
    assert "; fitted on 1 metric, up to 5 sessions prior of TTFT p50, TPOT p50, E2E latency p50: session " in told
    assert "; fitted on 3 metrics, up to 5 sessions" in told
    quiet = {MetricClass.LATENCY: Prior(0.0025, 0.3, 0.002, 0.35, 0.0005, 0.25, metrics=80, sessions=7)}
    monkeypatch.setattr(history, "fit_priors", lambda _: quiet)
    out = run(capsys, "show", file)[1]
    told = " ".join(out.split())
    assert (
        "prior of output throughput: session 1 % (spread 0.5), engine 1.5 % (spread 0.4), correlation 0.25, "
        "at least 0.1 %; class prior prior of TTFT p50, TPOT p50, E2E latency p50: session 0.2 % (spread 0.35), "
        "engine 0.25 % (spread 0.3), correlation 0.25, at least 0.05 %; fitted on 80 metrics, up to 7 sessions"
    ) in told
    assert max(map(len, out.splitlines())) <= 80


def test_show_tells_of_gaps_and_of_sessions_of_several_machines(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = entry(sessions=7), entry(hard={**HARD, "gpu": "NVIDIA A100"})
    gap = one.sessions[5].model_copy(update={"dropped": 12})
    long = one.model_copy(update={"sessions": [*one.sessions[:5], gap, one.sessions[6]]})
    mixed = one.model_copy(update={"sessions": [*one.sessions, other.sessions[-1]]})
    told = " ".join(run(capsys, "show", write("a.json", test_x=long))[1].split())
    assert "7 sessions, 21 engine starts, the newest of 2026-01-07 (12 sessions after the first 5 were dropped)" in told
    assert "not comparable" not in told
    told = " ".join(run(capsys, "show", write("b.json", test_x=mixed))[1].split())
    assert "not comparable: its stored sessions differ in gpu (NVIDIA H200 / NVIDIA A100)" in told


def test_diff_tells_levels_environments_and_what_only_one_has(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry(), gone=entry())
    b = write("b.json", test_x=entry(900.0, 2, {**HARD, "gpu": "NVIDIA A100"}), new=entry())
    code, out, _ = run(capsys, "diff", a, b)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "gone: only in the first file"
    assert lines[1] == "new: only in the second file"
    assert lines[2] == "test_x: 5 -> 2 sessions"
    assert lines[3] == "  must match but differs: gpu: NVIDIA H200 -> NVIDIA A100"
    assert lines[4] == "  changed: version of vllm: for 1000 tok/s -> for 900 tok/s"
    assert lines[5].split()[:2] == ["output", "throughput"]
    assert not any("engine steps" in line for line in lines)
    told = json.loads(run(capsys, "diff", a, b, "--json")[1])
    assert told["new"] == {"only_in": "b"}
    before, after = told["test_x"]["levels"]["output_throughput"]
    assert after / before == pytest.approx(0.9, abs=0.02)


def test_diff_reports_gates_and_margins(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry())
    b = write("b.json", test_x=entry(judging=Judging(gate=["ttft.p50", "engine_steps"], margin=0.2)))
    lines = run(capsys, "diff", a, b)[1].splitlines()
    assert lines == [
        "test_x: 5 -> 5 sessions",
        "  changed: gate: added engine_steps",
        "  changed: gate: removed output_throughput, tpot.p50, e2e.p50",
        "  changed: margin: 5 % -> 20 %",
    ]
    assert json.loads(run(capsys, "diff", a, b, "--json")[1])["test_x"]["judging"] == [
        line.removeprefix("  changed: ") for line in lines[1:]
    ]


def test_show_uses_the_stored_gate_and_margins(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    stored = Judging(gate=["ttft.p50", "engine_steps"], margin=0.2, margins={"ttft.p50": 0.3})
    file = write("a.json", test_x=entry(judging=stored), test_y=entry())
    told = json.loads(run(capsys, "show", file, "--json")[1])

    def margins(one: str) -> dict[str, float]:
        return {name: found["margin"] for name, found in told[one]["metrics"].items()}

    assert margins("test_x") == {"ttft.p50": 0.3, "engine_steps": 0.0}
    assert margins("test_y") == dict.fromkeys(GATE, 0.05)
    told = json.loads(run(capsys, "show", file, "--json", "--gate", "output_throughput ttft.p50")[1])
    assert margins("test_x") == {"output_throughput": 0.2, "ttft.p50": 0.3}
    told = json.loads(run(capsys, "show", file, "--json", "--margin", "0.1")[1])
    assert margins("test_x") == {"ttft.p50": 0.1, "engine_steps": 0.0}


def test_diff_of_the_same_is_short(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry())
    assert run(capsys, "diff", a, a)[:2] == (0, "test_x: 5 -> 5 sessions\n")


def test_show_says_for_which_metrics_no_number_of_sessions_is_enough(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(capsys, "show", write("a.json", test_x=entry()), "--margin", "0.05 tpot.p50=0.0001")[1]
    told = " ".join(out.split())
    assert "* noise is still larger than the margin; no number of sessions is enough for TPOT p50: widen the" in told
    assert "never" not in told

"""`vllmperf check A.json B.json`: verdicts and exit codes, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.checking import history
from pytest_vllmperf.cli.check import CheckResult
from pytest_vllmperf.records.samples import Entry, Judging, Session
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Status, Verdict
from pytest_vllmperf.verdict.priors import Priors
from tests.cli.conftest import GATE, HARD, Write, entry


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_the_same_is_ok(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, write("a.json", test_x=entry()), write("b.json", test_x=entry()))
    assert code == 0
    assert out.startswith("test_x: OK\n")
    assert out.endswith("\n1 OK\n")


def test_a_slowdown_is_a_regression_with_its_figures(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(), test_y=entry()), write("b.json", test_x=entry(850.0), test_y=entry())
    code, out, _ = run(capsys, a, b)
    assert code == 1
    lines = out.splitlines()
    assert lines[0] == "test_x: REGRESSED"
    assert lines[1].startswith("  REGRESSED output throughput ")
    assert "against 15 in 5 sessions" in out
    assert lines[-1] == "1 REGRESSED, 1 OK"
    assert max(map(len, lines)) <= 80


def test_only_the_newest_session_of_the_second_is_judged(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    old, slow = entry(), entry(800.0)
    mixed = old.model_copy(update={"sessions": [*slow.sessions, old.sessions[-1]]})
    assert run(capsys, write("a.json", test_x=old), write("b.json", test_x=mixed))[0] == 0
    mixed = old.model_copy(update={"sessions": [*old.sessions, slow.sessions[-1]]})
    assert run(capsys, write("a.json", test_x=old), write("c.json", test_x=mixed))[0] == 1


def test_other_hardware_is_not_comparable_and_has_a_code_of_its_own(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    other = entry(500.0, hard={**HARD, "gpu": "NVIDIA A100"})
    code, out, _ = run(capsys, write("a.json", test_x=entry()), write("b.json", test_x=other))
    assert code == 3
    assert out.splitlines()[:2] == ["test_x: NOT_COMPARABLE", "  gpu: NVIDIA H200 -> NVIDIA A100"]


def test_stored_sessions_of_several_machines_compare_with_nothing(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest one alone would fit; the level of all of them is that of no machine."""
    same, other = entry(), entry(500.0, hard={**HARD, "gpu": "NVIDIA A100", "gpu memory": "80 GiB"})
    mixed = same.model_copy(update={"sessions": [*other.sessions, same.sessions[-1]]})
    code, out, _ = run(capsys, write("a.json", test_x=mixed), write("b.json", test_x=entry(700.0)))
    assert code == 3
    assert out.splitlines()[:4] == [
        "test_x: NOT_COMPARABLE",
        "  its stored sessions differ in gpu (NVIDIA A100 / NVIDIA H200), gpu memory (80",
        "      GiB / none)",
        "  if this is intended, record it again: pytest --vllmperf-update",
    ]


DRIFTED = MetricVerdict(
    "output_throughput", Status.DRIFTED, 4812.0, 4519.0, 0.05, -0.02, drift=Drift(-0.061, "2026-10-02T08:00:00", 14)
)


def test_a_drift_is_a_failure_with_a_way_out() -> None:
    result = CheckResult({"test_x": Verdict(Status.DRIFTED, (DRIFTED,)), "test_y": Verdict(Status.OK)}, (), ())
    assert result.exit_code == 1
    assert result.lines() == [
        "test_x: DRIFTED",
        "  if the new level is intended, accept it with --vllmperf-update",
        '      --vllmperf-reason "..."',
        "  DRIFTED output throughput -6.1 % since the update of 2026-10-02, margin 5 %",
        "      4,812 -> 4,519 tok/s",
        "      over 14 sessions, none of which was a regression by itself",
        "test_y: OK",
        "1 DRIFTED, 1 OK",
    ]
    told = json.loads(result.as_json())["checks"]["test_x"]["metrics"][0]
    assert told["drift"] == {"change": -0.061, "since": "2026-10-02T08:00:00", "sessions": 14}


def test_the_noise_of_the_whole_profile_is_asked_where_the_file_lies_in_its_folder(
    write: Write, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def fitted(histories: list[list[Session]]) -> Priors:
        asked.append([len(sessions) for sessions in histories])
        return {}

    monkeypatch.setattr(history, "fit_priors", fitted)
    other = entry(hard={**HARD, "gpu": "NVIDIA H200 NVL"})
    write("baselines/nvidia-h200/tests/deep/test_b.json", test_z=entry(sessions=4))
    write("baselines/nvidia-h200/test_c.json", test_z=entry(sessions=2), other=other)
    write("baselines/nvidia-a100/test_d.json", test_z=entry(sessions=9))
    inside = write("baselines/nvidia-h200/tests/test_a.json", test_x=entry(sessions=3), test_y=entry(sessions=1))
    outside, new = write("a.json", test_x=entry(sessions=3), test_y=entry(sessions=1)), write("b.json", test_x=entry())
    for file in (inside, outside):
        assert run(capsys, file, new)[0] == 3  # test_y has no counterpart
    assert [sorted(lengths) for lengths in asked] == [[1, 2, 3, 4], [1, 3]]
    damaged = write("baselines/nvidia-h200/test_cut.json")
    damaged.write_text('{"schema": "pytest-vllmperf/base')
    code, _, err = run(capsys, inside, new)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{damaged}: not JSON, or truncated" in err


def test_a_regression_beside_something_incomparable_is_a_regression(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    other = entry(hard={**HARD, "gpu": "NVIDIA A100"})
    a, b = write("a.json", test_x=entry(), test_y=entry()), write("b.json", test_x=entry(800.0), test_y=other)
    assert run(capsys, a, b)[0] == 1


def with_one_engine(entry: Entry) -> Entry:
    (session,) = entry.sessions
    return entry.model_copy(update={"sessions": [session.model_copy(update={"engines": session.engines[:1]})]})


@pytest.mark.parametrize(("level", "code", "status"), [(955.0, 0, "NOISY"), (600.0, 1, "REGRESSED")])
def test_of_one_engine_only_what_is_far_beyond_noise_is_a_regression(
    write: Write, capsys: pytest.CaptureFixture[str], level: float, code: int, status: str
) -> None:
    b = write("b.json", test_x=with_one_engine(entry(level, sessions=1)))
    found, out, _ = run(capsys, write("a.json", test_x=entry()), b)
    assert (found, out.splitlines()[0]) == (code, f"test_x: {status}")


def test_a_thin_baseline_compares_with_nothing(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=with_one_engine(entry(1000.0, sessions=1)))
    code, out, _ = run(capsys, a, write("b.json", test_x=entry(300.0)))
    assert (code, out.splitlines()[:2]) == (
        3,
        ["test_x: NO_BASELINE", "  the baseline holds 1 engine start; at least 3 are needed"],
    )


def test_gate_and_margin(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry(850.0, steps=18))
    assert run(capsys, a, b, "--margin", "0.4")[0] == 0
    assert run(capsys, a, b, "--margin", "40%")[0] == 0
    assert run(capsys, a, b, "--margin", "0.4 tpot.p50=5%")[0] == 1
    assert run(capsys, a, b, "--gate", "exact", "--margin", "0.4")[0] == 1
    assert run(capsys, a, b, "--gate", "exact", "--margin", "engine_steps=0.1")[0] == 0


EXACT = Judging(gate=["engine_steps"], margin=0.05)
WIDE = Judging(gate=GATE, margin=0.4)
MIXED = Judging(gate=[*GATE, "engine_steps"], margin=0.4, margins={"engine_steps": 0.1, "tpot.p50": 0.05})


@pytest.mark.parametrize(
    ("judging", "arguments", "code"),
    [
        (EXACT, [], 0),
        (EXACT, ["--margin", "0.4"], 0),
        (EXACT, ["--gate", "clock"], 1),
        (EXACT, ["--gate", "clock", "--margin", "0.4"], 0),
        (WIDE, [], 0),
        (WIDE, ["--gate", "output_throughput"], 0),
        (WIDE, ["--margin", "0.05"], 1),
        (WIDE, ["--margin", "tpot.p50=0.05"], 1),
        (MIXED, [], 1),
        (MIXED, ["--margin", "tpot.p50=0.4"], 0),
        (MIXED, ["--margin", "0.4"], 0),
        (MIXED, ["--margin", "0.01"], 1),
    ],
)
def test_the_stored_gate_and_margins_decide_unless_others_are_asked_for(
    judging: Judging, arguments: list[str], code: int, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write("a.json", test_x=entry(judging=judging))
    b = write("b.json", test_x=entry(850.0, judging=judging))
    assert run(capsys, a, b, *arguments)[0] == code


def test_a_margin_for_all_takes_the_place_of_all_stored_ones(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(judging=MIXED)), write("b.json", test_x=entry(steps=18, judging=MIXED))
    assert run(capsys, a, b)[0] == 0
    assert run(capsys, a, b, "--margin", "tpot.p50=0.4")[0] == 0
    assert run(capsys, a, b, "--margin", "0.4")[0] == 1


def test_each_check_is_judged_by_its_own(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry(judging=WIDE), test_y=entry())
    b = write("b.json", test_x=entry(850.0, judging=WIDE), test_y=entry(850.0))
    code, out, _ = run(capsys, a, b)
    assert (code, out.splitlines()[-1]) == (1, "1 OK, 1 REGRESSED")


def test_where_the_files_differ_the_second_decides_and_the_change_is_reported(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a.json", test_x=entry(judging=MIXED)), write("b.json", test_x=entry(850.0, judging=EXACT))
    code, out, _ = run(capsys, a, b)
    assert (code, out.splitlines()[:6]) == (
        0,
        [
            "test_x: OK",
            "  changed: gate: removed output_throughput, ttft.p50, tpot.p50, e2e.p50",
            "  changed: margin: 40 % -> 5 %",
            "  changed: margin of tpot.p50: 5 % -> not set",
            "  changed: margin of engine_steps: 10 % -> not set",
            "  OK engine steps +0.0 %, exact \u00b7 17 -> 17 \u00b7 3 engine starts",
        ],
    )
    assert max(map(len, out.splitlines())) <= 80
    assert json.loads(run(capsys, a, b, "--json")[1])["changed"]["test_x"][1] == "margin: 40 % -> 5 %"
    code, out, _ = run(capsys, b, a)
    assert (code, out.splitlines()[1]) == (0, "  changed: gate: added output_throughput, ttft.p50, tpot.p50, e2e.p50")
    assert json.loads(run(capsys, a, a, "--json")[1])["changed"] == {}


@pytest.mark.parametrize("side", ["first", "second"])
def test_a_check_that_only_one_file_has_is_not_green(
    write: Write, capsys: pytest.CaptureFixture[str], side: str
) -> None:
    both, one = write("both.json", test_x=entry(), lone=entry()), write("one.json", test_x=entry())
    code, out, _ = run(capsys, *((both, one) if side == "first" else (one, both)))
    assert code == 3
    assert out.splitlines()[-2:] == [
        f"lone: only in the {side} file, so nothing was compared",
        "1 OK, 1 without a counterpart",
    ]


def test_json(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(), gone=entry()), write("b.json", test_x=entry(850.0), new=entry())
    code, out, _ = run(capsys, a, b, "--json")
    told = json.loads(out)
    assert (code, told["exit_code"], told["only_in_a"], told["only_in_b"]) == (1, 1, ["gone"], ["new"])
    assert told["checks"]["test_x"]["status"] == "REGRESSED"
    throughput = told["checks"]["test_x"]["metrics"][0]
    assert throughput["metric"] == "output_throughput"
    assert throughput["change"] == pytest.approx(-0.15, abs=0.02)
    assert throughput["low"] < throughput["change"] < throughput["high"] < -0.05
    assert throughput["noise"]["sessions"] == 5


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nope.json", "a.json"], "nope.json: no such file"),
        (["a.json", "nope.json"], "nope.json: no such file"),
        (["a.json", "b.json"], "have no check in common"),
        (["a.json", "a.json", "--gate", "speed"], "--gate: no metric has the name 'speed'"),
        (["a.json", "a.json", "--margin", "-1"], "--margin"),
        (["a.json", "a.json", "--margin", "5"], '--margin: 5 is 500 %; write 0.05 or "5%"'),
        (["a.json", "a.json", "--margin", "tpot.p50=5"], "--margin of tpot.p50: 5 is 500 %"),
        (["a.json", "a.json", "--margin", "speed=1"], "--margin: no metric has the name 'speed'"),
        (["a.json", "cut.json"], "cut.json: not JSON, or truncated"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], named: str, write: Write, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    text = write("a.json", test_x=entry()).read_text()
    write("b.json", test_y=entry())
    (tmp_path / "cut.json").write_text(text[: len(text) // 2])
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert named in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "0", "-1000.0"])
def test_a_sample_that_cannot_be_is_refused_with_its_place(
    bad: str, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write("a.json", test_x=entry())
    content = json.loads(a.read_text())
    content["tests"]["test_x"]["sessions"][1]["engines"][2]["samples"]["output_throughput"][3] = float(bad)
    a.write_text(json.dumps(content))
    code, _, err = run(capsys, a, a)
    assert code == 2
    assert f"{a}: test_x: output_throughput: session 2, engine 3, sample 4: " in err


def test_samples_that_are_missing_are_refused(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry())
    content = json.loads(a.read_text())
    content["tests"]["test_x"]["sessions"][0]["engines"][0]["samples"]["tpot.p50"].pop()
    a.write_text(json.dumps(content))
    code, _, err = run(capsys, a, a)
    assert code == 2
    assert "tpot.p50: session 1, engine 1: 9 samples, but the file lists 10 iterations" in err

"""`vllmperf check A.json B.json`: verdicts and exit codes, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.records.samples import Entry
from tests.cli.conftest import HARD, Write, entry


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
        (["nope.json", "a.json"], "nope.json: there is no such file"),
        (["a.json", "nope.json"], "nope.json: there is no such file"),
        (["a.json", "b.json"], "have no check in common"),
        (["a.json", "a.json", "--gate", "speed"], "--gate: no metric or set is called 'speed'"),
        (["a.json", "a.json", "--margin", "-1"], "--margin"),
        (["a.json", "a.json", "--margin", "5"], '--margin: 5 is 500 %; write 0.05 or "5%"'),
        (["a.json", "a.json", "--margin", "tpot.p50=5"], "--margin of tpot.p50: 5 is 500 %"),
        (["a.json", "a.json", "--margin", "speed=1"], "--margin: no metric is called 'speed'"),
        (["a.json", "cut.json"], "cut.json: not JSON, or cut short"),
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
    assert "tpot.p50: session 1, engine 1: 9 samples where the file tells of 10 iterations" in err

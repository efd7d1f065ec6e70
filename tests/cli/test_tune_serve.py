"""`vllmperf tune serve`: what it prints, as text and as JSON, its exit codes, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.engines import over_http
from pytest_vllmperf.lab import leases
from pytest_vllmperf.storage.locks import exclusive
from tests import needs

Capture = pytest.CaptureFixture[str]

SIM = ("tune", "serve", "sim", "--backend", "simulated", "--input-tokens", "8", "--output-tokens", "4", "--warmup", "0")
SLO = ("--slo", "ttft=.5,e2el=1")
AXES = ("--axis", "max_num_seqs=2,16", "--axis", "concurrency=1,4,16", "--set", "step_seconds=0.02")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.chdir(tmp_path)


def tune(*arguments: str) -> int:
    return cli.main([*SIM, *arguments])


def test_a_table_a_recommendation_a_marker_and_a_command(capsys: Capture) -> None:
    assert tune(*SLO, *AXES, "--axis", "prefill_seconds_per_token=0.01,0.02") == 0
    out, err = capsys.readouterr()
    words = " ".join(out.split())
    assert "99 % of requests meet the SLO ttft=0.5s e2e=1s; tried 5 of 5 engines, the default one included" in words
    assert "recommended: the default arguments at concurrency=16" in words
    assert "concurrency=16 is the largest load that was tried" in words
    assert "no gain: the default arguments are as good" in words
    assert out.splitlines()[-2:] == [
        '@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.02)',
        "vllm serve sim --step-seconds 0.02",
    ]
    assert err.splitlines()[0].startswith("engine 1: max_num_seqs=(default)")
    assert any(line.startswith("again, 2 of up to 5: ") for line in err.splitlines())


def test_a_gain_has_its_interval(capsys: Capture) -> None:
    faster = ("--axis", "step_seconds=0.005,0.02", "--axis", "concurrency=4", "--set", "noise=0.05")
    assert tune(*SLO, *faster, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    best = found["found"]
    assert best["point"]["settings"] == {"step_seconds": 0.005, "concurrency": 4}
    (gain,) = best["gains"]
    assert gain["real"]
    assert 1.0 < gain["low"] < gain["ratio"] < gain["high"] < 2.5
    assert best["marker"].startswith('@pytest.mark.vllm("sim", backend="simulated"')
    assert tune(*SLO, *faster) == 0
    assert "compared with the default arguments at concurrency=4" in " ".join(capsys.readouterr().out.split())


def test_a_second_run_measures_nothing_and_says_the_same(capsys: Capture) -> None:
    assert tune(*SLO, *AXES) == 0
    first = capsys.readouterr().out
    assert tune(*SLO, *AXES) == 0
    assert capsys.readouterr() == (first, "")
    assert Path("sim.tune.json").exists()


def test_a_promise_that_no_point_keeps_has_an_exit_code_of_its_own(capsys: Capture) -> None:
    assert tune("--slo", "ttft=0.001", *AXES) == 1
    words = " ".join(capsys.readouterr().out.split())
    assert "no point meets the SLO; the nearest is max_num_seqs=" in words
    assert "of requests met it, 99 % are needed" in words
    assert tune("--slo", "ttft=0.001", *AXES, "--json") == 1
    assert json.loads(capsys.readouterr().out)["found"] is None


def test_where_nothing_could_be_measured_the_reason_is_shown(capsys: Capture) -> None:
    assert tune(*SLO, *AXES, "--set", "fail=load") == 3
    words = " ".join(capsys.readouterr().out.split())
    assert "nothing could be measured: every point failed or was void" in words
    assert "did not start: the simulated engine refused sim: scripted failure" in words


def test_void_points_never_win(capsys: Capture) -> None:
    assert tune(*SLO, *AXES, "--set", "fail=short") == 3
    assert "void: a request returned 3 output tokens instead of 4" in " ".join(capsys.readouterr().out.split())


def test_a_failing_argument_does_not_win_and_is_tried_again_when_asked(capsys: Capture) -> None:
    failing = ("--axis", "fail=load", "--axis", "concurrency=4")
    assert tune(*SLO, *failing) == 0
    assert "1 point did not start" in " ".join(capsys.readouterr().out.split())
    assert tune(*SLO, *failing, "--retry") == 0
    assert capsys.readouterr().err.startswith("engine 2: fail=load concurrency=4: did not start")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--slo", "ttf=1"], "an SLO has no part 'ttf'; ttft, tpot, e2e, e2el; did you mean 'ttft'?"),
        (["--slo", "ttft=soon"], "--slo: 'ttft=soon': this is no number of seconds"),
        (["--slo", "ttft=-1"], "ttft=-1.0 must be seconds above zero"),
        (["--goodput", "99"], "goodput=99.0 must be above 0 and at most 1"),
        (["--axis", "max_num_seqs"], "--axis max_num_seqs: this is not NAME=V1,V2"),
        (["--axis", "max_num_seqs="], "the grid is empty: axis 'max_num_seqs' has no values"),
        (["--axis", "noise=1", "--axis", "noise=2"], "--axis noise is given twice"),
        (["--set", "eager"], "--set eager: this is not NAME=VALUE"),
        (["--trials", "0"], "--trials: '0' is not a whole number of at least 1"),
        (["--replicates", "1"], "--replicates: '1' is not a whole number of at least 2"),
        (["--seed", "-1"], "--seed: '-1' is not a whole number of at least 0"),
        (["--iterations", "few"], "--iterations: 'few' is not a whole number"),
        (["--input-tokens", "8:4"], "--input-tokens: '4' is not a whole number of at least 8"),
        (["--requests", "20"], "--goodput 0.99 cannot be told from 60 requests a point"),
        (["--requests", "40", "--axis", "concurrency=50"], "concurrency=50 is more than requests=40"),
        (["--allow", "nothing"], "--allow: no validity rule has the name 'nothing'"),
        (["--backend", "nope"], "backend='nope' does not exist"),
        pytest.param(
            ["--backend", "offline", "--axis", "max_num_seq=1"], "did you mean max_num_seqs?", marks=needs.VLLM
        ),
        (["--start-timeout", "0"], "--start-timeout: 0.0 is not a number above 0"),
        (["--results", "no/such/folder.json"], "no/such/folder.json: cannot be written"),
    ],
)
def test_bad_input_is_one_line(given: list[str], named: str, capsys: Capture) -> None:
    assert tune(*SLO, *given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert named in err


def test_another_search_and_a_foreign_file_are_refused(tmp_path: Path, capsys: Capture) -> None:
    assert tune(*SLO, *AXES) == 0
    capsys.readouterr()
    assert tune("--slo", "ttft=.4", *AXES) == 2
    assert capsys.readouterr().err == (
        "vllmperf: sim.tune.json: results of another study (promise differ); name another file with --results\n"
    )
    (tmp_path / "other.json").write_text('{"schema": "else"}', encoding="utf-8")
    assert tune(*SLO, *AXES, "--results", "other.json") == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_two_searches_on_one_file_are_refused(capsys: Capture) -> None:
    with exclusive(Path("sim.tune.json").absolute()):
        assert tune(*SLO, *AXES) == 2
    assert "another sweep writes into it" in capsys.readouterr().err


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune(*SLO, *AXES, "--trials", "1") == 2
    assert 'pip install "pytest-vllmperf[tune]"' in capsys.readouterr().err
    assert not Path("sim.tune.json").exists()
    monkeypatch.setattr(over_http, "find_spec", lambda name: None)
    assert tune(*SLO, "--backend", "serve", "--axis", "max_num_seqs=4") == 2
    assert capsys.readouterr().err.endswith("which is not installed; run: pip install 'pytest-vllmperf[serve]'\n")

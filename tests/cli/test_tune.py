"""`vllmperf tune memory`: what it prints, as text and as JSON, its exit codes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.cli import tune
from pytest_vllmperf.lab import leases
from pytest_vllmperf.lab.lab import Lab

SIM = ("tune", "memory", "sim", "--backend", "simulated", "--set", "max_num_seqs=4")
CACHE = ("--set", "kv_cache_memory_bytes=4000000")
LENGTHS = ("--max-model-len", "3072:4096")


@pytest.fixture(autouse=True)
def _own_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))


def test_the_result_is_a_table_and_a_marker(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SIM, *CACHE, *LENGTHS]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].split() == ["memory", "max_model_len", "outcome", "s", "reason"]
    assert any("3840" in line and "works" in line for line in lines)
    assert any("3968" in line and "too little" in line and "3968 tokens needs" in line for line in lines)
    assert lines[-2] == "the largest that works: kv_cache_memory_bytes=4000000 (3,906 KiB) max_model_len=3840"
    assert lines[-1] == (
        '@pytest.mark.vllm("sim", backend="simulated", kv_cache_memory_bytes=4000000, max_model_len=3840, '
        "max_num_seqs=4)"
    )
    tried = err.splitlines()
    assert len(tried) == len(lines) - 5  # a line each, while it goes on
    assert tried[0].startswith("kv_cache_memory_bytes=4000000 (3,906 KiB) max_model_len=4096: too little (0.")


def test_for_a_program(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SIM, *CACHE, *LENGTHS, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["found"]["max_model_len"] == 3840
    assert told["found"]["gpu_memory_utilization"] is None
    assert told["found"]["marker"].startswith('@pytest.mark.vllm("sim"')
    assert {one["outcome"] for one in told["tries"]} == {"works", "too little"}


def test_nothing_works(capsys: pytest.CaptureFixture[str]) -> None:
    failing = [*SIM, *CACHE, *LENGTHS, "--set", "fail=load"]
    assert cli.main(failing) == 1
    assert capsys.readouterr().out.splitlines()[-1].endswith("the last reason: scripted failure")
    assert cli.main([*failing, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["found"] is None
    assert told["reason"].endswith("scripted failure")
    assert len(told["tries"]) == 4


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--max-model-len", "900:100"], "max_model_len: the smallest value, 900, is above the largest, 100"),
        (["--max-model-len", "long"], "--max-model-len: 'long' is not LOW:HIGH, such as 128:8192"),
        (["--set", "eager"], "--set eager: this is not NAME=VALUE"),
        (["--set", "model=x"], "'model' is no engine argument"),
        (["--set", "max_num_seqs=5"], "max_num_seqs is given twice"),
        (["--gpu-memory-utilization", "0.5:0.9"], "where kv_cache_memory_bytes is searched"),
        (["--leave-mib", "-1"], "leave_mib=-1 is not a whole number"),
        (["--start-timeout", "0"], "--start-timeout: 0.0 is not a number above 0"),
        (["--set", "kv_cache_memory_bytes=much"], "kv_cache_memory_bytes='much' is not a whole number"),
        ([], "give bounds of kv_cache_memory_bytes"),
        (["--backend", "nope"], "backend='nope' does not exist"),
    ],
)
def test_bad_input_is_one_line(given: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SIM, *given]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("vllmperf: ")
    assert named in err


def test_a_model_that_is_nowhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tune", "memory", "./nowhere"]) == 2
    assert "the model path ./nowhere does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "shown"),
    [("true", "True"), ("False", "False"), (".5", "0.5"), ("5", "5"), ("bfloat16", '"bfloat16"'), ("[1]", "[1]")],
)
def test_values_are_read_as_python_or_json(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*SIM, *CACHE, *LENGTHS, "--set", f"elsewhere={text}"]) == 0
    assert f"elsewhere={shown}, " in capsys.readouterr().out.splitlines()[-1]


def test_what_takes_long_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As another run that holds the device, for which an hour may be waited."""
    told: list[str] = []

    class Waits(Lab):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            for waited in (1.0, 11.0, 12.0):
                args[1]("waiting for the GPU", waited)

    monkeypatch.setattr(tune, "Lab", Waits)
    limits = {"gpu_memory_utilization": None, "kv_cache_memory_bytes": None, "max_model_len": "128:256"}
    asked = tune.Asked("sim", ["kv_cache_memory_bytes=4000000"], "simulated", None, **limits, leave_mib=0,
                       start_timeout=9.0, operation_timeout=9.0)  # fmt: skip
    assert tune.memory(asked, told.append, as_json=False)[1] == tune.FOUND
    assert told[0] == "waiting for the GPU ..."
    assert "waiting for the GPU ..." not in told[1:]

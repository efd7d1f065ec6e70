"""Lines for the terminal."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.harness.results import ModuleTests, Results
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.report import terminal
from pytest_vllmperf.report.ledger import ledger_lines
from pytest_vllmperf.storage.baselines import BaselineStore, Changes

ENVIRONMENT = Environment(hard={}, soft={})
SESSION = Session(
    recorded="now",
    environment=ENVIRONMENT,
    engines=[EngineSamples(discarded=0, iterations=1, samples={"ttft.p50": [0.05]})],
)
JUDGING = Judging(gate=["ttft.p50"], margin=0.05)
SLOWER = MetricVerdict("output_throughput", Status.REGRESSED, 4812.0, 4391.0, 0.05, -0.0875)
SAME = MetricVerdict("ttft.p50", Status.OK, 0.05, 0.05, 0.1)
FASTER = MetricVerdict("tpot.p50", Status.IMPROVED, 0.02, 0.01, 0.05, -0.5, clearly_better=True)
COMMAND = "pytest --vllmperf-update-new tests/test_chat.py::test_chat"


def record(verdict: Verdict | None, **changed: Any) -> CheckRecord:
    return CheckRecord(
        **{
            "module": "tests/test_chat.py",
            "name": "test_chat",
            "profile": "nvidia-h200",
            "engine": "llama",
            "workload": {},
            "session": SESSION,
            "judging": JUDGING,
            "verdict": verdict,
            "values": {"output_throughput": 4391.0, "ttft.p50": 0.05},
            **changed,
        }
    )


def test_a_failure_begins_with_what_decided_it() -> None:
    verdict = Verdict(Status.REGRESSED, (SAME, SLOWER), (FASTER,))
    lines = terminal.failure_lines(record(verdict), ["driver: 1 -> 2"], COMMAND)
    assert [line.split()[0] for line in lines[:3]] == ["REGRESSED", "OK", "not"]
    assert lines[3:] == ["changed since the baseline: driver: 1 -> 2"]
    assert all(len(line) <= 80 for line in lines)


def test_without_a_baseline_the_command_is_told() -> None:
    lines = terminal.failure_lines(record(Verdict(Status.NO_BASELINE)), [], COMMAND)
    assert lines == ["NO_BASELINE  test_chat has none for nvidia-h200; record it with:", f"    {COMMAND}"]


def test_what_cannot_be_compared_is_recorded_anew() -> None:
    verdict = Verdict(Status.NOT_COMPARABLE, reasons=("gpu: A100 -> H200", "model: a -> b"))
    text = "\n".join(terminal.failure_lines(record(verdict), [], COMMAND))
    assert "NOT_COMPARABLE  test_chat: gpu: A100 -> H200; model: a -> b" in text
    assert "pytest --vllmperf-update tests/test_chat.py::test_chat" in text


def test_a_void_measurement_says_why() -> None:
    verdict = Verdict(Status.INVALID, reasons=("a request did not finish", "another"))
    assert terminal.failure_lines(record(verdict), [], COMMAND) == [
        "INVALID  test_chat: a request did not finish; another"
    ]


def test_properties_are_in_the_units_of_the_table() -> None:
    assert terminal.properties(record(Verdict(Status.OK))) == [
        ("vllmperf.status", "OK"),
        ("vllmperf.profile", "nvidia-h200"),
        ("vllmperf.output_throughput", "4391"),
        ("vllmperf.ttft.p50", "0.05"),
    ]


def test_properties_of_a_named_check_carry_its_name() -> None:
    named = record(None, name="test_chat # long")
    assert terminal.properties(named)[0] == ("vllmperf.long.status", "recorded")


def test_a_parameter_is_no_name_of_a_check() -> None:
    named = record(None, name="test_chat[a # b]")
    assert terminal.properties(named)[0] == ("vllmperf.status", "recorded")


def test_the_summary_is_a_table_in_the_order_of_the_names() -> None:
    checks = [
        record(None, name="test_b", values={}),
        record(Verdict(Status.OK, (SAME,)), name="test_a"),
        record(Verdict(Status.IMPROVED, (SAME, FASTER)), module="a.py", name="test_z"),
    ]
    lines = terminal.summary(checks)
    assert [line.split()[:2] for line in lines[:4]] == [
        ["test", "verdict"],
        ["test_z", "IMPROVED"],
        ["test_a", "OK"],
        ["test_b", "recorded"],
    ]
    assert lines[2].split()[2:] == ["4,391", "50", "ms", "-", "-"]
    assert lines[3].split()[2:] == ["-"] * 4
    assert lines[4:] == [
        "test_z: better than its baseline; record it if that is meant",
        "  IMPROVED TPOT p50 20 -> 10 ms  -50.0 % (margin 5 %)",
    ]
    assert terminal.summary([]) == []


HOT = [
    Problem("throttling", "the GPU slowed its clocks in iteration 2: software thermal slowdown at 91 °C"),
    Problem("clocks", "and"),
]


def test_an_engine_that_was_left_out_is_told_after_the_table() -> None:
    without = SESSION.model_copy(update={"excluded": HOT})
    checks = [record(None), record(Verdict(Status.OK, (SAME,)), session=without, name="test_" + "x" * 30)]
    lines = terminal.summary(checks)
    assert len(lines) == 5
    told = " ".join(line.strip() for line in lines[3:])
    assert told == f"test_xxx...xxxxxxxxx: one engine left out: {HOT[0]}; {HOT[1]}"  # one of them, for two reasons
    assert lines[4].startswith("    ")
    assert all(len(line) <= 80 for line in lines)


LEDGER = VramLedger(15 * 2**30, None, None, None, None, None, None, None)


def test_the_memory_of_each_engine_is_told_once() -> None:
    later = replace(LEDGER, weights=16 * 2**30)
    checks = [
        record(None, ledger=LEDGER),
        record(None, ledger=None, engine="unknown"),
        record(None, ledger=LEDGER, engine="qwen"),
        record(None, ledger=later),
    ]
    assert terminal.ledgers(checks) == [*ledger_lines("llama", later), *ledger_lines("qwen", LEDGER)]
    assert terminal.ledgers(checks[1:2]) == []


def test_the_table_fits_into_eighty_columns() -> None:
    values = {"output_throughput": 123456.0, "ttft.p50": 0.1234, "tpot.p50": 0.01234, "e2e.p50": 12.34}
    names = ["test_" + "x" * 60 + f"[{number}]" for number in (1, 2)]
    lines = terminal.summary([record(Verdict(Status.NOT_COMPARABLE), name=name, values=values) for name in names])
    assert max(len(line) for line in lines) <= 80
    assert lines[1].split()[0].endswith("[1]")
    assert lines[2].split()[0].endswith("[2]")
    assert lines[1].startswith("test_x")


def test_the_title_names_the_hardware() -> None:
    assert terminal.summary_title([]) == "vllmperf"
    assert terminal.summary_title(["nvidia-h200", "rtx-4090"]) == "vllmperf: nvidia-h200, rtx-4090"


def test_what_became_of_the_files(tmp_path: Path) -> None:
    written = [tmp_path / "baselines" / "h200" / "test_a.json", Path("/elsewhere/test_b.json")]
    assert terminal.books(written, ["test_gone"], {}, rootdir=tmp_path) == [
        "written: baselines/h200/test_a.json",
        "written: /elsewhere/test_b.json",
        "removed from the baseline: test_gone (its test no longer exists)",
    ]
    assert terminal.books([], [], {}, rootdir=tmp_path) == []


def test_a_stale_entry_is_told_with_the_file_that_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = BaselineStore(tmp_path / "baselines")
    gone = Entry(engine="e", workload={}, judging=JUDGING, sessions=[SESSION])
    path = store.write("h200", "tests/test_a.py", Changes({"test_gone": gone}))
    results = Results(modules={"tests/test_a.py": ModuleTests(frozenset({"test_here"}), whole=True)})
    lines = terminal.books([], [], results.stale(store), rootdir=tmp_path)
    file = path.relative_to(store.root)
    assert lines[0] == f"stale: {file}: test_gone (its test no longer exists)"
    assert len(lines) == 2

"""Lines for the terminal."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.harness.results import ModuleTests, Results
from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.records.results import CheckRecord, ComparisonRecord
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.records.verdict import Drift, MetricVerdict, Noise, Outlook, Status, Verdict
from pytest_vllmperf.report import terminal
from pytest_vllmperf.report.ledger import ledger_lines
from pytest_vllmperf.stats.prior import WALL_CLOCK
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


RECORDED = Verdict(Status.RECORDED)


def record(verdict: Verdict, **changed: Any) -> CheckRecord:
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


DRIFTED = MetricVerdict(
    "output_throughput", Status.DRIFTED, 4812.0, 4519.0, 0.05, -0.02, drift=Drift(-0.061, "2026-10-02T08:00:00", 14)
)


def test_a_drift_is_a_property_too() -> None:
    found = dict(terminal.properties(record(Verdict(Status.DRIFTED, (SAME, DRIFTED)))))
    assert (found["vllmperf.status"], found["vllmperf.output_throughput.drift"]) == ("DRIFTED", "-0.061")
    assert "vllmperf.ttft.p50.drift" not in found


def summary(checks: Sequence[CheckRecord], width: int = 80) -> list[str]:
    return terminal.summary(checks, terminal.names(checks, [], width))


def test_properties_are_in_the_units_of_the_table() -> None:
    assert terminal.properties(record(Verdict(Status.OK))) == [
        ("vllmperf.status", "OK"),
        ("vllmperf.profile", "nvidia-h200"),
        ("vllmperf.output_throughput", "4391"),
        ("vllmperf.ttft.p50", "0.05"),
    ]


def test_properties_are_never_rounded() -> None:
    values = {"output_throughput": 4391.123456789012, "weight_bytes": 16060522496.0, "engine_steps": 12345678.0}
    assert terminal.properties(record(RECORDED, values=values))[2:] == [
        ("vllmperf.output_throughput", "4391.123456789012"),
        ("vllmperf.weight_bytes", "16060522496"),
        ("vllmperf.engine_steps", "12345678"),
    ]


def test_properties_of_a_named_check_carry_its_name() -> None:
    named = record(RECORDED, name="test_chat # long")
    assert terminal.properties(named)[0] == ("vllmperf.long.status", "RECORDED")


def test_a_parameter_is_no_name_of_a_check() -> None:
    named = record(RECORDED, name="test_chat[a # b]")
    assert terminal.properties(named)[0] == ("vllmperf.status", "RECORDED")


LEDGER = VramLedger(15 * 2**30, None, None, None, None, None, None, None)


def test_the_memory_of_each_engine_is_told_once() -> None:
    later = replace(LEDGER, weights=16 * 2**30)
    checks = [
        record(RECORDED, ledger=LEDGER),
        record(RECORDED, ledger=None, engine="unknown"),
        record(RECORDED, ledger=LEDGER, engine="qwen"),
        record(RECORDED, ledger=later),
    ]
    assert terminal.ledgers(checks) == [*ledger_lines("llama", later), *ledger_lines("qwen", LEDGER)]
    assert terminal.ledgers(checks[1:2]) == []


def test_every_line_of_the_summary_tells_apart_what_has_one_name() -> None:
    hot = SESSION.model_copy(update={"excluded": ["hot"]})
    outlook = (Outlook("tpot.p50", 0.05, Noise(0.01, 0.01, 0.08, False, False, 1, 3, WALL_CLOCK)),)
    verdict = Verdict(Status.IMPROVED, (FASTER,))
    checks = [
        record(verdict, module=f"{folder}/test_x.py", name=name, session=hot, left_out="beyond the margin")
        for folder in ("a", "b")
        for name in ("test_chat[größe::1/2]", f"test_{'x' * 90}")
    ]
    compared = [
        (str(check.id.test), ComparisonRecord(a="one", b="other", way="in turns", ratios=())) for check in checks
    ]
    names = terminal.names(checks, compared, 80)
    wanted = [names[check.id] for check in checks]
    assert len(set(wanted)) == 4
    assert wanted[0] == "a/test_x::test_chat[größe::1/2]"

    rows = terminal.summary(checks, names)
    assert len({row.split()[0] for row in rows if row.endswith("  IMPROVED")}) == 4
    text = [line for line in rows if not line.startswith(" ") and any(line.startswith(f"{name}:") for name in wanted)]
    assert [_named(line, wanted) for line in text] == wanted + wanted  # what is better, then what was left out
    text = [line.strip() for line in terminal.appended(checks, [], names) if ": beyond" in line or line.endswith("x:")]
    assert [_named(line, wanted) for line in text] == wanted
    text = [line.strip() for line in terminal.outlooks([(check.id, outlook) for check in checks], 1, names, every=True)]
    assert [_named(line, wanted) for line in text[1:] if line.endswith(":")] == wanted
    text = [line for line in terminal.comparisons(compared, names) if not line.startswith(" ")]
    assert [_named(line, wanted) for line in text] == wanted


def _named(line: str, names: Sequence[str]) -> str:
    """The one name that a line begins with."""
    (found,) = [name for name in names if line.startswith(f"{name}:")]
    return found


def test_the_title_names_the_hardware() -> None:
    assert terminal.summary_title([]) == "vllmperf"
    assert terminal.summary_title(["nvidia-h200", "rtx-4090"]) == "vllmperf: nvidia-h200, rtx-4090"


def test_what_became_of_the_files(tmp_path: Path) -> None:
    written = [tmp_path / "baselines" / "h200" / "test_a.json", Path("/elsewhere/test_b.json")]
    assert terminal.books(written, ["test_a.py::test_gone"], {}, rootdir=tmp_path) == [
        "written: baselines/h200/test_a.json",
        "written: /elsewhere/test_b.json",
        "removed from the baseline: test_a.py::test_gone (its test no longer exists)",
    ]
    assert terminal.books([], [], {}, rootdir=tmp_path) == []


def test_a_stale_entry_is_told_with_the_file_that_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    store = BaselineStore(tmp_path / "baselines")
    gone = Entry(engine="e", workload={}, judging=JUDGING, sessions=[SESSION])
    path = store.write("h200", "tests/test_a.py", Changes({"test_gone": gone})).path
    results = Results(modules={"tests/test_a.py": ModuleTests(frozenset({"test_here"}), whole=True)})
    lines = terminal.books([], [], results.stale(store), rootdir=tmp_path)
    file = path.relative_to(store.root)
    assert lines[0] == f"stale: {file}: test_gone (its test no longer exists)"
    assert len(lines) == 2

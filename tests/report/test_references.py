"""Checks that were measured in turns, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.records.reference import Reference
from pytest_vllmperf.records.results import CheckRecord
from pytest_vllmperf.records.samples import EngineSamples, Environment, Judging, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.report import references, terminal, verdicts
from pytest_vllmperf.report.failed import failure_lines

ENVIRONMENT = Environment(hard={}, soft={})
ENGINE = EngineSamples(discarded=0, iterations=1, samples={"ttft.p50": [0.05]})
STABLE = Reference(
    "vLLM 0.29.0 of ~/stable/bin/python", "both resident, 0.45 of the memory each", ENVIRONMENT, (ENGINE,)
)
SLOWER = MetricVerdict(
    "output_throughput",
    Status.REGRESSED,
    4812.0,
    4391.0,
    0.05,
    -0.0875,
    -0.112,
    -0.061,
    0.99,
    3,
    10,
    against=STABLE.name,
)
SAME = MetricVerdict("ttft.p50", Status.OK, 0.05, 0.05, 0.1, against=STABLE.name)
JUDGED_BY = f"judged by the ratio to {STABLE.name}, measured in turns, {STABLE.way}"


def record(verdict: Verdict, **changed: Any) -> CheckRecord:
    return CheckRecord(
        **{
            "module": "tests/test_chat.py",
            "name": "test_chat",
            "profile": "nvidia-h200",
            "engine": "llama",
            "workload": {},
            "session": Session(recorded="now", environment=ENVIRONMENT, engines=[ENGINE]),
            "judging": Judging(gate=["ttft.p50"], margin=0.05),
            "verdict": verdict,
            "values": {"ttft.p50": 0.05},
            "reference": STABLE,
            **changed,
        }
    )


def joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_a_metric_counts_rounds() -> None:
    (line,) = verdicts.metric_lines(SLOWER, width=1000)
    assert line == (
        "REGRESSED output throughput -8.8 % [-11.2, -6.1], margin 5 % · 4,812 -> 4,391 tok/s · "
        "3 rounds x 10 iterations in turns · 99 % CI"
    )
    (line,) = verdicts.metric_lines(replace(SLOWER, status=Status.NOISY), width=1000)
    assert line.endswith("· after 3 rounds")


def test_a_failure_says_what_decided_and_what_the_stored_baseline_says() -> None:
    stored = Verdict(Status.NOISY, (replace(SLOWER, status=Status.NOISY, against=""), replace(SAME, against="")))
    lines = failure_lines(
        record(Verdict(Status.REGRESSED, (SAME, SLOWER)), by_baseline=stored), ["version of vllm: 0.29.0 -> 0.30.0"], ""
    )
    assert lines[0].startswith("REGRESSED output throughput")
    said = joined(lines)
    assert "reference and engine differ: version of vllm: 0.29.0 -> 0.30.0" in said
    assert JUDGED_BY in said
    at = lines.index("stored baseline (does not decide here): NOISY")
    assert lines[at + 1].startswith("  NOISY output throughput")
    assert not any("TTFT" in line for line in lines[at:])
    assert all(len(line) <= 80 for line in lines)


def test_a_reference_that_cannot_be_compared_with() -> None:
    verdict = Verdict(Status.NOT_COMPARABLE, reasons=("device: cpu -> cuda",))
    said = joined(failure_lines(record(verdict), [], "pytest --vllmperf-update-new"))
    assert said == f"NOT_COMPARABLE test_chat: with {STABLE.name}: device: cpu -> cuda"


def test_the_summary_names_each_reference_once_and_every_stored_verdict() -> None:
    other = replace(STABLE, way="asleep in turns")
    checks = [
        record(Verdict(Status.OK, (SAME,)), name="test_a", by_baseline=Verdict(Status.OK, (SAME,))),
        record(Verdict(Status.OK, (SAME,)), name="test_b"),
        record(Verdict(Status.OK, (SAME,)), name="test_c", reference=other,
               by_baseline=Verdict(Status.NOT_COMPARABLE, reasons=("gpu: A100 -> H200",))),
        record(Verdict(Status.OK, (SAME,)), name="test_d", reference=None),
    ]  # fmt: skip
    lines = terminal.summary(checks, terminal.names(checks, [], 80))
    said = joined(lines)
    assert said.count(JUDGED_BY) == 1
    assert said.count("measured in turns, asleep in turns") == 1
    assert "test_a: stored baseline (does not decide here): OK" in said
    assert "test_c: stored baseline (does not decide here): NOT_COMPARABLE: gpu: A100 -> H200" in said
    assert said.count("does not decide here") == 2
    assert all(len(line) <= 80 for line in lines)


def test_better_than_the_reference_is_nothing_to_record() -> None:
    better = replace(SLOWER, status=Status.IMPROVED, clearly_better=True)
    checks = [record(Verdict(Status.IMPROVED, (better,)))]
    said = joined(terminal.summary(checks, terminal.names(checks, [], 80)))
    assert "test_chat: better than its reference IMPROVED" in said
    assert "record it" not in said


@pytest.mark.parametrize("own", ["", "first"])
def test_junit_has_the_reference_and_the_stored_verdict(own: str) -> None:
    name = f"test_chat # {own}" if own else "test_chat"
    prefix = f"vllmperf.{own}" if own else "vllmperf"
    checked = record(Verdict(Status.OK, (SAME,)), name=name, by_baseline=Verdict(Status.REGRESSED, (SLOWER,)))
    found = dict(terminal.properties(checked))
    assert found[f"{prefix}.against"] == STABLE.name
    assert found[f"{prefix}.way"] == STABLE.way
    assert found[f"{prefix}.by_baseline"] == "REGRESSED"
    assert f"{prefix}.against" not in dict(terminal.properties(replace_reference(checked)))


def replace_reference(checked: CheckRecord) -> CheckRecord:
    """The same check without a reference."""
    return checked.model_copy(update={"reference": None, "by_baseline": None})


def test_it_travels_as_json() -> None:
    checked = record(Verdict(Status.OK, (SAME,)), by_baseline=Verdict(Status.OK, (SAME,)))
    assert CheckRecord.model_validate(checked.model_dump(mode="json")) == checked
    assert references.by_baseline(checked) == ["stored baseline (does not decide here): OK"]

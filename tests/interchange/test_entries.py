"""Runs of one benchmark as a check."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import pytest

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange.entries import Named, Wanted, entry, repeated
from pytest_vllmperf.interchange.report import Report
from tests.interchange.material import changed, read

WANTED = Wanted(gate=None, margin=0.05, margins={})
THREE = [read(f"vllm-detailed-{number}.json") for number in (1, 2, 3)]


def named(*reports: Report) -> list[Named]:
    return [Named(f"{at}.json", report) for at, report in enumerate(reports, start=1)]


def refused(*reports: Report, **wanted: Any) -> str:
    with pytest.raises(ReportError) as error:
        entry(named(*reports), replace(WANTED, **wanted))
    assert "\n" not in str(error.value)
    return str(error.value)


def hard(*reports: Report, **wanted: Any) -> dict[str, str]:
    return entry(named(*reports), replace(WANTED, **wanted)).sessions[0].environment.hard


def test_each_run_is_an_engine_start_of_one_session() -> None:
    made = entry(named(*THREE), WANTED)
    (session,) = made.sessions
    assert made.engine == "vllm bench serve: tiny"
    assert made.workload["count"] == 12
    assert made.judging.gate == ["output_throughput", "ttft.p50", "tpot.p50", "e2e.p50"]
    assert session.recorded == "2026-11-28T21:59:19"  # of the newest run
    assert [engine.samples["ttft.p50"] for engine in session.engines] == [[one.figures["ttft.p50"]] for one in THREE]
    assert [engine.ttft_by_request for engine in session.engines] == [list(one.ttfts) for one in THREE]
    assert {engine.iterations for engine in session.engines} == {1}


def test_hard_keys_say_what_was_measured_and_not_when() -> None:
    keys = hard(*THREE)
    assert {name: keys[name] for name in ("backend", "device", "model")} == {
        "backend": "vllm bench serve", "device": "unknown", "model": "tiny",
    }  # fmt: skip
    later = [replace(one, recorded="2027-01-01T00:00:00") for one in reversed(THREE)]
    assert hard(*later) == keys
    assert hard(*THREE, profile="h100") == {**keys, "profile": "h100"}
    assert hard(*THREE, model="other")["model"] == "other"


@pytest.mark.parametrize(
    "other",
    [{"prompt_tokens": 640}, {"asked": 13}, {"work": {"max_concurrency": 8}}, {"basis": "summary"}],
)
def test_other_work_is_another_key(other: dict[str, Any]) -> None:
    assert hard(*(replace(one, **other) for one in THREE))["workload"] != hard(*THREE)["workload"]


def test_mixed_work_is_refused_with_both_sides() -> None:
    other = changed("vllm-detailed-3.json", max_concurrency=8)
    assert refused(*THREE[:2], other) == (
        "3.json was measured with another workload than 1.json: max_concurrency: 4 -> 8"
    )
    longer = changed("vllm-detailed-3.json", total_input_tokens=640)
    assert refused(*THREE[:2], longer).endswith("prompt tokens: 320 -> 640")
    assert "model: 'tiny' -> 'large'" in refused(*THREE[:2], changed("vllm-detailed-3.json", model_id="large"))


def test_tools_are_not_mixed() -> None:
    words = refused(*THREE[:2], read("guidellm-1.json"))
    assert words == (
        "1.json is a report of vllm bench serve, 3.json of GuideLLM; all reports of a session must come from one tool"
    )
    assert "3.json of vllm-rs bench serve" in refused(*THREE[:2], read("vllm-rust-1.json"))


def test_a_run_that_is_given_twice_is_no_second_sample() -> None:
    words = refused(THREE[0], THREE[1], replace(THREE[0], recorded=""))
    assert words == "1.json and 3.json are the same run; pass each run once"


def test_two_reports_of_one_run_are_the_same_run() -> None:
    """As where a folder's files are given one by one."""
    summary = replace(read("inference-perf-1/summary_lifecycle_metrics.json"), model="m")
    stage = replace(read("inference-perf-1/stage_0_lifecycle_metrics.json"), model="m", work={})
    assert "are the same run" in refused(summary, stage)


def test_a_baseline_needs_three_runs() -> None:
    assert refused(*THREE[:2]).startswith("there are 2 runs; a baseline needs at least 3")
    assert refused(THREE[0]).startswith("there is 1 run; ")
    assert len(entry(named(THREE[0]), replace(WANTED, allow=frozenset({"few"}))).sessions[0].engines) == 1


def test_failed_requests_are_taken_only_when_allowed() -> None:
    failing = changed("vllm-failed.json", total_input_tokens=None)
    assert refused(*THREE[:2], failing).startswith("3.json: 3 of 12 requests failed; ")
    made = entry(named(*THREE[:2], failing), replace(WANTED, allow=frozenset({"failed"})))
    assert made.sessions[0].environment.soft["failed requests"] == "[0, 0, 3]"
    assert made.sessions[0].engines[2].ttft_by_request == []
    assert "failed requests" not in entry(named(*THREE), WANTED).sessions[0].environment.soft


def test_without_an_answer_there_is_nothing_to_judge() -> None:
    nothing = changed("vllm-failed.json", completed=0, failed=12)
    assert refused(*THREE[:2], nothing, allow=frozenset({"failed"})) == (
        "3.json: no request succeeded, so there is nothing to judge"
    )


def test_a_model_has_to_be_named() -> None:
    folders = [read(f"inference-perf-{number}/summary_lifecycle_metrics.json") for number in (1, 2, 3)]
    assert refused(*folders) == "1.json: the report does not name its model; pass --model"
    assert hard(*folders, model="m")["model"] == "m"


def test_figures_that_cannot_be_are_refused() -> None:
    zero = changed("vllm-detailed-3.json", output_throughput=0)
    assert refused(*THREE[:2], zero) == "3.json: output_throughput: 0 is not a positive finite number"
    large = changed("vllm-detailed-3.json", output_throughput=1e40)
    assert "3.json: output_throughput: 1e+40 is out of range" in refused(*THREE[:2], large)


def test_the_gate_is_what_was_measured() -> None:
    guide = [read(f"guidellm-{number}.json") for number in (1, 2, 3)]
    assert refused(*guide, gate=("itl.p50",)).startswith(
        "--gate: itl.p50 is not in all of the reports; all of them contain e2e.mean"
    )
    assert "ttft.p99 needs" not in refused(*guide, gate=("ttft.p90",))
    assert "TTFT p99 needs at least 2,000 requests to be gated; this workload has 12" in refused(
        *THREE, gate=("ttft.p99",)
    )
    summaries = [read(f"aiperf-{number}/profile_export_aiperf.json") for number in (1, 2, 3)]
    assert refused(*summaries, gate=("ttft.p99",)) == (
        "--gate: ttft.p99 can be gated only if the reports contain each request; gate ttft.p50"
    )
    made = entry(named(*THREE), replace(WANTED, gate=("itl.p50",), margin=0.1, margins={"itl.p50": 0.2}))
    assert (made.judging.gate, made.judging.margin, made.judging.margins) == (["itl.p50"], 0.1, {"itl.p50": 0.2})
    rates = [replace(one, figures={"request_throughput": one.figures["request_throughput"]}) for one in THREE]
    assert refused(*rates).startswith("the reports contain none of output_throughput, ttft.p50")


def test_facts_may_differ_and_are_told() -> None:
    facts = [replace(one, facts={"version of x": f"1.{at // 2}"}) for at, one in enumerate(THREE)]
    assert entry(named(*facts), WANTED).sessions[0].environment.soft == {"version of x": "1.0 / 1.1"}


def test_without_a_date_it_is_recorded_now() -> None:
    before = datetime.now(timezone.utc).replace(microsecond=0)
    made = entry(named(*(replace(one, recorded="") for one in THREE)), WANTED)
    assert before <= datetime.fromisoformat(made.sessions[0].recorded) <= datetime.now(timezone.utc)


def test_a_run_that_is_stored_already_is_found() -> None:
    stored = entry(named(*THREE), WANTED)
    allow = replace(WANTED, allow=frozenset({"few"}))
    assert repeated(stored, entry(named(THREE[2]), allow))
    assert not repeated(entry(named(*THREE[:2]), allow), entry(named(THREE[2]), allow))


def test_a_secret_in_a_name_is_not_stored() -> None:
    told = [replace(one, model="https://me:hunter2@host/m") for one in THREE]
    assert "hunter2" not in entry(named(*told), WANTED).model_dump_json()

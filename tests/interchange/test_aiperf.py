"""AIPerf's summary, its records, and both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange import formats
from tests.interchange.material import changed, content, encoded, read, stored

SUMMARY, RECORDS = "aiperf-1/profile_export_aiperf.json", "aiperf-1/profile_export.jsonl"


def records(name: str = RECORDS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content(name).splitlines()]


def test_the_summary_in_our_names() -> None:
    told, report = stored(SUMMARY), read(SUMMARY)
    assert (report.tool, report.model, report.completed, report.failed) == ("AIPerf", "tiny", 12, 0)
    assert report.figures["ttft.mean"] == pytest.approx(told["time_to_first_token"]["avg"] / 1000)
    assert report.figures["tpot.p50"] == pytest.approx(told["inter_token_latency"]["p50"] / 1000)
    assert report.figures["itl.p99"] == pytest.approx(told["inter_chunk_latency"]["p99"] / 1000)
    assert report.figures["e2e.p90"] == pytest.approx(told["request_latency"]["p90"] / 1000)
    assert report.figures["output_throughput"] == told["output_token_throughput"]["avg"]
    assert report.ttfts == []
    assert report.recorded == "2026-11-28T22:02:20"
    assert report.facts == {"version of aiperf": "0.13.0"}


def test_the_requests_of_the_folder_count_by_the_servers_tokens() -> None:
    """AIPerf's tokenizer found 16 tokens in each answer, the server told 8."""
    whole, summary = read(SUMMARY, RECORDS), read(SUMMARY)
    for name in ("ttft.p99", "itl.p50", "e2e.mean"):
        assert whole.figures[name] == pytest.approx(summary.figures[name], rel=1e-6)
    assert whole.figures["tpot.mean"] == pytest.approx(summary.figures["tpot.mean"] * 15 / 7, rel=1e-6)
    assert whole.figures["output_tokens"] == 96
    assert whole.figures["output_throughput"] == pytest.approx(summary.figures["output_throughput"] / 2, rel=0.1)
    assert (whole.basis, summary.basis) == ("requests", "summary")
    assert whole.model == "tiny"
    assert whole.work == summary.work


def test_records_are_in_the_order_of_the_sessions() -> None:
    shuffled = list(reversed(records()))
    (report,) = formats.read([encoded(*shuffled)])
    values = {one["metadata"]["session_num"]: one["metrics"]["time_to_first_token"]["value"] for one in shuffled}
    assert [1000 * ttft for ttft in report.ttfts] == pytest.approx([values[number] for number in range(12)])


def test_records_alone_name_no_model() -> None:
    report = read(RECORDS)
    assert report.model == ""
    assert report.prompt_tokens == sum(one["metrics"]["usage_prompt_tokens"]["value"] for one in records())
    assert report.recorded == "2026-11-28T22:02:20+00:00"


def test_without_usage_its_own_tokens_count() -> None:
    without = records()
    for one in without:
        del one["metrics"]["usage_completion_tokens"]
    (report,) = formats.read([encoded(*without)])
    assert report.figures["output_tokens"] == 192


def test_failed_requests_are_counted_and_are_in_no_figure() -> None:
    folder = read("aiperf-failed/profile_export_aiperf.json", "aiperf-failed/profile_export.jsonl")
    assert (folder.completed, folder.failed) == (9, 3)
    assert folder.ttfts == []
    summary = read("aiperf-failed/profile_export_aiperf.json")
    assert (summary.completed, summary.failed) == (9, 3)
    assert folder.figures["ttft.p50"] == pytest.approx(summary.figures["ttft.p50"], rel=1e-6)


def test_requests_of_a_warm_up_are_left_out() -> None:
    with_warmup = records()
    for one in with_warmup[:4]:
        one["metadata"]["benchmark_phase"] = "warmup"
    (report,) = formats.read([encoded(*with_warmup)])
    assert report.completed == 8


def test_units_are_read() -> None:
    in_seconds = {**stored(SUMMARY)["time_to_first_token"], "unit": "sec", "avg": 0.5}
    assert changed(SUMMARY, time_to_first_token=in_seconds).figures["ttft.mean"] == 0.5


def test_the_work_is_what_the_user_configured() -> None:
    reports = [read(f"aiperf-{number}/profile_export_aiperf.json") for number in (1, 2, 3)]
    assert reports[0].work == reports[1].work == reports[2].work
    assert reports[0].work["phases"][0]["concurrency"] == 4
    assert reports[0].work["endpoint"] == {"type": "chat", "streaming": True}  # no URL


def test_the_first_releases_had_another_configuration() -> None:
    config = {
        "endpoint": {"model_names": ["m"], "streaming": True, "url": "http://host"},
        "loadgen": {"concurrency": 4},
    }
    report = changed(SUMMARY, schema_version=None, aiperf_version=None, input_config=config)
    assert report.model == "m"
    assert report.work == {"endpoint": {"streaming": True}, "loadgen": {"concurrency": 4}}
    assert report.facts == {"version of aiperf": "unknown"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"schema_version": "2.0"}, "an AIPerf report of schema '2.0'; only schemas 1.x are supported"),
        ({"was_cancelled": True}, "the run was cancelled"),
        ({"is_complete": False}, "the run was cancelled"),
        ({"request_count": None}, "request_count is missing"),
        (
            {"time_to_first_token": {"unit": "furlongs", "avg": 1.0}},
            "time_to_first_token.unit: 'furlongs' is not a supported unit",
        ),
        ({"time_to_first_token": {"unit": [], "avg": 1.0}}, "time_to_first_token.unit: [] is not a supported unit"),
        ({"request_throughput": {"avg": -3}}, "request_throughput.avg: -3 is not a finite number"),
    ],
)
def test_what_cannot_be_taken_is_said(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ReportError) as error:
        changed(SUMMARY, **fields)
    assert words in str(error.value)


def test_a_record_is_named_by_its_number() -> None:
    broken = records()
    broken[2]["metrics"]["request_latency"]["value"] = float("nan")
    with pytest.raises(ReportError, match=r"record 3\.metrics\.request_latency\.value: nan is not a finite number"):
        formats.read([encoded(*broken)])


def test_two_summaries_are_no_run() -> None:
    with pytest.raises(ReportError, match="it holds 2 summaries"):
        formats.read([content(SUMMARY), content("aiperf-2/profile_export_aiperf.json")])

"""inference-perf's summary, stages, requests."""

from __future__ import annotations

import pytest

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange import formats
from tests.interchange.material import changed, content, encoded, read, stored

SUMMARY = "inference-perf-1/summary_lifecycle_metrics.json"
STAGE = "inference-perf-1/stage_0_lifecycle_metrics.json"
REQUESTS = "inference-perf-1/per_request_lifecycle_metrics.json"


def test_the_summary_in_our_names() -> None:
    told, report = stored(STAGE)["successes"], read(STAGE)
    assert (report.tool, report.model, report.completed, report.failed, report.asked) == (
        "inference-perf",
        "",
        12,
        0,
        12,
    )
    assert report.figures["ttft.p50"] == told["latency"]["time_to_first_token"]["median"]
    assert report.figures["tpot.p99"] == told["latency"]["time_per_output_token"]["p99"]
    assert report.figures["e2e.mean"] == told["latency"]["request_latency"]["mean"]
    assert report.figures["total_token_throughput"] == told["throughput"]["total_tokens_per_sec"]
    assert report.work == {"requested_rate": 12.0, "concurrency": 4}
    assert read(SUMMARY).figures == report.figures


def test_requests_count_by_the_servers_tokens() -> None:
    """Its tokenizer found 16 tokens in each answer, the server told 8: gaps between tokens are not told apart then."""
    whole, summary = read(SUMMARY, REQUESTS), read(SUMMARY)
    for name in ("ttft.mean", "ttft.p99", "e2e.p50", "request_throughput"):
        assert whole.figures[name] == pytest.approx(summary.figures[name], rel=1e-6)
    assert whole.figures["tpot.mean"] == pytest.approx(summary.figures["tpot.mean"] * 15 / 7, rel=1e-6)
    assert whole.figures["output_throughput"] == pytest.approx(summary.figures["output_throughput"] / 2, rel=1e-6)
    assert not [name for name in whole.figures if name.startswith("itl.")]
    assert (whole.basis, summary.basis) == ("requests", "summary")


def test_gaps_are_those_between_tokens_where_the_server_counts_the_same() -> None:
    data = stored(REQUESTS)
    for one in data:
        one["info"]["response_metrics"]["server_usage"]["completion_tokens"] = 16
    (report,) = formats.read([encoded(data)])
    told = stored(SUMMARY)["successes"]["latency"]["inter_token_latency"]
    assert report.figures["itl.mean"] == pytest.approx(told["mean"], rel=1e-5)
    assert report.figures["itl.p99"] == pytest.approx(told["p99"], rel=1e-5)


def test_requests_of_two_runs_are_not_the_same() -> None:
    assert list(read(REQUESTS).ttfts) == []


def test_failed_requests_are_counted_and_are_in_no_figure() -> None:
    folder = "inference-perf-failed"
    summary = read(f"{folder}/summary_lifecycle_metrics.json")
    requests = read(f"{folder}/per_request_lifecycle_metrics.json")
    assert (summary.completed, summary.failed) == (requests.completed, requests.failed) == (9, 3)
    assert requests.figures["e2e.p50"] == pytest.approx(summary.figures["e2e.p50"], rel=1e-6)


def test_without_streaming_only_the_end_is_known() -> None:
    data = stored(REQUESTS)
    for one in data:
        one["info"]["response_metrics"] = {"output_tokens": 8}
    (report,) = formats.read([encoded(data)])
    assert {name.partition(".")[0] for name in report.figures if "." in name} == {"e2e"}


def test_what_cannot_be_taken_is_said() -> None:
    data = stored(REQUESTS)
    data[3]["end_time"] = None
    with pytest.raises(ReportError, match=r"request 4\.end_time is missing"):
        formats.read([encoded(data)])
    with pytest.raises(ReportError, match=r"successes\.count is missing"):
        changed(SUMMARY, successes={})
    with pytest.raises(ReportError, match="it holds several reports"):
        formats.read([content(SUMMARY), content(STAGE)])

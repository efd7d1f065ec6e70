"""GuideLLM's reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange import formats
from pytest_vllmperf.interchange.report import Report
from tests.interchange.material import encoded, read, stored


def edited(change: Callable[[Any, Any], object], name: str = "guidellm-1.json") -> Report:
    """A report after a change to it, or to its benchmark."""
    data = stored(name)
    change(data, data["benchmarks"][0])
    (report,) = formats.read([encoded(data)])
    return report


def test_the_figures_are_of_the_requests() -> None:
    report = read("guidellm-1.json")
    requests = stored("guidellm-1.json")["benchmarks"][0]["requests"]["successful"]
    assert (report.tool, report.model, report.completed, report.failed, report.asked) == ("GuideLLM", "tiny", 12, 0, 12)
    assert report.figures["ttft.mean"] == pytest.approx(sum(one["time_to_first_token_ms"] for one in requests) / 12e3)
    assert report.figures["e2e.mean"] == pytest.approx(sum(one["request_latency"] for one in requests) / 12)
    seconds = max(one["request_end_time"] for one in requests) - min(one["request_start_time"] for one in requests)
    assert report.figures["output_throughput"] == pytest.approx(96 / seconds)
    assert report.figures["request_throughput"] == pytest.approx(12 / seconds)
    assert report.figures["output_tokens"] == 96
    assert not [name for name in report.figures if name.startswith("itl.")]


def test_its_itl_is_our_tpot() -> None:
    """Its own TPOT counts the first token too, and is nearly twice as long here."""
    requests = stored("guidellm-1.json")["benchmarks"][0]["requests"]["successful"]
    timings = [one["info"]["timings"] for one in requests]
    ours = [(one["last_token_iteration"] - one["first_token_iteration"]) / 7 for one in timings]
    assert read("guidellm-1.json").figures["tpot.mean"] == pytest.approx(sum(ours) / 12, rel=1e-4)


def test_requests_are_in_the_order_of_the_data() -> None:
    report = read("guidellm-3.json")
    requests = stored("guidellm-3.json")["benchmarks"][0]["requests"]["successful"]
    queued = sorted(requests, key=lambda one: one["info"]["timings"]["queued"])
    started = sorted(requests, key=lambda one: one["request_start_time"])
    assert queued != started
    assert [1000 * ttft for ttft in report.ttfts] == pytest.approx([one["time_to_first_token_ms"] for one in queued])


def test_without_the_requests_the_summary_counts() -> None:
    def sampled(data: Any, benchmark: Any) -> None:
        del benchmark["requests"]["successful"][0]

    report, whole = edited(sampled), read("guidellm-1.json")
    assert (report.basis, whole.basis) == ("summary", "")
    assert report.ttfts == []
    told = stored("guidellm-1.json")["benchmarks"][0]["metrics"]
    assert report.figures["output_throughput"] == told["output_tokens_per_second"]["successful"]["mean"]
    for name in ("ttft.mean", "tpot.mean", "e2e.mean"):
        assert report.figures[name] == pytest.approx(whole.figures[name], rel=1e-6)


def test_failed_requests_are_counted() -> None:
    report = read("guidellm-failed.json")
    assert (report.completed, report.failed) == (8, 4)
    assert report.ttfts == []
    assert 0 < report.figures["ttft.p50"] < 1


def test_the_work_is_what_the_user_configured() -> None:
    reports = [read(f"guidellm-{number}.json") for number in (1, 2, 3)]
    assert reports[0].work == reports[1].work == reports[2].work
    assert reports[0].work["strategy"]["streams"] == 4
    assert reports[0].work["data"][0]["prompt_tokens"] == 24
    assert "worker_count" not in str(reports[0].work)


def test_other_data_is_other_work() -> None:
    def longer(data: Any, benchmark: Any) -> None:
        data["config"]["spec"]["data"][0]["prompt_tokens"] = 48

    assert edited(longer).work != read("guidellm-1.json").work


def test_no_secret_and_no_path_comes_along() -> None:
    def private(data: Any, benchmark: Any) -> None:
        data["config"]["spec"]["backend"]["extras"] = {
            "headers": {"X": "hunter2"},
            "api_key": "hunter2",
            "body": {"a": 1},
        }
        data["config"]["spec"]["data"] = [{"path": "/home/me/chats.jsonl"}]
        data["config"]["spec"]["backend"]["model"] = "/home/me/tiny"

    report = edited(private)
    assert report.work["extras"] == {"body": {"a": 1}}
    assert report.work["data"] == [{"path": "chats.jsonl"}]
    assert report.model == "tiny"


def limited_by_time(data: Any, benchmark: Any) -> None:
    benchmark["config"]["constraints"]["max_seconds"] = {"args": {"seconds": 1}}
    benchmark["config"]["constraints"]["max_requests"]["args"]["count"] = 500


def test_a_run_that_something_else_may_end_has_no_number_of_requests() -> None:
    assert edited(limited_by_time).asked is None


def cut(data: Any, benchmark: Any) -> None:
    benchmark["config"]["constraints"]["max_requests"]["args"]["count"] = 500


def older(data: Any, benchmark: Any) -> None:
    data["metadata"]["version"] = 1


def swept(data: Any, benchmark: Any) -> None:
    data["benchmarks"].append(benchmark)


def empty(data: Any, benchmark: Any) -> None:
    data["benchmarks"].clear()


def without_totals(data: Any, benchmark: Any) -> None:
    del benchmark["metrics"]["request_totals"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (cut, "12 of 500 requests ended; the run did not finish"),
        (older, "a GuideLLM report of version 1; only version 2 is supported"),
        (swept, "it holds 2 benchmarks, but a run is exactly one"),
        (empty, "it holds 0 benchmarks"),
        (without_totals, "benchmarks[0].metrics.request_totals.successful is missing"),
    ],
)
def test_what_cannot_be_taken_is_said(change: Callable[[Any, Any], object], words: str) -> None:
    with pytest.raises(ReportError) as error:
        edited(change)
    assert words in str(error.value)

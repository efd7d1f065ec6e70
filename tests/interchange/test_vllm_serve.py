"""Results of `vllm bench serve`, of both clients."""

from __future__ import annotations

import pytest

from pytest_vllmperf.errors import ReportError
from tests.interchange.material import changed, read, stored

OURS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}
DETAILS = ("input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "errors")


@pytest.mark.parametrize("name", ["vllm-detailed-1.json", "vllm-rust-1.json"])
def test_our_figures_of_the_requests_are_those_that_the_tool_reports(name: str) -> None:
    told, report = stored(name), read(name)
    for ours, theirs in OURS.items():
        assert report.figures[f"{ours}.mean"] * 1000 == pytest.approx(told[f"mean_{theirs}_ms"], rel=1e-5)
        for point in (50, 90, 95, 99):
            assert report.figures[f"{ours}.p{point}"] * 1000 == pytest.approx(told[f"p{point}_{theirs}_ms"], rel=1e-5)
    for rate in ("request_throughput", "output_throughput", "total_token_throughput"):
        assert report.figures[rate] == told[rate]
    assert report.figures["prompt_tokens"] == report.prompt_tokens == told["total_input_tokens"]
    assert report.figures["output_tokens"] == 96
    assert report.ttfts == told["ttfts"]
    assert (report.completed, report.failed, report.asked) == (12, 0, 12)


@pytest.mark.parametrize("name", ["vllm-detailed-1.json", "vllm-rust-1.json"])
def test_a_summary_alone_has_the_same_figures(name: str) -> None:
    summary = changed(name, **dict.fromkeys(DETAILS))
    assert summary.figures == pytest.approx(dict(read(name).figures), rel=1e-5)
    assert summary.ttfts == []


def test_the_requests_count_where_the_summary_says_otherwise() -> None:
    report = changed("vllm-detailed-1.json", mean_ttft_ms=1e6, p99_e2el_ms=1e6)
    assert report.figures == read("vllm-detailed-1.json").figures


def test_what_python_leaves_in_a_summary_gives_the_latencies() -> None:
    """It takes `latencies` out of no report, and reports E2E only when asked for."""
    told = stored("vllm-summary.json")
    assert "mean_e2el_ms" not in told
    report = read("vllm-summary.json")
    assert report.figures["e2e.mean"] == pytest.approx(sum(told["latencies"]) / 12)
    assert report.figures["ttft.p50"] == told["median_ttft_ms"] / 1000
    assert "ttft.p90" not in report.figures
    assert report.work["request_rate"] == 50


def test_failed_requests_are_counted_and_are_in_no_figure() -> None:
    told, report = stored("vllm-failed.json"), read("vllm-failed.json")
    assert (report.completed, report.failed, report.asked) == (9, 3, 12)
    assert report.figures["ttft.mean"] * 1000 == pytest.approx(told["mean_ttft_ms"], rel=1e-5)
    assert report.figures["tpot.p99"] * 1000 == pytest.approx(told["p99_tpot_ms"], rel=1e-5)
    assert report.figures["e2e.mean"] == pytest.approx(sum(told["latencies"]) / 9)
    assert report.ttfts == []
    assert report.prompt_tokens is None
    assert read("vllm-rust-failed.json").failed == 3


def test_a_request_that_failed_without_a_word_leaves_the_summary() -> None:
    report = changed("vllm-failed.json", errors=[""] * 12)
    assert report.figures["ttft.mean"] == stored("vllm-failed.json")["mean_ttft_ms"] / 1000
    assert "e2e.mean" not in report.figures


def test_older_versions_tell_neither_failures_nor_latencies() -> None:
    report = changed("vllm-detailed-1.json", failed=None, latencies=None)
    assert report.failed == 0
    assert report.figures == pytest.approx(dict(read("vllm-detailed-1.json").figures), rel=1e-3)
    assert changed("vllm-failed.json", failed=None).failed == 3


def test_each_client_is_a_tool_of_its_own() -> None:
    assert read("vllm-detailed-1.json").tool == "vllm bench serve"
    assert read("vllm-rust-1.json").tool == "vllm-rs bench serve"


def test_dates_of_both_clients() -> None:
    assert read("vllm-detailed-1.json").recorded == "2026-11-28T21:58:24"
    assert read("vllm-rust-1.json").recorded == "2026-11-28T22:11:08+00:00"
    assert changed("vllm-detailed-1.json", date="yesterday").recorded == ""


def test_the_work_has_no_time_stamp_and_no_path() -> None:
    reports = [read(f"vllm-detailed-{number}.json") for number in (1, 2, 3)]
    assert len({str(one.work) for one in reports}) == 1
    assert reports[0].work == {
        "endpoint_type": "openai", "num_prompts": 12, "request_rate": "inf", "burstiness": 1, "max_concurrency": 4,
    }  # fmt: skip
    assert changed("vllm-detailed-1.json", model_id="/home/me/models/tiny").model == "tiny"
    assert reports[0].facts == {"tokenizer": "tiny"}


def test_zero_throughout_is_not_observed() -> None:
    """So vLLM writes what no request had, such as a TPOT of answers of one token."""
    details = dict.fromkeys(DETAILS)
    nothing = {f"{point}_tpot_ms": 0.0 for point in ("mean", "median", "p50", "p90", "p95", "p99")}
    report = changed("vllm-detailed-1.json", **details, **nothing)
    assert not [name for name in report.figures if name.startswith("tpot.")]
    assert "ttft.p50" in report.figures


def test_without_streaming_there_is_no_ttft() -> None:
    report = changed("vllm-detailed-1.json", ttfts=[0.0] * 12, itls=[[]] * 12, mean_ttft_ms=0, median_ttft_ms=0,
                     p50_ttft_ms=0, p90_ttft_ms=0, p95_ttft_ms=0, p99_ttft_ms=0)  # fmt: skip
    assert not [name for name in report.figures if name.startswith("ttft.")]
    assert report.ttfts == ()
    assert report.figures["e2e.p50"] == read("vllm-detailed-1.json").figures["e2e.p50"]


def test_tokens_that_came_at_once_have_no_tpot() -> None:
    told = stored("vllm-detailed-1.json")
    at_once = [told["ttfts"][0], *told["latencies"][1:]]
    whole, report = read("vllm-detailed-1.json"), changed("vllm-detailed-1.json", latencies=at_once)
    each = [(end - first) / 7 for first, end in zip(told["ttfts"], told["latencies"], strict=True)]
    assert whole.figures["tpot.mean"] == pytest.approx(sum(each) / 12)
    assert report.figures["tpot.mean"] == pytest.approx(sum(each[1:]) / 11)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"errors": [""]}, "errors lists 1 requests, but ttfts lists 12"),
        ({"completed": None}, "not a report in a supported format"),
        ({"completed": "12"}, "completed: '12' is not a finite number of at least 0"),
        ({"completed": 11.5}, "completed: 11.5 is not a whole number"),
        ({"request_throughput": float("nan")}, "request_throughput: nan is not a finite number"),
        ({"p99_ttft_ms": -1}, "p99_ttft_ms: -1 is not a finite number of at least 0"),
        ({"output_throughput": 10**400}, "output_throughput: 1000"),
        ({"ttfts": [0.1] * 11 + [float("inf")]}, "ttfts[11]: inf is not a finite number"),
        ({"itls": [[0.1]] * 11 + [[True]]}, "itls[11][0]: True is not a finite number"),
        ({"itls": [[]] * 11 + [7]}, "itls[11]: 7 is not a list"),
        ({"ttfts": "many"}, "ttfts: 'many' is not a list"),
        ({"model_id": 7}, "model_id: 7 is not a text"),
        ({"latencies": [0.01] * 12}, "a request has a tpot of "),
    ],
)
def test_what_is_wrong_is_told_with_its_place(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ReportError) as error:
        changed("vllm-detailed-1.json", **fields)
    assert words in str(error.value)
    assert "\n" not in str(error.value)

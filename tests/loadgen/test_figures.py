"""`figures` and `server_metrics`: what vLLM's `/metrics` says of a run, from texts of its own client library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import prometheus_client
import pytest

from pytest_vllmperf.loadgen.figures import figures, server_metrics, wanted
from pytest_vllmperf.records.served import ServerMetrics


class Exposition:
    """A registry with metrics named as vLLM 0.32 names them, for two engines."""

    def __init__(self, engines: int = 2) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._engines = engines
        labels = ["model_name", "engine"]
        self._counters = {
            name: prometheus_client.Counter(f"vllm:{name}", "words", labels, registry=self.registry)
            for name in (
                "prefix_cache_queries",
                "prefix_cache_hits",
                "external_prefix_cache_queries",
                "num_preemptions",
                "prompt_tokens",
                "prompt_tokens_cached",
                "generation_tokens",
                "spec_decode_num_drafts",
                "spec_decode_num_draft_tokens",
                "spec_decode_num_accepted_tokens",
            )
        }
        self._ended = prometheus_client.Counter(
            "vllm:request_success", "w", [*labels, "finished_reason"], registry=self.registry
        )
        self._gauges = {
            name: prometheus_client.Gauge(f"vllm:{name}", "words", labels, registry=self.registry)
            for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
        }
        self._histograms = {
            name: prometheus_client.Histogram(f"vllm:{name}", "words", labels, registry=self.registry)
            for name in ("request_queue_time_seconds", "time_to_first_token_seconds", "iteration_tokens_total")
        }
        for engine in range(engines):
            for metric in (*self._counters.values(), *self._histograms.values()):
                metric.labels("m", str(engine))

    def work(self, **done: float) -> None:
        """Add to counters, equally in each engine, and observe in histograms."""
        for name, value in done.items():
            for engine in map(str, range(self._engines)):
                if name in self._counters:
                    self._counters[name].labels("m", engine).inc(value)
                elif name == "ended":
                    self._ended.labels("m", engine, "stop").inc(value)
                    self._ended.labels("m", engine, "length").inc(value)
                else:
                    self._histograms[name].labels("m", engine).observe(value)

    def set(self, name: str, *values: float) -> None:
        for engine, value in enumerate(values):
            self._gauges[name].labels("m", str(engine)).set(value)

    def text(self) -> str:
        return prometheus_client.generate_latest(self.registry).decode()


def test_a_run_is_the_difference_of_two_scrapes_over_all_engines() -> None:
    server = Exposition()
    server.work(prompt_tokens=1000, ended=5, time_to_first_token_seconds=9.0, iteration_tokens_total=1)
    before = figures(wanted(server.text()))
    server.work(prefix_cache_queries=50, prefix_cache_hits=20, external_prefix_cache_queries=7, num_preemptions=1)
    server.work(prompt_tokens=100, prompt_tokens_cached=3, generation_tokens=64, ended=2)
    server.work(spec_decode_num_drafts=8, spec_decode_num_draft_tokens=30, spec_decode_num_accepted_tokens=12)
    for seconds in (0.2, 0.4):
        server.work(
            request_queue_time_seconds=seconds, time_to_first_token_seconds=2 * seconds, iteration_tokens_total=8
        )
    meanwhile = []
    for running, usage in (((3, 4), (0.2, 0.7)), ((5, 1), (0.5, 0.6))):
        server.set("num_requests_running", *running)
        server.set("num_requests_waiting", 2, 0)
        server.set("kv_cache_usage_perc", *usage)
        meanwhile.append(figures(wanted(server.text())))
    server.set("num_requests_running", 0, 1)
    server.set("num_requests_waiting", 0, 0)
    metrics = server_metrics(before, figures(wanted(server.text())), meanwhile)
    assert metrics is not None
    assert metrics.queue_seconds == pytest.approx(0.3)
    assert metrics.ttft_seconds == pytest.approx(0.6)
    expected: Mapping[str, Any] = {
        "prefix_queries": 100,
        "prefix_hits": 40,
        "preemptions": 2,
        "prompt_tokens": 200,
        "generation_tokens": 128,
        "finished": 8,
        "drafts": 16,
        "draft_tokens": 60,
        "accepted_tokens": 24,
        "steps": 4,
        "running_max": 7,
        "waiting_max": 2,
        "kv_usage_max": 0.7,
        "running_after": 1,
        "waiting_after": 0,
    }
    assert {name: getattr(metrics, name) for name in expected} == expected


def test_the_wanted_lines_are_few_and_all_that_count() -> None:
    server = Exposition()
    server.set("num_requests_running", 1, 2)
    text = server.text()
    assert figures(wanted(text)) == figures(text)
    assert len(wanted(text)) < len(text) / 3
    assert "bucket" not in wanted(text)
    assert wanted('vllm:num_requests_waiting_by_reason{a="b"} 1\nvllm:num_requests_waiting 2\n').count("\n") == 1


def test_a_counter_that_went_backwards_is_another_server() -> None:
    before, after = {"vllm:prompt_tokens_total": 10.0}, {"vllm:prompt_tokens_total": 9.0}
    assert server_metrics(before, after, []) is None
    assert server_metrics(after, before, []) is not None


def test_gauges_may_fall() -> None:
    metrics = server_metrics({"vllm:num_requests_running": 5.0}, {"vllm:num_requests_running": 0.0}, [])
    assert metrics == ServerMetrics(running_after=0.0)


def test_what_a_server_does_not_have_is_none() -> None:
    assert server_metrics({}, {}, []) == ServerMetrics()
    no_request = {"vllm:request_queue_time_seconds_sum": 1.0, "vllm:request_queue_time_seconds_count": 4.0}
    assert server_metrics(no_request, no_request, []) == ServerMetrics()


def test_a_counter_that_appears_began_at_zero() -> None:
    metrics = server_metrics({}, {"vllm:request_success_total": 3.0}, [])
    assert metrics == ServerMetrics(finished=3.0)


def test_names_of_earlier_versions() -> None:
    old = "vllm:gpu_prefix_cache_hits_total 4\nvllm:gpu_prefix_cache_queries_total 8\nvllm:gpu_cache_usage_perc 0.5\n"
    found = figures(wanted(old))
    assert server_metrics({}, found, [found]) == ServerMetrics(prefix_queries=8.0, prefix_hits=4.0, kv_usage_max=0.5)


def test_a_figure_that_is_no_number_is_left_out() -> None:
    assert figures("vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n") == {}


def test_a_text_of_another_format_is_an_error() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        figures("vllm:num_requests_running{ x\n")

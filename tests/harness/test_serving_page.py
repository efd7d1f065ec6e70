"""docs/serving.md tells of every kind of failure, every limit of the client, and every setting of an endpoint."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vllmperf import Measurement, VllmPerf
from pytest_vllmperf.metrics.served import ServedMetrics
from pytest_vllmperf.metrics.table import DECLARATIONS
from pytest_vllmperf.records.answers import FAILURES
from pytest_vllmperf.validity import client

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "serving.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("kind", FAILURES)
def test_every_kind_of_failure_has_its_row_and_something_to_do(kind: str) -> None:
    (row,) = [line for line in ROWS if line.startswith(f"| `{kind}` |")]
    assert all(cell.strip() for cell in row.strip("|").split("|"))


def test_no_row_is_left_of_a_kind_that_is_gone() -> None:
    table = PAGE.split("## When requests fail")[1].split("Other lines:")[0]
    kinds = [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")]
    assert sorted(kinds) == sorted(FAILURES)


def test_every_setting_of_an_endpoint_is_told() -> None:
    call = next(line for line in PAGE.splitlines() if line.startswith("vllmperf.endpoint(url, *"))
    names = _settings(VllmPerf.endpoint)
    assert {"model", "vllm"} <= set(names)
    assert [
        name for name in names if name not in call or not any(row.startswith(f"| `{name}` |") for row in ROWS)
    ] == []


@pytest.mark.parametrize("call", [Measurement.assert_slo, VllmPerf.find_max_rate])
def test_every_part_of_a_promise_is_told(call: Callable[..., object]) -> None:
    parts = {"ttft", "tpot", "e2e", "goodput"}
    assert parts <= set(_settings(call))
    assert [part for part in sorted(parts) if f"{part}=" not in PAGE] == []


def test_the_limits_of_the_client_are_those_of_the_rule() -> None:
    (median,) = [row for row in ROWS if row.startswith("| median lag")]
    (tail,) = [row for row in ROWS if row.startswith("| p99 of that lag")]
    (cpu,) = [row for row in ROWS if row.startswith("| CPU time over wall time")]
    share = f"{client.MOST_LAG_SHARE * 100:g} % of the median TTFT"
    assert f"{share}, or {client.LEAST_P50_S * 1e3:g} ms" in median
    assert f"{share}, or {client.LEAST_P99_S * 1e3:g} ms" in tail
    assert f"{client.MOST_CPU * 100:g} %" in cpu


def test_every_metric_of_a_server_is_named() -> None:
    names = [declared.name for declared in DECLARATIONS if declared in vars(ServedMetrics).values()]
    assert "goodput" in names
    assert [name for name in names if f"`{name}`" not in PAGE] == []


def _settings(call: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(call).parameters if name != "self"]

"""Margins and limits that let pass what they did not when the baseline was recorded."""

from __future__ import annotations

import pytest

from pytest_vllmperf.checking.loosened import loosened
from pytest_vllmperf.records.samples import Entry, Judging
from pytest_vllmperf.verdict import VerdictSettings
from tests.checking.test_settling import BASELINE

GATE = ("output_throughput", "ttft.p50", "weight_bytes")
MARGIN = "a wider margin than its baseline was recorded with: "
LIMIT = "a looser limit than its baseline was recorded with: "


def stored(
    margin: float = 0.05, margins: dict[str, float] | None = None, limits: dict[str, float] | None = None
) -> Entry:
    judging = Judging(gate=list(GATE[:2]), margin=margin, margins=margins or {}, limits=limits or {})
    return Entry(engine="e", workload={}, judging=judging, sessions=BASELINE[:1])


def now(
    margin: float = 0.05, margins: dict[str, float] | None = None, limits: dict[str, float] | None = None
) -> VerdictSettings:
    return VerdictSettings(GATE, margin, margins or {}, limits=limits or {})


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (stored(), now(), ()),
        (stored(0.1), now(0.05), ()),
        (stored(), now(0.1), (f"{MARGIN}5 % -> 10 % (output throughput, TTFT p50)",)),
        (stored(), now(margins={"ttft.p50": 0.5}), (f"{MARGIN}5 % -> 50 % (TTFT p50)",)),
        (stored(margins={"ttft.p50": 0.5}), now(0.1), (f"{MARGIN}5 % -> 10 % (output throughput)",)),
        (stored(), now(margins={"weight_bytes": 0.5}), ()),  # the baseline does not gate it: another line says so
        (stored(limits={"ttft.p99": 0.5}), now(limits={"ttft.p99": 0.5}), ()),
        (stored(limits={"ttft.p99": 0.5}), now(limits={"ttft.p99": 0.4}), ()),
        (
            stored(limits={"ttft.p99": 0.5}),
            now(limits={"ttft.p99": 0.6}),
            (f"{LIMIT}TTFT p99 at most 500 ms -> at most 600 ms",),
        ),
        (stored(limits={"ttft.p99": 0.5}), now(), (f"{LIMIT}TTFT p99 at most 500 ms -> no limit",)),
        (stored(limits={"output_throughput": 90}), now(limits={"output_throughput": 95}), ()),
        (
            stored(limits={"output_throughput": 90}),
            now(limits={"output_throughput": 80}),
            (f"{LIMIT}output throughput at least 90 tok/s -> at least 80 tok/s",),
        ),
    ],
)  # fmt: skip
def test_told(before: Entry, after: VerdictSettings, told: tuple[str, ...]) -> None:
    assert loosened(after, before) == told


def test_nothing_is_looser_than_nothing() -> None:
    assert loosened(now(9.0), None) == ()

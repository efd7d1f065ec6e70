"""`vllmperf check` and absolute limits: those that were recorded, and those of the command line."""

from __future__ import annotations

import json

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.records.samples import Judging
from tests.cli.conftest import GATE, HARD, Write, entry

KEPT = {"output_throughput": 500.0}
BROKEN = {"output_throughput": 2000.0}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["check", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def judging(limits: dict[str, float]) -> Judging:
    return Judging(gate=GATE, margin=0.05, limits=limits)


def test_a_limit_of_the_command_line_is_judged_beside_the_baseline(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry())
    code, out, _ = run(capsys, a, b, "--limit", "output_throughput=2000")
    assert code == 1
    assert out.startswith("test_x: BEYOND_LIMIT\n")
    assert "  BEYOND_LIMIT output throughput " in out
    assert "limit at least 2,000 tok/s · 3 engine starts" in out
    assert out.endswith("\n1 BEYOND_LIMIT\n")
    code, out, _ = run(capsys, a, b, "--limit", "output_throughput=500", "--limit", "ttft.p50=5")
    assert code == 0
    assert "  OK TTFT p50 " in out
    assert "limit at most 5 s" in out


def test_a_recorded_limit_counts_until_it_is_taken_away(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry(judging=judging(BROKEN)))
    code, out, _ = run(capsys, a, b)
    assert code == 1
    assert "  changed: limit of output_throughput: not set -> 2,000 tok/s" in out
    assert run(capsys, a, b, "--limit", "output_throughput=off")[0] == 0
    assert run(capsys, a, b, "--limit", "output_throughput=500")[0] == 0
    assert run(capsys, b, a)[0] == 0


def test_a_limit_that_is_no_longer_recorded_is_told(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry(judging=judging(KEPT))), write("b.json", test_x=entry())
    assert "  changed: limit of output_throughput: 500 tok/s -> not set" in run(capsys, a, b)[1]


def test_a_broken_limit_is_worse_than_other_hardware(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry())
    b = write("b.json", test_x=entry(hard={**HARD, "gpu": "other"}))
    assert run(capsys, a, b)[0] == run(capsys, a, b, "--limit", "output_throughput=500")[0] == 3
    code, out, _ = run(capsys, a, b, "--limit", "output_throughput=2000")
    assert code == 1
    assert "also NOT_COMPARABLE: gpu: NVIDIA H200 -> other" in " ".join(out.split())


def test_a_limit_on_what_was_not_measured_is_not_kept(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry())
    code, out, _ = run(capsys, a, b, "--limit", "goodput=0.9")
    assert code == 1
    assert "  INVALID goodput not measured" in out


def test_a_program_gets_them(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write("a.json", test_x=entry()), write("b.json", test_x=entry())
    _, out, _ = run(capsys, a, b, "--limit", "output_throughput=2000", "--json")
    found = json.loads(out)
    [limit] = found["checks"]["test_x"]["limits"]
    assert (found["exit_code"], limit["status"], limit["limit"]) == (1, "BEYOND_LIMIT", 2000)


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("ttft.p9=1", "--limit: no metric has the name 'ttft.p9'; did you mean 'ttft.p90'?"),
        ("ttft.p50", "--limit: 'ttft.p50' is no limit; write ttft.p99=0.5"),
        ("ttft.p50=-1", "--limit of ttft.p50: '-1' is not a number of at least 0"),
        ("goodput=95", "--limit: goodput is a share: its limit must be at most 1, not 95"),
        ("ttft.p50=1 ttft.p50=2", "--limit: gives ttft.p50 two limits"),
    ],
)
def test_a_limit_that_is_not_valid(write: Write, capsys: pytest.CaptureFixture[str], limit: str, words: str) -> None:
    a = write("a.json", test_x=entry())
    code, out, err = run(capsys, a, a, "--limit", limit)
    assert (code, out) == (2, "")
    assert words in err


def test_show_has_them(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    a = write("a.json", test_x=entry(judging=judging(KEPT)))
    assert cli.main(["baseline", "show", str(a)]) == 0
    assert "  limits: output throughput at least 500 tok/s" in capsys.readouterr().out

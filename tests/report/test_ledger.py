"""The VRAM ledger as text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_vllmperf.records.ledger import DeviceMemory, VramLedger
from pytest_vllmperf.report.ledger import ledger_lines

GIB, MIB = 2**30, 2**20
DEVICE = DeviceMemory(total=140 * GIB, used=126 * GIB, engine=125 * GIB, free=13 * GIB)
LEDGER = VramLedger(15 * GIB, 3 * GIB, 300 * MIB, GIB, 100 * GIB, 51_200, 819_200, 200.02, DEVICE)
UNKNOWN = VramLedger(None, None, None, None, None, None, None, None)


def rows(lines: list[str]) -> dict[str, str]:
    """The table's rows by their names."""
    return {name.strip(): size.strip() for name, _, size in (line.strip().partition("  ") for line in lines)}


def test_a_ledger_whole() -> None:
    assert ledger_lines("llama quantization=awq", LEDGER) == [
        "memory of llama quantization=awq",
        "  weights             15 GiB",
        "  peak activation  3,072 MiB",
        "  non-torch          300 MiB",
        "  CUDA graphs      1,024 MiB",
        "  KV cache           100 GiB",
        "  all of these     119.3 GiB",
        "  engine, by NVML    125 GiB",
        "  difference       5,844 MiB",
        "  other processes  1,024 MiB",
        "  headroom            13 GiB",
        "  device             140 GiB",
        "  51,200 KV blocks, 819,200 tokens, 200 requests of max_model_len at once",
    ]


def test_what_came_before_vllm_counted_comes_first() -> None:
    told = rows(ledger_lines("m", replace(LEDGER, at_start=3 * GIB))[1:])
    assert list(told)[:2] == ["context, NCCL", "weights"]
    assert (told["context, NCCL"], told["all of these"], told["difference"]) == ("2,048 MiB", "121.3 GiB", "3,796 MiB")


def test_a_difference_may_be_negative() -> None:
    less = replace(LEDGER, device=replace(DEVICE, engine=119 * GIB))
    assert rows(ledger_lines("m", less))["difference"] == "-300 MiB"


def test_without_a_device_there_is_nothing_of_nvmls() -> None:
    told = rows(ledger_lines("m", replace(LEDGER, device=None))[1:6])
    assert list(told) == ["weights", "peak activation", "non-torch", "CUDA graphs", "KV cache"]
    assert len(ledger_lines("m", replace(LEDGER, device=None))) == 7


def test_what_was_not_measured_says_so() -> None:
    assert set(rows(ledger_lines("m", UNKNOWN)[1:]).values()) == {"not measured"}
    assert len(ledger_lines("m", UNKNOWN)) == 6
    part = rows(ledger_lines("m", replace(LEDGER, peak_activation=None)))
    unknown = [name for name, size in part.items() if size == "not measured"]
    assert unknown == ["peak activation", "all of these", "difference"]
    hidden = rows(ledger_lines("m", replace(LEDGER, device=replace(DEVICE, engine=None))))
    assert [name for name, size in hidden.items() if size == "not measured"] == [
        "engine, by NVML", "difference", "other processes"
    ]  # fmt: skip


def test_nothing_is_told_as_nothing() -> None:
    assert rows(ledger_lines("m", replace(LEDGER, cuda_graphs=0)))["CUDA graphs"] == "0 B"


@pytest.mark.parametrize(
    ("blocks", "tokens", "concurrency", "told"),
    [
        (1, 16, 0.5, "1 KV block, 16 tokens, 0.5 requests of max_model_len at once"),
        (None, 1000, None, "1,000 tokens"),
        (7, None, 12.345, "7 KV blocks, 12.35 requests of max_model_len at once"),
        (None, None, 4321.5, "4,322 requests of max_model_len at once"),
    ],
)
def test_capacity(blocks: int | None, tokens: int | None, concurrency: float | None, told: str) -> None:
    known = replace(LEDGER, kv_blocks=blocks, kv_tokens=tokens, max_concurrency=concurrency)
    assert ledger_lines("m", known)[-1] == f"  {told}"


def test_nothing_is_wider_than_80_columns() -> None:
    large = VramLedger(
        *(2**47 + 1,) * 5, 123_456_789, 12_345_678_912, 123_456.7, DeviceMemory(2**50, 2**49 + 1, 2**48 + 1, 2**49 - 1)
    )
    lines = ledger_lines("llama-3-70b " + " ".join(f"argument_{n}=value" for n in range(9)), large)
    assert max(map(len, lines)) <= 80
    text = " ".join(line.strip() for line in lines)
    assert "argument_8=value weights" in text
    assert text.endswith("123,456,789 KV blocks, 12,345,678,912 tokens, 123,457 requests of max_model_len at once")

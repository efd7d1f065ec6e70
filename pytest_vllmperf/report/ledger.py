"""The VRAM ledger as text: where a device's memory went, and what NVML sees beyond that."""

from __future__ import annotations

from tabulate import tabulate

from pytest_vllmperf.records.ledger import VramLedger
from pytest_vllmperf.report import units
from pytest_vllmperf.report.verdicts import folded


def ledger_rows(ledger: VramLedger) -> list[tuple[str, int | None]]:
    """What an engine's memory is used for, in bytes, in the order of a table; None for what was not told."""
    rows = [
        ("weights", ledger.weights),
        ("peak activation", ledger.peak_activation),
        ("non-torch", ledger.non_torch),
        ("CUDA graphs", ledger.cuda_graphs),
        ("KV cache", ledger.kv_cache),
    ]
    if ledger.before is not None:
        rows.insert(0, ("context, NCCL", ledger.before))
    if ledger.device is not None:
        rows += [
            ("all of these", ledger.accounted),
            ("engine, by NVML", ledger.device.engine),
            ("difference", ledger.difference),
            ("other processes", ledger.others),
            ("headroom", ledger.headroom),
            ("device", ledger.device.total),
        ]
    return rows


def ledger_lines(engine: str, ledger: VramLedger) -> list[str]:
    """One engine's ledger; what was not told says so.

    Args:
        engine: for a person.
        ledger: where its memory went.
    """
    table = tabulate(
        [(name, _size(held)) for name, held in ledger_rows(ledger)],
        tablefmt="plain", colalign=("left", "right"), disable_numparse=True,
    )  # fmt: skip
    told = [*(f"  {line}" for line in table.splitlines()), *folded(f"  {capacity(ledger)}")]
    return [*folded(f"memory of {engine}"), *told]


def _size(held: int | None) -> str:
    return units.NOT_MEASURED if held is None else units.size(held)


def capacity(ledger: VramLedger) -> str:
    """What the KV cache has room for, in words; empty where nobody told."""
    known = []
    if ledger.kv_blocks is not None:
        known.append(units.many(ledger.kv_blocks, "KV block"))
    if ledger.kv_tokens is not None:
        known.append(f"{units.count(ledger.kv_tokens)} tokens")
    if ledger.max_concurrency is not None:
        known.append(f"{units.count(ledger.max_concurrency)} requests of max_model_len at once")
    return ", ".join(known)

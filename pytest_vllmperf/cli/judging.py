"""What commands that judge have in common: files that must be there, and how they are judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_vllmperf.checking import policy
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import resolve_gate
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.records.settings import DEFAULTS
from pytest_vllmperf.storage.baselines import BaselineFile, load
from pytest_vllmperf.verdict import VerdictSettings
from pytest_vllmperf.verdict.words import gate_words, margins


def read(path: Path) -> BaselineFile:
    """A file that has to exist.

    Raises:
        BaselineError: when it does not, or cannot be read.
    """
    if not path.is_file():
        raise BaselineError(f"{path}: there is no such file")
    return load(path)


def settings(entries: Sequence[Entry], gate: str, margin: str) -> list[VerdictSettings]:
    """How to judge each of these checks; `auto` means what it means on the device that each was measured on.

    Args:
        entries: stored checks that are judged together.
        gate: words, as for `--vllmperf-gate`.
        margin: as for `--vllmperf-margin`.

    Raises:
        SpecError: for a gate or a margin that is not valid.
    """
    words = gate_words("--gate", gate)
    general, by_metric = margins("--margin", margin)
    gates = [resolve_gate(words, entry.sessions[-1].environment.hard.get("device", "")) for entry in entries]
    a_fail = policy.a_fail(policy.gated_metrics(gates))
    common = DEFAULTS.margin if general is None else general
    assert common is not None
    return [VerdictSettings(names, common, by_metric, a_fail=a_fail) for names in gates]

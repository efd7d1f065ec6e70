"""How many metrics a run gates: the more there are, the surer each REGRESSED has to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vllmperf.checking import policy
from pytest_vllmperf.metrics.table import resolve_gate
from pytest_vllmperf.records.ids import CheckId
from pytest_vllmperf.storage.baselines import BaselineStore


@dataclass(frozen=True)
class GatedTest:
    """One collected performance test.

    Attributes:
        module: its path, as in the node id.
        name: the rest of the node id.
        gate: the words of its gate.
    """

    module: str
    name: str
    gate: tuple[str, ...]


def gated_metrics(tests: Sequence[GatedTest], store: BaselineStore, profile: str, device: str) -> int:
    """How many metrics that noise can move are gated by the stored checks of these tests.

    A gate given to `check()` itself is not known before its test has run, and counts as its test's.

    Args:
        tests: all that the run collected.
        store: where the baselines lie.
        profile: whose baselines.
        device: what `auto` means.

    Raises:
        BaselineError: for a file that cannot be read.
    """
    total = 0
    for module in sorted({test.module for test in tests}):
        gates = {test.name: test.gate for test in tests if test.module == module}
        for name in store.read(profile, module).tests:
            gate = resolve_gate(gates.get(CheckId.parse(module, name).test.name, ()), device)
            total += policy.gated_metrics([gate])
    return total

"""How many metrics a run gates: the more there are, the surer each REGRESSED has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vllmperf.checking import policy
from pytest_vllmperf.checking.custom import known_words
from pytest_vllmperf.metrics.gates import Gate
from pytest_vllmperf.metrics.table import IF_MEASURED, resolve_gate
from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.storage.baselines import BaselineStore


@dataclass(frozen=True)
class GatedTest:
    """One collected performance test.

    Attributes:
        module: its path, as in the node id.
        name: the rest of the node id.
        gate: the words of its gate.
        in_turns: whether it is measured in turns with a reference, and so judged without a stored baseline.
    """

    module: str
    name: str
    gate: tuple[str, ...]
    in_turns: bool = False


class GatedRun:
    """What a run gates, on each kind of hardware that it meets.

    Args:
        store: where the baselines lie.
    """

    def __init__(self, store: BaselineStore) -> None:
        self._store = store
        self._tests: list[GatedTest] = []
        self._in_turns: set[TestId] = set()
        self._foreseen: dict[tuple[str, str], Counter[TestId]] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._made: dict[tuple[str, str], dict[TestId, set[str]]] = {}

    def add(self, test: GatedTest) -> None:
        """Take in a collected test, before anything is measured."""
        self._tests.append(test)
        if test.in_turns:
            self._in_turns.add(TestId(test.module, test.name))

    def metrics(self, check: CheckId, profile: str, device: str, gate: Sequence[str]) -> int:
        """How many metrics that noise can move are gated by the checks of this run, this one included.

        A gate given to `check()` itself is not known before its test has run, and counts as its test's. Of a test that
        is measured in turns, checks that are not stored are not foreseen beyond the first: each is added once it is
        made.

        Args:
            check: which check asks.
            profile: whose baselines.
            device: what `auto` means.
            gate: names of the metrics that this check gates.

        Raises:
            BaselineError: for a file that cannot be read.
        """
        place = (profile, device)
        if place not in self._foreseen:
            self._foreseen[place], self._counts[place] = self._foresee(profile, device)
        made = self._made.setdefault(place, {}).setdefault(check.test, set())
        if check.test in self._in_turns and check.name not in made:
            made.add(check.name)
            if len(made) > self._foreseen[place][check.test]:
                self._counts[place] += policy.gated_metrics([gate])
        return self._counts[place]

    def _foresee(self, profile: str, device: str) -> tuple[Counter[TestId], int]:
        """How many checks each collected test will be judged by, and how many metrics these gate.

        What a set holds only where it was measured counts where the baseline gates it. Without one, the GPU's own time
        counts on every GPU: a number that is too large only makes a REGRESSED surer.
        """
        likely = IF_MEASURED[Gate.DEVICE.word] if device.startswith("cuda") else ()
        words = {TestId(test.module, test.name): tuple(known_words(test.gate)) for test in self._tests}
        gates: dict[TestId, list[Sequence[str]]] = {
            test: [resolve_gate(words[test], device, likely)] if test in self._in_turns else [] for test in words
        }
        for module in sorted({test.module for test in self._tests}):
            found: dict[TestId, list[Sequence[str]]] = {}
            for name, entry in self._store.read(profile, module).tests.items():
                test = CheckId.parse(module, name).test
                if test in gates:
                    found.setdefault(test, []).append(resolve_gate(words[test], device, entry.judging.gate))
            gates |= found
        checks = Counter({test: len(each) for test, each in gates.items() if each})
        return checks, sum(policy.gated_metrics(each) for each in gates.values())

"""Which series of a history are shown. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pytest_vllmperf.errors import SpecError, did_you_mean
from pytest_vllmperf.metrics.table import GATES, IF_MEASURED, METRICS
from pytest_vllmperf.records.custom import plain_name
from pytest_vllmperf.records.trends import Declared, SeriesId

GATED: Final = "gated"
OWN: Final = "own"
ALL: Final = "all"
DEFAULT: Final = (GATED, "clock", OWN)
"""What decides a check, what users feel, and metrics of tests of their own."""


@dataclass(frozen=True)
class Choice:
    """What is to be shown.

    Attributes:
        words: names of metrics, and the sets `gated`, `own`, `all` and those of a gate. A metric of a test has the
            name that the test calls it by.
        test: a part of the name of a test or check; empty for all.
        profile: a kind of hardware; empty for all.
    """

    words: tuple[str, ...] = DEFAULT
    test: str = ""
    profile: str = ""

    def concerns(self, one: SeriesId) -> bool:
        """Whether a series is of the chosen tests and hardware."""
        return self.test in f"{one.test} # {one.check}" and self.profile in ("", one.profile)


class Metrics:
    """The metrics that words name.

    Args:
        words: as in `Choice`.
        stored: the metrics of the history.

    Raises:
        SpecError: for a word that names none.
    """

    def __init__(self, words: Sequence[str], stored: Sequence[str]) -> None:
        self._words = set(words)
        self._names: set[str] = set()
        own: dict[str, set[str]] = {}  # two tests may declare one name differently
        for name in stored:
            own.setdefault(plain_name(name), set()).add(name)
        for word in words:
            if word in GATES:
                self._names.update(GATES[word], IF_MEASURED[word])
            elif word in METRICS or word in own:
                self._names.update({word}, own.get(word, ()))
            elif word not in (GATED, OWN, ALL):
                known = list(dict.fromkeys([GATED, OWN, ALL, *GATES, *METRICS, *own]))
                raise SpecError(f"--metrics: no metric or set is called {word!r}{did_you_mean(word, known)}; "
                                f"sets: {', '.join([GATED, OWN, ALL, *GATES])}")  # fmt: skip

    def include(self, name: str, metric: Declared) -> bool:
        """Whether a metric is to be shown."""
        return (
            ALL in self._words
            or name in self._names
            or (GATED in self._words and metric.gated)
            or (OWN in self._words and _is_of_a_test(name))
        )


def _is_of_a_test(name: str) -> bool:
    """Whether a metric is not declared by this package; one of an older release counts as such."""
    return name not in METRICS or METRICS[name].custom

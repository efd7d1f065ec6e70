"""What all baselines of a profile together say of its noise: a metric of three engines alone says too little."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_vllmperf.lab.environment import hardware
from pytest_vllmperf.records.samples import Entry, Session
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.verdict.comparability import mixed
from pytest_vllmperf.verdict.priors import Priors, fit_priors


def histories(entries: Iterable[Entry], hard: Mapping[str, str]) -> list[Sequence[Session]]:
    """The sessions of each check that was recorded on one kind of hardware.

    An entry whose own sessions are of several is left out: what it varies by is not noise.

    Args:
        entries: stored checks of one profile.
        hard: hard keys of what is judged.
    """
    wanted = hardware(hard)
    alike = [one for one in entries if hardware(one.sessions[-1].environment.hard) == wanted]
    return [one.sessions for one in alike if not mixed(one.sessions)]


class Fitted:
    """Hyperparameters, fitted once for each kind of hardware among stored checks of one profile.

    Args:
        entries: the stored checks.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._entries = tuple(entries)
        self._priors: dict[frozenset[tuple[str, str]], Priors] = {}

    def priors(self, hard: Mapping[str, str]) -> Priors:
        """Those for what has these hard keys."""
        kind = frozenset(hardware(hard).items())
        if kind not in self._priors:
            self._priors[kind] = fit_priors(histories(self._entries, hard))
        return self._priors[kind]


class History:
    """The hyperparameters of every profile of a run. The files of a profile are read once, when they are first needed.

    What another run writes meanwhile does not matter: one session more hardly moves them.

    Args:
        store: of the baselines.
    """

    def __init__(self, store: BaselineStore) -> None:
        self._store = store
        self._fitted: dict[str, Fitted] = {}

    def priors(self, profile: str, hard: Mapping[str, str]) -> Priors:
        """The hyperparameters for a measurement.

        Args:
            profile: whose baselines.
            hard: its hard keys.

        Raises:
            BaselineError: for a file of the profile that cannot be read.
        """
        if profile not in self._fitted:
            self._fitted[profile] = Fitted(self._store.entries(profile))
        return self._fitted[profile].priors(hard)

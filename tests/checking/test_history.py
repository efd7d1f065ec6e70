"""Which stored sessions the noise of a profile is fitted on, and how often."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vllmperf.checking import history
from pytest_vllmperf.checking.history import Fitted, History, histories
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.stats.prior import WALL_CLOCK
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from pytest_vllmperf.verdict.priors import Priors

H200 = {"device": "cuda", "gpu": "NVIDIA H200", "model": "a", "workload": "w", "backend": "vllm"}
H100 = {**H200, "gpu": "NVIDIA H100"}
OTHER_WORK = {**H200, "model": "b", "workload": "v", "backend": "transformers"}


def entry(*hard: dict[str, str]) -> Entry:
    engines = [EngineSamples(discarded=0, iterations=1, samples={"tpot.p50": [0.1]})]
    sessions = [Session(recorded="", environment=Environment(hard=one, soft={}), engines=engines) for one in hard]
    return Entry(engine="e", workload={}, judging=Judging(gate=["tpot.p50"], margin=0.05), sessions=sessions)


class Fit:
    """Stands where the statistics are; notes the sessions of each history that it is asked about."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, found: Sequence[Sequence[Session]]) -> Priors:
        self.asked.append([len(sessions) for sessions in found])
        return {MetricClass.LATENCY: WALL_CLOCK}


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Fit:
    made = Fit()
    monkeypatch.setattr(history, "fit_priors", made)
    return made


def test_only_what_was_recorded_on_the_same_hardware_counts() -> None:
    entries = [entry(H200), entry(OTHER_WORK, OTHER_WORK), entry(H100), entry(H100, H200), entry(H200, H100)]
    assert histories(entries, H200) == [entries[0].sessions, entries[1].sessions]
    assert histories(entries, H100) == [entries[2].sessions]
    assert histories([], H200) == []


def test_each_kind_of_hardware_is_fitted_once(fit: Fit) -> None:
    fitted = Fitted(iter([entry(H200), entry(H100, H100)]))
    assert fitted.priors(H200) == fitted.priors(OTHER_WORK) == {MetricClass.LATENCY: WALL_CLOCK}
    fitted.priors(H100)
    assert fit.asked == [[1], [2]]


def test_the_files_of_a_profile_are_read_once(fit: Fit, tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    store.write("h200", "test_a.py", Changes({"test_a": entry(H200)}))
    store.write("h200", "tests/test_b.py", Changes({"test_b": entry(H200, H200), "test_c": entry(H200, H200, H200)}))
    store.write("h100", "test_a.py", Changes({"test_a": entry(*[H100] * 4)}))
    run = History(store)
    run.priors("h200", H200)
    store.write("h200", "test_a.py", Changes({"test_d": entry(H200)}))
    run.priors("h200", H200)
    run.priors("h100", H100)
    run.priors("a100", H100)
    assert [sorted(lengths) for lengths in fit.asked] == [[1, 2, 3], [4], []]


def test_a_damaged_file_of_the_profile_is_one_line(tmp_path: Path) -> None:
    store = BaselineStore(tmp_path)
    path = store.write("h200", "test_a.py", Changes({"test_a": entry(H200)})).path
    path.write_text(path.read_text()[:-20])
    with pytest.raises(BaselineError, match=r"test_a\.json: not JSON, or truncated"):
        History(store).priors("h200", H200)

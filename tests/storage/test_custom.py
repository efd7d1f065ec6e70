"""Baseline files with custom metrics: read back as written, and refused in one line where they are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from tests.records.test_custom import DECLARED
from tests.storage.conftest import JUDGING, MODULE, entry, session

STEPS = "steps [ms, lower]"
positive = st.floats(1e-9, 1e9)
recordings = st.dictionaries(DECLARED.map(lambda one: one.key), st.lists(positive, min_size=1, max_size=3), max_size=3)


def holding(recorded: dict[str, list[float]], **judging: Any) -> Entry:
    one = session()
    engines = [one.engines[0].model_copy(update={"recorded": recorded})]
    update = {"sessions": [one.model_copy(update={"engines": engines})], "judging": JUDGING.model_copy(update=judging)}
    return entry().model_copy(update=update)


@settings(max_examples=40)
@given(recordings, st.data())
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, recorded: dict[str, list[float]], data: st.DataObject
) -> None:
    store = BaselineStore(tmp_path_factory.mktemp("store"))
    some = st.lists(st.sampled_from(sorted(recorded)), unique=True) if recorded else st.just([])
    gate, limited = data.draw(some), data.draw(some)
    stored = holding(
        recorded,
        gate=["output_throughput", *gate],
        margins=dict.fromkeys(gate, 0.1),
        limits=dict.fromkeys(limited, 5.0),
    )
    store.write("h200", MODULE, Changes({"test_a": stored}))
    assert BaselineStore(store.root).read("h200", MODULE).tests == {"test_a": stored}


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"steps": [1.0]}, "test_a: steps: session 1, engine 1: no metric has this name"),
        ({"steps [ms, up]": [1.0]}, "no metric has this name"),
        ({"output_throughput": [1.0]}, "output_throughput: session 1, engine 1: only custom metrics are recorded ones"),
        ({STEPS: [0.0]}, "session 1, engine 1, sample 1: 0.0 is not a positive finite number"),
        ({STEPS: [1.0, -1.0]}, "sample 2: -1.0 is not a positive finite number"),
        ({STEPS: [float("nan")]}, "nan is not a positive finite number"),
        ({"builds [lower, exact]": [-1.0]}, "-1.0 is not a finite number of at least 0"),
        ({STEPS: []}, "0 samples, but the file lists 1 values"),
    ],
)
def test_damaged_values_are_refused(store: BaselineStore, recorded: dict[str, list[float]], words: str) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tests"]["test_a"]["sessions"][0]["engines"][0]["recorded"] = recorded
    refused(store, path, content, words)


@pytest.mark.parametrize("where", ["gate", "margins", "limits"])
def test_a_name_that_declares_nothing_is_refused(store: BaselineStore, where: str) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tests"]["test_a"]["judging"][where] = ["steps"] if where == "gate" else {"steps": 0.1}
    refused(store, path, content, "test_a: judging: no metric has the name 'steps'")


def test_a_custom_metric_is_none_of_the_samples(store: BaselineStore) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
    content = json.loads(path.read_text(encoding="utf-8"))
    content["tests"]["test_a"]["sessions"][0]["engines"][0]["samples"] = {STEPS: [1.0, 1.0]}
    refused(store, path, content, "only custom metrics are recorded ones, and the other way round")


def refused(store: BaselineStore, path: Path, content: Any, words: str) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BaselineError) as caught:
        store.read("h200", MODULE)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)

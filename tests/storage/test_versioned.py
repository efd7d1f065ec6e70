"""Files with a schema and a version: what is written is read back, and what is broken is named in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.metrics.validation import LARGEST, SMALLEST
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.storage.baselines import BaselineFile, BaselineStore, Changes, load
from pytest_vllmperf.storage.versioned import dumps
from tests.storage.conftest import MODULE, entry

relaxed = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(SMALLEST, LARGEST)
names = st.sampled_from(sorted(METRICS))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | numbers | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
strings = st.dictionaries(text, text, max_size=3)


@st.composite
def engines(draw: st.DrawFn) -> EngineSamples:
    """Samples that an engine could have shown: positive, and as many of each as there were iterations."""
    iterations, discarded = draw(st.integers(1, 3)), draw(st.integers(0, 2))

    def lists(size: int) -> st.SearchStrategy[dict[str, list[float]]]:
        return st.dictionaries(names, st.lists(positive, min_size=size, max_size=size), max_size=3)

    return EngineSamples(
        cold_start=draw(st.booleans()),
        iterations=iterations,
        discarded=discarded,
        warmup=draw(lists(discarded)),
        samples=draw(lists(iterations)),
        once=draw(st.dictionaries(names, positive, max_size=3)),
        ttft_by_request=draw(st.lists(positive, max_size=4)),
    )


sessions = st.builds(
    Session,
    recorded=text,
    environment=st.builds(Environment, hard=strings, soft=strings),
    engines=st.lists(
        engines(),
        min_size=1,
        max_size=2,
    ),
)
margins = st.floats(0, allow_infinity=False, allow_nan=False)
judgings = st.builds(
    Judging,
    gate=st.lists(names, min_size=1, max_size=3, unique=True),
    margin=margins,
    margins=st.dictionaries(names, margins, max_size=2),
)
entries = st.builds(
    Entry,
    engine=text,
    workload=st.dictionaries(text.filter(lambda key: key != "count"), json_values, max_size=3),
    judging=judgings,
    reason=text,
    sessions=st.lists(sessions, min_size=1, max_size=2),
)
files = st.builds(BaselineFile, tests=st.dictionaries(text, entries, max_size=2))


def test_a_number_that_no_float_holds_exactly_is_read_back(tmp_path: Path) -> None:
    engine = EngineSamples(discarded=0, iterations=1, samples={}, ttft_by_request=[2.0**53 - 1, 2.0**53, 1e18])
    entry = Entry(
        engine="", workload={}, judging=Judging(gate=["ttft.p50"], margin=0.1),
        sessions=[Session(recorded="", environment=Environment(hard={}, soft={}), engines=[engine])],
    )  # fmt: skip
    path = tmp_path / "file.json"
    path.write_text(dumps(BaselineFile(tests={"test_a": entry})), encoding="utf-8")
    assert "[9007199254740991, 9007199254740992.0, 1e+18]" in path.read_text(encoding="utf-8")
    assert load(path).tests == {"test_a": entry}


@relaxed
@given(files)
def test_what_is_written_is_read_back(tmp_path: Path, file: BaselineFile) -> None:
    path = tmp_path / "file.json"
    path.write_text(dumps(file), encoding="utf-8")
    assert load(path) == file
    assert dumps(load(path)) == path.read_text(encoding="utf-8")


@relaxed
@given(files)
def test_the_text_is_plain_json_with_sorted_keys(file: BaselineFile) -> None:
    shown = dumps(file)
    assert shown.endswith("}\n")

    def is_sorted(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert [key for key, _ in found] == sorted(key for key, _ in found)
        return dict(found)

    assert json.loads(shown, object_pairs_hook=is_sorted)["schema"] == "pytest-vllmperf/baseline"


def test_a_file_can_be_reviewed() -> None:
    shown = dumps(BaselineFile(tests={"test_a": entry()}))
    lines = [line.strip() for line in shown.splitlines()]
    assert '"output_throughput": [1, 1.5]' in lines
    assert '"load_time": 2' in lines
    assert '"version": 6' in lines


WHOLE = dumps(BaselineFile(tests={"test_a": entry()}))


def changed(**keys: Any) -> str:
    return json.dumps({**json.loads(WHOLE), **keys})


def with_entry(**keys: Any) -> str:
    content = json.loads(WHOLE)
    content["tests"]["test_a"].update(keys)
    return json.dumps(content)


def with_samples(samples: Any) -> str:
    content = json.loads(WHOLE)
    content["tests"]["test_a"]["sessions"][0]["engines"][0]["samples"] = samples
    return json.dumps(content)


BROKEN = {
    "empty": (b"", "not JSON"),
    "cut short": (WHOLE[: len(WHOLE) // 2].encode(), "truncated"),
    "merge conflict": (b"<<<<<<< HEAD\n" + WHOLE.encode(), "not JSON"),
    "not text": (b"\xff\xfe\x00", "cannot be read"),
    "a list": (b"[]", "schema is None"),
    "null": (b"null", "schema is None"),
    "no schema": (b"{}", "schema is None"),
    "other schema": (changed(schema="someone-else/report").encode(), "'someone-else/report'"),
    "newer": (changed(version=7, new_field={}).encode(), "newer pytest-vllmperf (schema version 7"),
    "older": (changed(version=1).encode(), "schema version 1 is not 6; record it again with: pytest --vllmperf-update"),
    "damaged, of the version before": (changed(version=5, tests=[]).encode(), "tests: "),
    "damaged, of an older one": (changed(version=3, tests=[]).encode(), "tests: "),
    "less than none dropped": (WHOLE.replace('"dropped": 0', '"dropped": -1').encode(), "sessions.0.dropped: "),
    "no version": (changed(version=None).encode(), "schema version None"),
    "version as text": (changed(version="2").encode(), "schema version '2'"),
    "tests as a list": (changed(tests=[]).encode(), "tests: "),
    "unknown key": (changed(comment="hello").encode(), "comment: "),
    "entry without sessions": (with_entry(sessions=[]).encode(),
                               "tests.test_a.sessions: "),
    "entry without a gate": (with_entry(judging={"gate": [], "margin": 0.05}).encode(), "tests.test_a.judging.gate: "),
    "entry that forgot": (with_entry(judging=None).encode(), "tests.test_a.judging: "),
    "a gate of no name": (with_entry(judging={"gate": ["speed"], "margin": 0.05}).encode(),
                          "test_a: judging: no metric has the name 'speed'"),
    "a margin of no name": (with_entry(judging={"gate": ["ttft.p50"], "margin": 0.05, "margins": {"x": 1}}).encode(),
                            "test_a: judging: no metric has the name 'x'"),
    "a margin below zero": (with_entry(judging={"gate": ["ttft.p50"], "margin": -1}).encode(), "judging.margin: "),
    "a margin that is no number": (with_entry(judging={"gate": ["ttft.p50"], "margin": float("nan")}).encode(),
                                   "judging.margin: "),
    "samples as text": (with_samples({"ttft.p50": ["fast"]}).encode(), "samples.ttft.p50.0: "),
    "samples not finite": (with_samples({"ttft.p50": [float("nan"), 0.1]}).encode(),
                           "test_a: ttft.p50: session 1, engine 1, sample 1: nan is not a positive finite number"),
    "samples of another count": (with_samples({"ttft.p50": [0.1, 0.2, 0.3]}).encode(),
                                 "test_a: ttft.p50: session 1, engine 1: 3 samples, but the file lists"),
    "a metric of no name": (with_samples({"speed": [0.1, 0.2]}).encode(), "no metric has this name"),
    "samples missing": (with_samples(None).encode(), "samples: "),
}  # fmt: skip


@pytest.mark.parametrize(("content", "named"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_in_one_line_and_left_alone(
    store: BaselineStore, tmp_path: Path, content: bytes, named: str
) -> None:
    (tmp_path / MODULE).parent.mkdir()
    (tmp_path / MODULE).touch()
    path = store.path("h200", MODULE)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for attempt in (
        lambda: store.read("h200", MODULE),
        lambda: store.validate(tmp_path),
        lambda: store.write("h200", MODULE, Changes({"test_b": entry()}, removed=["test_a"])),
    ):
        with pytest.raises(BaselineError) as caught:
            attempt()
        message = str(caught.value)
        assert message.startswith(f"{path}: ")
        assert named in message
        assert "\n" not in message
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@relaxed
@given(st.integers(0, len(WHOLE) - 2))
def test_no_part_of_a_file_passes_for_the_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "part.json"
    path.write_text(WHOLE[:length], encoding="utf-8")
    with pytest.raises(BaselineError):
        load(path)

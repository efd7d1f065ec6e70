"""Which format a file is of, and that nothing in a file brings down more than its own import."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import ReportError
from pytest_vllmperf.interchange import formats
from pytest_vllmperf.interchange.entries import Named, Wanted, entry
from pytest_vllmperf.metrics.validation import check_engine
from tests.interchange.material import REPORTS, content, encoded, stored

KINDS = {
    "vllm": ["vllm-detailed-1.json", "vllm-summary.json", "vllm-rust-1.json", "vllm-failed.json"],
    "guidellm": ["guidellm-1.json", "guidellm-failed.json"],
    "aiperf": ["aiperf-1/profile_export_aiperf.json", "aiperf-1/profile_export.jsonl"],
    "inference-perf": [
        "inference-perf-1/summary_lifecycle_metrics.json",
        "inference-perf-1/stage_0_lifecycle_metrics.json",
        "inference-perf-1/per_request_lifecycle_metrics.json",
    ],
}
WANTED = Wanted(None, 0.05, {}, frozenset({"failed", "few"}), model="m")


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in KINDS.items() for name in names])
def test_each_is_recognised_by_its_own_format_alone(kind: str, name: str) -> None:
    assert formats.read([content(name)]) == formats.read([content(name)], kind)
    for other in set(formats.FORMATS) - {kind}:
        with pytest.raises(ReportError, match=r"not a report of .*; formats: auto; "):
            formats.read([content(name)], other)


def test_every_report_that_is_kept_is_recognised() -> None:
    for file in (file for file in REPORTS.rglob("*") if file.is_file()):
        assert formats.read([file.read_bytes()])


@pytest.mark.parametrize("text", ["{}", "[]", "7", "null", '"text"', '{"benchmarks": []}', '[{"a": 1}]', "{} {}"])
def test_what_is_of_no_kind_names_the_kinds(text: str) -> None:
    with pytest.raises(ReportError) as error:
        formats.read([text.encode()])
    for name in formats.FORMATS:
        assert f"{name} (" in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"duration: 7", "not JSON, or truncated: Expecting value in line 1"),
        (b'{"a": 1}\n{"b":', "not JSON, or truncated: Expecting value in line 2"),
        (b"\xff\xfe", "not JSON: byte 0 is not UTF-8"),
        (b"[" * 100_000, "cannot be read: "),
        (b"9" * 5000, "cannot be read: "),
    ],
)
def test_what_is_no_json_is_said_in_one_line(text: bytes, words: str) -> None:
    with pytest.raises(ReportError) as error:
        formats.read([text])
    assert str(error.value).startswith(words)
    assert "\n" not in str(error.value)


def test_a_mark_of_the_byte_order_is_none_of_the_text() -> None:
    assert formats.read([b"\xef\xbb\xbf" + content("vllm-summary.json")])


def test_appended_results_are_several_runs() -> None:
    names = [f"vllm-detailed-{number}.json" for number in (1, 2, 3)]
    reports = formats.read([b"\n".join(map(content, names))])
    assert reports == [formats.read([content(name)])[0] for name in names]
    with pytest.raises(ReportError, match=r"^run 2\.completed: -1 is not a finite number"):
        formats.read([encoded(stored(names[0]), {**stored(names[1]), "completed": -1})])


def test_files_of_a_folder_are_found_by_name() -> None:
    assert formats.parts(["logs", "profile_export.jsonl", "profile_export_aiperf.json"]) == [
        "profile_export_aiperf.json",
        "profile_export.jsonl",
    ]
    assert formats.parts(["config.yaml", "stage_0_lifecycle_metrics.json", "summary_lifecycle_metrics.json"]) == [
        "summary_lifecycle_metrics.json"
    ]
    assert formats.parts(["a.json"]) == []


@pytest.mark.parametrize("name", [names[0] for names in KINDS.values()])
def test_a_file_that_is_cut_anywhere_is_refused(name: str) -> None:
    whole = content(name).rstrip()
    for end in range(1, len(whole), max(len(whole) // 40, 1)):
        with pytest.raises(ReportError):
            formats.read([whole[:end]])


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(allow_nan=True), st.text(max_size=5),
    st.lists(st.integers(-1, 3), max_size=3), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    return [place for key in keys for place in ((value, key), *places(value[key]))]


@pytest.mark.parametrize("name", [name for names in KINDS.values() for name in names if name.endswith("json")])
@settings(max_examples=60)
@given(data=st.data())
def test_any_value_anywhere_is_taken_or_refused_in_one_line(name: str, data: st.DataObject) -> None:
    report = stored(name)
    for _ in range(data.draw(st.integers(1, 3))):
        container, key = data.draw(st.sampled_from(places(report)))
        container[key] = data.draw(ODD)
    try:
        runs = formats.read([json.dumps(report).encode()])
        made = entry([Named(f"run {at}", one) for at, one in enumerate(runs)], WANTED)
    except ReportError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either is right; a traceback is not
    else:
        for engine in made.sessions[0].engines:
            check_engine(engine)

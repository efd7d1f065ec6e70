"""The baseline store: a file is whole, or it is what it was before."""

import errno
import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.storage import baselines as baseline
from pytest_vllmperf.storage.baselines import BaselineFile, BaselineStore, Changes, load
from pytest_vllmperf.storage.versioned import dumps

relaxed = settings(
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)

MODULE = "tests/test_chat.py"


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks lie in the temporary folder; keep them out of everybody else's."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture
def store(tmp_path: Path) -> BaselineStore:
    return BaselineStore(tmp_path / "baselines")


def session(value: float = 1.0) -> Session:
    return Session(
        recorded="2026-01-01T00:00:00+00:00",
        environment=Environment(hard={"gpu": "H200"}, soft={"driver": "565"}),
        engines=[
            EngineSamples(
                discarded=0, iterations=2, samples={"output_throughput": [value, value + 0.5]}, once={"load_time": 2.0}
            )
        ],
    )


JUDGING = Judging(gate=["output_throughput"], margin=0.05, margins={"ttft.p50": 0.1})


def entry(value: float = 1.0, judging: Judging = JUDGING) -> Entry:
    workload = {"kind": "synthetic", "count": 4}
    return Entry(engine="llama", workload=workload, judging=judging, sessions=[session(value)])


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False).filter(lambda x: x < 1e300)
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
    assert '"version": 2' in lines


def test_without_a_file_nothing_is_stored(store: BaselineStore) -> None:
    assert store.read("h200", MODULE) == BaselineFile()
    assert store.modules() == []
    store.validate()
    assert not store.root.exists()


def test_entries_are_put_beside_those_that_are_there(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1), "test_b": entry(2)}))
    path = store.write("h200", MODULE, Changes({"test_b": entry(3), "test_c": entry(4)}))
    assert path == store.root / "h200" / "tests" / "test_chat.json"
    assert store.read("h200", MODULE).tests == {"test_a": entry(1), "test_b": entry(3), "test_c": entry(4)}


def test_stale_entries_are_taken_out_unless_they_are_written_now(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1), "test_b": entry(2), "test_c": entry(3)}))
    store.write("h200", MODULE, Changes({"test_c": entry(4)}, removed=["test_a", "test_c", "test_unknown"]))
    assert store.read("h200", MODULE).tests == {"test_b": entry(2), "test_c": entry(4)}


def test_profiles_and_modules_do_not_touch_each_other(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1)}))
    store.write("rtx-4090", MODULE, Changes({"test_a": entry(2)}))
    store.write("h200", "test_top.py", Changes({"test_a": entry(3)}))
    places = (("h200", MODULE), ("rtx-4090", MODULE), ("h200", "test_top.py"))
    assert [store.read(*place).tests["test_a"] for place in places] == [entry(1), entry(2), entry(3)]
    assert store.modules() == [("h200", "test_top"), ("h200", "tests/test_chat"), ("rtx-4090", "tests/test_chat")]


@pytest.mark.parametrize("module", ["../elsewhere/test_chat.py", "/elsewhere/test_chat.py"])
def test_a_module_outside_the_root_directory_keeps_its_profile(store: BaselineStore, module: str) -> None:
    path = Path(os.path.normpath(store.path("h200", module)))
    assert path.is_relative_to(store.root / "h200")


def test_nothing_but_the_file_is_left_in_the_repository(store: BaselineStore) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    store.write("h200", MODULE, Changes({"test_b": entry()}))
    assert [p for p in store.root.rglob("*") if p.is_file()] == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_writers_at_the_same_time_lose_nothing(store: BaselineStore) -> None:
    started = threading.Barrier(4)

    def write(number: int) -> None:
        started.wait()
        store.write("h200", MODULE, Changes({f"test_{number}": entry(number + 1)}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read("h200", MODULE).tests == {f"test_{number}": entry(number + 1) for number in range(4)}


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
    "cut short": (WHOLE[: len(WHOLE) // 2].encode(), "cut short"),
    "merge conflict": (b"<<<<<<< HEAD\n" + WHOLE.encode(), "not JSON"),
    "not text": (b"\xff\xfe\x00", "cannot be read"),
    "a list": (b"[]", "schema is None"),
    "null": (b"null", "schema is None"),
    "no schema": (b"{}", "schema is None"),
    "other schema": (changed(schema="someone-else/report").encode(), "'someone-else/report'"),
    "newer": (changed(version=3, new_field={}).encode(), "newer pytest-vllmperf (schema version 3"),
    "older": (changed(version=1).encode(), "schema version 1 is not 2; record it again"),
    "no version": (changed(version=None).encode(), "schema version None"),
    "version as text": (changed(version="2").encode(), "schema version '2'"),
    "tests as a list": (changed(tests=[]).encode(), "tests: "),
    "unknown key": (changed(comment="hello").encode(), "comment: "),
    "entry without sessions": (with_entry(sessions=[]).encode(),
                               "tests.test_a.sessions: "),
    "entry without a gate": (with_entry(judging={"gate": [], "margin": 0.05}).encode(), "tests.test_a.judging.gate: "),
    "entry that forgot": (with_entry(judging=None).encode(), "tests.test_a.judging: "),
    "a gate of no name": (with_entry(judging={"gate": ["speed"], "margin": 0.05}).encode(),
                          "test_a: judging: no metric is called 'speed'"),
    "a margin of no name": (with_entry(judging={"gate": ["ttft.p50"], "margin": 0.05, "margins": {"x": 1}}).encode(),
                            "test_a: judging: no metric is called 'x'"),
    "a margin below zero": (with_entry(judging={"gate": ["ttft.p50"], "margin": -1}).encode(), "judging.margin: "),
    "a margin that is no number": (with_entry(judging={"gate": ["ttft.p50"], "margin": float("nan")}).encode(),
                                   "judging.margin: "),
    "samples as text": (with_samples({"ttft.p50": ["fast"]}).encode(), "samples.ttft.p50.0: "),
    "samples not finite": (with_samples({"ttft.p50": [float("nan"), 0.1]}).encode(),
                           "test_a: ttft.p50: session 1, engine 1, sample 1: nan is not a positive finite number"),
    "samples of another count": (with_samples({"ttft.p50": [0.1, 0.2, 0.3]}).encode(),
                                 "test_a: ttft.p50: session 1, engine 1: 3 samples where the file tells"),
    "a metric of no name": (with_samples({"speed": [0.1, 0.2]}).encode(), "no metric has this name"),
    "samples missing": (with_samples(None).encode(), "samples: "),
}  # fmt: skip


@pytest.mark.parametrize(("content", "named"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_in_one_line_and_left_alone(store: BaselineStore, content: bytes, named: str) -> None:
    path = store.path("h200", MODULE)
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    for attempt in (
        lambda: store.read("h200", MODULE),
        store.validate,
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


def test_a_folder_in_the_place_of_a_file_is_named(store: BaselineStore) -> None:
    path = store.path("h200", MODULE)
    path.mkdir(parents=True)
    with pytest.raises(BaselineError, match="cannot be read") as caught:
        store.read("h200", MODULE)
    assert str(path) in str(caught.value)


def test_one_broken_file_among_good_ones_is_found(store: BaselineStore) -> None:
    store.write("h200", "test_a.py", Changes({"test_a": entry()}))
    store.path("h200", "deep/er/test_b.py").parent.mkdir(parents=True)
    store.path("h200", "deep/er/test_b.py").write_text("{")
    with pytest.raises(BaselineError, match=r"test_b\.json"):
        store.validate()


def no_space(fd: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_file_as_it_was(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    before = path.read_bytes()
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(BaselineError) as caught:
        store.write("h200", MODULE, Changes({"test_b": entry()}, removed=["test_a"]))
    assert str(caught.value) == f"{path}: not written: No space left on device"
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]
    monkeypatch.undo()
    store.write("h200", MODULE, Changes({"test_b": entry()}))  # the lock was given back
    assert set(store.read("h200", MODULE).tests) == {"test_a", "test_b"}


def test_a_full_disk_leaves_no_first_file(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(BaselineError, match="No space left on device"):
        store.write("h200", MODULE, Changes({"test_a": entry()}))
    assert [p for p in store.root.rglob("*") if p.is_file()] == []


def test_an_interrupted_write_leaves_the_file_as_it_was(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    before = path.read_bytes()

    def interrupted(fd: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.write("h200", MODULE, Changes({"test_b": entry()}))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_it_takes_the_place(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    before, at_sync, flush = path.read_bytes(), [], os.fsync

    def observed(fd: int) -> None:
        at_sync.append((path.read_bytes(), os.fstat(fd).st_size))
        flush(fd)

    monkeypatch.setattr(os, "fsync", observed)
    store.write("h200", MODULE, Changes({"test_b": entry()}))
    assert at_sync == [(before, path.stat().st_size)]


def test_a_lock_that_another_run_holds_is_told(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "LOCK_TIMEOUT_S", 0.01)
    flush, refused = os.fsync, []

    def while_the_lock_is_held(fd: int) -> None:
        monkeypatch.setattr(os, "fsync", flush)
        store.write("rtx-4090", MODULE, Changes({"test_a": entry()}))  # another file has another lock
        with pytest.raises(BaselineError) as caught:
            store.write("h200", MODULE, Changes({"test_b": entry()}))
        refused.append(str(caught.value))

    monkeypatch.setattr(os, "fsync", while_the_lock_is_held)
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    assert refused == [f"{path}: another run has held its lock for 0.01 s"]
    assert set(store.read("h200", MODULE).tests) == {"test_a"}


def test_below_a_regular_file_nothing_can_be_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("in the way")
    for root in (file, file / "baselines"):
        store = BaselineStore(root)
        with pytest.raises(BaselineError, match="baselines cannot be written there: Not a directory") as caught:
            store.check_writable()
        assert str(file) in str(caught.value)
        with pytest.raises(BaselineError, match="not written"):
            store.write("h200", MODULE, Changes({"test_a": entry()}))
    assert file.read_text() == "in the way"


def refuse_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the system refuse new files in one folder, as it does where permission is missing."""
    opened, made = os.open, tempfile.TemporaryFile

    def check(place: Path) -> None:
        if place == folder:
            raise PermissionError(errno.EACCES, "Permission denied", str(place))

    def new_file(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & os.O_CREAT:
            check(Path(path).parent)
        return opened(path, flags, *args, **kwargs)

    def anonymous(*args: Any, dir: Any = None, **kwargs: Any) -> Any:  # noqa: A002 - tempfile's own name
        check(Path(dir))
        return made(*args, dir=dir, **kwargs)

    monkeypatch.setattr(os, "open", new_file)
    monkeypatch.setattr(tempfile, "TemporaryFile", anonymous)


def test_a_folder_without_permission_is_found_before_anything_is_measured(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    store.check_writable()
    before = path.read_bytes()
    refuse_in(path.parent, monkeypatch)
    with pytest.raises(BaselineError) as caught:
        store.check_writable()
    assert str(caught.value) == f"{path.parent}: baselines cannot be written there: Permission denied"
    with pytest.raises(BaselineError) as caught:
        store.write("h200", MODULE, Changes({"test_b": entry()}))
    assert str(caught.value) == f"{path}: not written: Permission denied"
    assert path.read_bytes() == before


def test_before_the_first_write_the_folder_above_is_looked_at(
    tmp_path: Path, store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.check_writable()
    assert not store.root.exists()
    refuse_in(tmp_path, monkeypatch)
    with pytest.raises(BaselineError, match="Permission denied"):
        store.check_writable()


def test_appended_sessions_stand_behind_the_others_and_the_newest_twenty_stay(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1), "test_b": entry(2)}))
    for value in range(2, 25):
        store.write("h200", MODULE, Changes(appended={"test_a": entry(value), "test_gone": entry(value)}))
    tests = store.read("h200", MODULE).tests
    assert set(tests) == {"test_a", "test_b"}, "nothing is begun by appending"
    assert [one.engines[0].samples["output_throughput"][0] for one in tests["test_a"].sessions] == list(range(5, 25))
    assert tests["test_b"] == entry(2)


def test_an_entry_that_is_begun_anew_forgets_its_sessions(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1)}))
    store.write("h200", MODULE, Changes(appended={"test_a": entry(2)}))
    store.write("h200", MODULE, Changes({"test_a": entry(3)}, appended={"test_a": entry(4)}))
    assert store.read("h200", MODULE).tests == {"test_a": entry(3)}


def test_an_appended_session_brings_the_gate_and_margins_that_it_was_judged_by(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1).model_copy(update={"reason": "a newer driver"})}))
    later = Judging(gate=["ttft.p50"], margin=0.2)
    store.write("h200", MODULE, Changes(appended={"test_a": entry(2, later)}))
    found = store.read("h200", MODULE).tests["test_a"]
    assert (found.judging, found.reason, len(found.sessions)) == (later, "a newer driver", 2)


def test_a_baseline_that_is_a_link_stays_one(store: BaselineStore, tmp_path: Path) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)}))
    shared = tmp_path / "shared" / "chat.json"
    shared.parent.mkdir()
    path.rename(shared)
    path.symlink_to(shared)
    store.write("h200", MODULE, Changes({"test_b": entry(2)}))
    assert path.is_symlink()
    assert set(load(shared).tests) == {"test_a", "test_b"}
    assert [p.name for folder in (path.parent, shared.parent) for p in folder.iterdir()] == [path.name, shared.name]


def test_a_folder_that_a_link_leads_to_is_looked_at_too(
    store: BaselineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.path("h200", MODULE)
    path.parent.mkdir(parents=True)
    shared = tmp_path / "shared"
    shared.mkdir()
    path.symlink_to(shared / "chat.json")
    store.check_writable()
    refuse_in(shared, monkeypatch)
    with pytest.raises(BaselineError) as caught:
        store.check_writable()
    assert str(caught.value) == f"{shared}: baselines cannot be written there: Permission denied"


def test_links_in_a_circle_are_one_line(store: BaselineStore) -> None:
    path = store.path("h200", MODULE)
    path.parent.mkdir(parents=True)
    other = path.with_name("other.json")
    path.symlink_to(other)
    other.symlink_to(path)
    for attempt in (store.validate, lambda: store.write("h200", MODULE, Changes({"test_a": entry()}))):
        with pytest.raises(BaselineError, match="Too many levels of symbolic links") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_link_and_its_target_share_a_lock(store: BaselineStore, tmp_path: Path) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()}))
    link = store.path("h200", "test_link.py")
    link.symlink_to(path)
    assert baseline._lock_path(link) == baseline._lock_path(path)

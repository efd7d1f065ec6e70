"""The baseline store: a file is whole, or it is what it was before."""

import errno
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.records import ids
from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.records.samples import Entry, Environment, Judging
from pytest_vllmperf.storage import baselines as baseline
from pytest_vllmperf.storage import versioned
from pytest_vllmperf.storage.baselines import BaselineFile, BaselineStore, Changes, load, module_exists
from pytest_vllmperf.storage.locks import locked
from pytest_vllmperf.storage.versioned import dumps
from tests.storage.conftest import MODULE, entry, session


def test_without_a_file_nothing_is_stored(store: BaselineStore) -> None:
    assert store.read("h200", MODULE) == BaselineFile()
    assert store.modules() == []
    store.validate(store.root.parent)
    assert not store.root.exists()


def test_entries_are_put_beside_those_that_are_there(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1), "test_b": entry(2)}))
    path = store.write("h200", MODULE, Changes({"test_b": entry(3), "test_c": entry(4)})).path
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


def test_the_profiles_that_hold_a_check(store: BaselineStore) -> None:
    store.write("rtx-4090", MODULE, Changes({"test_a": entry(1), "test_b # own": entry(2)}))
    store.write("h200", MODULE, Changes({"test_a": entry(3)}))
    store.write("h200", "test_more.py", Changes({"test_a": entry(3)}))
    store.write("h100", "test_top.py", Changes({"test_a": entry(4)}))
    assert store.profiles_of(MODULE, lambda check: check.test.name == "test_a") == ["h200", "rtx-4090"]
    assert store.profiles_of(MODULE, lambda check: check.own == "own") == ["rtx-4090"]
    assert store.profiles_of("test_top.py", lambda check: check.test == TestId("test_top.py", "test_a")) == ["h100"]
    assert store.profiles_of("test_none.py", lambda _: True) == []


@pytest.mark.parametrize("module", ["../elsewhere/test_chat.py", "/elsewhere/test_chat.py", "a/../test_chat.py", ""])
def test_a_module_outside_the_root_directory_has_no_place(store: BaselineStore, module: str) -> None:
    """Two folders with a module of one name would share its entries."""
    for attempt in (store.path, store.read, lambda *place: store.write(*place, Changes({"test_a": entry()}))):
        with pytest.raises(BaselineError, match="is outside pytest's root directory"):
            attempt("h200", module)
    assert not store.root.exists()


def test_nothing_but_the_file_is_left_in_the_repository(store: BaselineStore) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
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
        store.validate(store.root.parent)


def no_space(fd: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_file_as_it_was(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
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
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
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
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
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
        store.write("rtx-4090", MODULE, Changes({"test_a": entry()}))  # another folder has another lock
        with pytest.raises(BaselineError) as caught:
            store.write("h200", MODULE, Changes({"test_b": entry()}))
        refused.append(str(caught.value))

    monkeypatch.setattr(os, "fsync", while_the_lock_is_held)
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
    assert refused == [f"{path}: another run has locked it for 0.01 s"]
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
    path = store.write("h200", MODULE, Changes({"test_a": entry()})).path
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


def test_appended_sessions_stand_behind_the_others_and_the_first_and_the_newest_stay(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1), "test_b": entry(2)}))
    for value in range(2, 25):
        store.write("h200", MODULE, Changes(appended={"test_a": entry(value), "test_gone": entry(value)}))
    tests = store.read("h200", MODULE).tests
    assert set(tests) == {"test_a", "test_b"}, "nothing is begun by appending"
    assert [one.engines[0].samples["output_throughput"][0] for one in tests["test_a"].sessions] == [
        *range(1, 6),
        *range(10, 25),
    ]
    assert [one.dropped for one in tests["test_a"].sessions] == [0] * 5 + [4] + [0] * 14
    assert tests["test_b"] == entry(2)


def test_shortening_again_counts_what_was_dropped_before() -> None:
    sessions = [session(value) for value in range(1, 13)]
    long = entry().model_copy(update={"sessions": sessions})
    once = baseline.shortened(long, 8)
    twice = baseline.shortened(once, 6)
    assert [one.engines[0].samples["output_throughput"][0] for one in once.sessions] == [1, 2, 3, 4, 5, 10, 11, 12]
    assert twice.sessions[:5] == sessions[:5]
    assert twice.sessions[5:] == [sessions[11].model_copy(update={"dropped": 6})]
    assert once.sessions[5].dropped == 4
    assert baseline.shortened(twice, 6) == twice


def test_a_file_of_the_version_before_is_read_and_written_in_this_one(store: BaselineStore) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
    text = path.read_text()
    older = text.replace('"version": 6', '"version": 3').replace('     "dropped": 0,\n', "")
    older = older.replace('       "recorded": {},\n', "")
    assert "dropped" not in older
    assert '"recorded": {}' not in older
    path.write_text(older)
    assert store.read("h200", MODULE).tests == {"test_a": entry(1)}
    store.write("h200", MODULE, Changes())
    assert path.read_text() == text


def test_all_entries_of_a_profile(store: BaselineStore, tmp_path: Path) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1), "test_b": entry(2)}))
    store.write("h200", "test_top.py", Changes({"test_a": entry(3)}))
    store.write("rtx-4090", MODULE, Changes({"test_a": entry(4)}))
    (store.root / "h200" / "package.json").write_text('{"name": "mine"}')
    assert store.entries("h200") == [entry(3), entry(1), entry(2)]
    assert store.entries("a100") == []
    damaged = store.root / "h200" / "test_cut.json"
    damaged.write_text('{"schema": "pytest-vllmperf/base')
    with pytest.raises(BaselineError, match=r"test_cut\.json: not JSON, or truncated"):
        store.entries("h200")


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
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
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
    for attempt in (
        lambda: store.validate(store.root),
        lambda: store.write("h200", MODULE, Changes({"test_a": entry()})),
    ):
        with pytest.raises(BaselineError, match="Too many levels of symbolic links") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_a_link_and_its_target_share_a_lock(
    store: BaselineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared" / "chat.json"
    shared.parent.mkdir()
    link = store.path("h200", MODULE)
    link.parent.mkdir(parents=True)
    link.symlink_to(shared)
    monkeypatch.setattr(baseline, "LOCK_TIMEOUT_S", 0.01)
    with locked(shared.parent, 1), pytest.raises(BaselineError, match="another run has locked it"):
        store.write("h200", MODULE, Changes({"test_a": entry()}))


def test_what_another_program_wrote_meanwhile_is_not_lost(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor or a checkout takes no lock."""
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
    other = dumps(BaselineFile(tests={"test_a": entry(1), "test_other": entry(2)}))
    flush = os.fsync

    def meanwhile(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", flush)
        path.write_text(other)

    monkeypatch.setattr(os, "fsync", meanwhile)
    store.write("h200", MODULE, Changes({"test_b": entry(3)}))
    assert set(store.read("h200", MODULE).tests) == {"test_a", "test_other", "test_b"}
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_is_replaced_again_and_again_is_one_line(
    store: BaselineStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
    monkeypatch.setattr(os, "fsync", lambda handle: path.write_text(path.read_text() + "\n"))
    with pytest.raises(BaselineError, match="not written, because another program keeps replacing it"):
        store.write("h200", MODULE, Changes({"test_b": entry(3)}))
    assert list(path.parent.iterdir()) == [path]


def replaced(hard: dict[str, str]) -> Entry:
    (one,) = entry(2).sessions
    return entry().model_copy(
        update={"sessions": [one.model_copy(update={"environment": Environment(hard=hard, soft={})})]}
    )


def test_a_session_does_not_join_an_entry_that_was_replaced_meanwhile(store: BaselineStore) -> None:
    """Another run has recorded the test with another model since this one was judged."""
    store.write("h200", MODULE, Changes({"test_a": replaced({"gpu": "H200", "model": "b"}), "test_b": entry(1)}))
    written = store.write("h200", MODULE, Changes(appended={name: entry(3) for name in ("test_a", "test_b", "test_c")}))
    assert written.refused == {
        "test_a": "replaced (model: b -> none)",
        "test_c": "removed",
    }
    tests = store.read("h200", MODULE).tests
    assert {name: len(one.sessions) for name, one in tests.items()} == {"test_a": 1, "test_b": 2}


def test_a_file_that_nobody_would_read_is_not_written(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
    before = path.read_bytes()
    monkeypatch.setattr(versioned, "LIMIT", len(before))
    with pytest.raises(BaselineError, match="not written: it would be 0 MiB; the limit is 0 MiB; shorten it"):
        store.write("h200", MODULE, Changes({"test_b": entry(3)}))
    assert path.read_bytes() == before


def test_a_recording_run_removes_what_a_killed_one_has_left(store: BaselineStore, tmp_path: Path) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
    shared = tmp_path / "shared"
    shared.mkdir()
    path.with_name("link.json").symlink_to(shared / "chat.json")
    left = [folder / f".vllmperf-{'0' * 16}.tmp" for folder in (path.parent, store.root, shared)]
    for file in left:
        file.write_text("half")
        os.utime(file, (1e9, 1e9))
    store.sweep()
    assert not [file for file in left if file.exists()]


def test_so_does_every_write(store: BaselineStore) -> None:
    path = store.write("h200", MODULE, Changes({"test_a": entry(1)})).path
    left = path.with_name(f".vllmperf-{'0' * 16}.tmp")
    left.write_text("half")
    os.utime(left, (1e9, 1e9))
    store.write("h200", MODULE, Changes({"test_b": entry(1)}))
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["test_\udcff", "test_é\u2028", "test_[\x00]"])
def test_every_name_can_be_written_and_read(store: BaselineStore, name: str) -> None:
    check = CheckId(TestId.parse(f"{MODULE}::{name}"), name)
    store.write("h200", MODULE, Changes({check.name: entry(1).model_copy(update={"engine": name})}))
    ((stored, found),) = store.read("h200", MODULE).tests.items()
    assert stored == check.name == f"{ids.writable(name)} # {ids.writable(name)}"
    assert found.engine == ids.writable(name)


def test_a_module_whose_name_is_not_text(store: BaselineStore, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"test_\xff.py")).touch()
    module = TestId.parse(os.fsdecode(b"test_\xff.py") + "::test_a").module
    store.write("h200", module, Changes({"test_a": entry(1)}))
    ((profile, stored),) = store.modules()
    assert set(store.read(profile, f"{stored}.py").tests) == {"test_a"}
    assert module_exists(tmp_path, stored)
    assert not module_exists(tmp_path, "test_b")


def test_a_file_is_read_again_only_when_it_has_changed(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.write("h200", MODULE, Changes({"test_a": entry(1)}))
    reads: list[Path] = []
    monkeypatch.setattr(baseline, "load", lambda path, *limit: reads.append(path) or load(path, *limit))
    assert store.read("h200", MODULE) == store.read("h200", MODULE)
    assert len(reads) == 1
    BaselineStore(store.root).write("h200", MODULE, Changes({"test_b": entry(1)}))
    reads.clear()
    assert set(store.read("h200", MODULE).tests) == {"test_a", "test_b"}
    store.path("h200", MODULE).unlink()
    assert store.read("h200", MODULE).tests == {}
    assert len(reads) == 2

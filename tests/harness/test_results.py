"""The controller's books: what is recorded, what is stale, what is pruned."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.harness.results import ModuleTests, Results
from pytest_vllmperf.records.ledger import DeviceMemory, VramLedger
from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.results import CheckRecord, Keeping, TestResults
from pytest_vllmperf.records.samples import EngineSamples, Entry, Environment, Judging, Session
from pytest_vllmperf.records.verdict import MetricVerdict, Status, Verdict
from pytest_vllmperf.storage.baselines import BaselineStore, Changes

MODULE = "tests/test_chat.py"
SESSION = Session(
    recorded="now",
    environment=Environment(hard={"gpu": "H200"}, soft={}),
    engines=[EngineSamples(discarded=0, iterations=1, samples={"ttft.p50": [0.25]})],
)
JUDGING = Judging(gate=["ttft.p50"], margin=0.05)
ENTRY = Entry(engine="llama", workload={"count": 1}, judging=JUDGING, sessions=[SESSION])
JUDGED = Verdict(Status.OK, (MetricVerdict("ttft.p50", Status.OK, None, 0.25, 0.05),), (), ("a reason",))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BaselineStore:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return BaselineStore(tmp_path / "baselines")


RECORDED = Verdict(Status.RECORDED)


def check(name: str = "test_a", *, verdict: Verdict = RECORDED, **changed: Any) -> CheckRecord:
    return CheckRecord(
        **{
            "module": MODULE,
            "name": name,
            "profile": "h200",
            "engine": "llama",
            "workload": {"count": 1},
            "session": SESSION,
            "judging": JUDGING,
            "verdict": verdict,
            "keeping": Keeping.NEW if verdict.status is Status.RECORDED else Keeping.NOTHING,
            "values": {"ttft.p50": 0.25},
            **changed,
        }
    )


def collected(*names: str, whole: bool = True) -> dict[str, ModuleTests]:
    return {MODULE: ModuleTests(frozenset(names), whole)}


def stored(store: BaselineStore, profile: str = "h200", module: str = MODULE) -> set[str]:
    return set(store.read(profile, module).tests)


LEDGER = VramLedger(1, None, 3, 4, 5, 6, 7, 8.5, DeviceMemory(9, 8, None, 1))


@pytest.mark.parametrize("verdict", [RECORDED, JUDGED, Verdict(Status.NO_BASELINE)])
@pytest.mark.parametrize("ledger", [None, LEDGER, replace(LEDGER, device=None)])
def test_a_check_travels_whole_between_processes(verdict: Verdict, ledger: VramLedger | None) -> None:
    sent = check(
        verdict=verdict,
        ledger=ledger,
        session=SESSION.model_copy(update={"excluded": [Problem("throttling", "it ran hot")]}),
    )
    assert CheckRecord.model_validate_json(sent.model_dump_json()) == sent


def test_what_is_ok_and_kept_is_appended(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a": ENTRY, "test_b": ENTRY}))
    results = Results()
    results.add(
        TestResults(
            checks=(
                check("test_a", verdict=JUDGED, keeping=Keeping.APPENDED),
                check("test_b", verdict=JUDGED),
            )
        ),
        passed=True,
    )
    results.write(store, prune=False)
    assert {name: len(e.sessions) for name, e in store.read("h200", MODULE).tests.items()} == {"test_a": 2, "test_b": 1}


def test_only_what_passed_and_was_not_judged_is_recorded(store: BaselineStore) -> None:
    results = Results()
    results.add(
        TestResults(
            checks=(
                check("test_new"),
                check("test_judged", verdict=JUDGED),
            )
        ),
        passed=True,
    )
    results.add(TestResults(checks=(check("test_failed"),)), passed=False)
    results.write(store, prune=False)
    assert stored(store) == {"test_new"}
    assert store.read("h200", MODULE).tests["test_new"] == ENTRY
    assert [c.name for c in results.checks] == ["test_new", "test_judged", "test_failed"]
    assert results.written == [store.path("h200", MODULE)]


def test_nothing_to_record_writes_nothing(store: BaselineStore) -> None:
    results = Results()
    results.add(TestResults(checks=(check(verdict=JUDGED),)), passed=True)
    results.write(store, prune=True)
    assert results.written == []
    assert not store.root.exists()


def test_each_profile_and_module_has_its_file(store: BaselineStore) -> None:
    results = Results()
    results.add(
        TestResults(
            checks=(
                check(),
                check("test_b"),
                check(profile="cpu"),
                check(module="test_top.py"),
            )
        ),
        passed=True,
    )
    results.write(store, prune=False)
    assert results.written == [
        store.path("h200", MODULE),
        store.path("cpu", MODULE),
        store.path("h200", "test_top.py"),
    ]
    assert stored(store) == {"test_a", "test_b"}
    assert stored(store, "cpu") == stored(store, module="test_top.py") == {"test_a"}


def test_what_is_stale(store: BaselineStore) -> None:
    names = ("test_a", "test_a # long", "test_gone", "test_gone # 2", "TestX::test_b[4-awq]")
    for profile in ("h200", "rtx-4090"):
        store.write(profile, MODULE, Changes(dict.fromkeys(names, ENTRY)))
    store.write("h200", "tests/test_other.py", Changes({"test_gone": ENTRY}))
    results = Results(modules=collected("test_a", "TestX::test_b[4-awq]", "test_new"))
    assert results.stale(store) == {
        ("h200", MODULE): ["test_gone", "test_gone # 2"],
        ("rtx-4090", MODULE): ["test_gone", "test_gone # 2"],
    }


def test_a_module_that_was_not_collected_whole_has_nothing_stale(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_gone": ENTRY}))
    assert Results(modules=collected("test_a", whole=False)).stale(store) == {}
    assert Results().stale(store) == {}


def test_a_separator_in_a_parameter_makes_nothing_stale(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_a[x # y]": ENTRY, "test_a[x # y] # long": ENTRY}))
    assert Results(modules=collected("test_a[x # y]")).stale(store) == {}


def test_an_update_takes_stale_entries_out(store: BaselineStore) -> None:
    for profile in ("h200", "rtx-4090"):
        store.write(profile, MODULE, Changes({"test_a": ENTRY, "test_gone": ENTRY, "test_skipped": ENTRY}))
    results = Results(modules=collected("test_a", "test_skipped"))
    results.add(TestResults(checks=(check("test_a"),)), passed=True)
    results.write(store, prune=True)
    assert stored(store) == {"test_a", "test_skipped"}
    assert results.pruned == [f"{MODULE}::test_gone"]
    assert stored(store, "rtx-4090") == {"test_a", "test_gone", "test_skipped"}  # not measured on this hardware


@pytest.mark.parametrize("reason", ["not asked to prune", "a failure in the module", "not whole"])
def test_stale_entries_stay(store: BaselineStore, reason: str) -> None:
    store.write("h200", MODULE, Changes({"test_gone": ENTRY}))
    results = Results(modules=collected("test_a", whole=reason != "not whole"))
    if reason == "a failure in the module":
        results.failed_modules.add(MODULE)
    results.add(TestResults(checks=(check("test_a"),)), passed=True)
    results.write(store, prune=reason != "not asked to prune")
    assert stored(store) == {"test_a", "test_gone"}
    assert results.pruned == []


CUT_SHORT = '{"schema": "pytest-vllmperf/baseline", '


def record_in(*modules: str, **changed: Any) -> Results:
    results = Results()
    results.add(TestResults(checks=tuple(check(module=module, **changed) for module in modules)), passed=True)
    return results


def broken(store: BaselineStore, module: str) -> Path:
    path = store.path("h200", module)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(CUT_SHORT)
    return path


def test_a_file_that_cannot_be_written_does_not_stop_the_others(store: BaselineStore) -> None:
    path = broken(store, "test_b.py")
    results = record_in("test_a.py", "test_b.py", "test_c.py")
    results.write(store, prune=False)
    assert results.written == [store.path("h200", f"test_{name}.py") for name in "ac"]
    assert results.unwritten == {("h200", "test_b.py"): Changes(entries={"test_a": ENTRY})}
    (problem,) = results.problems
    assert problem.startswith(f"{path}: not JSON, or truncated")
    assert {check.module for check in results.recorded} == {"test_a.py", "test_c.py"}
    assert path.read_text() == CUT_SHORT


def test_nor_does_a_damaged_file_of_another_module_that_is_looked_at_for_stale_entries(store: BaselineStore) -> None:
    broken(store, "test_b.py")
    results = record_in("test_a.py")
    results.modules = {name: ModuleTests(frozenset({"test_a"}), whole=True) for name in ("test_a.py", "test_b.py")}
    results.write(store, prune=True)
    assert (results.written, results.problems) == ([store.path("h200", "test_a.py")], [])
    with pytest.raises(BaselineError, match=r"test_b\.json"):
        results.stale(store)


def test_nor_does_an_error_that_nobody_foresaw(store: BaselineStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = BaselineStore.write

    def fail(self: BaselineStore, profile: str, module: str, changes: Changes) -> Any:
        if module == "test_a.py":
            raise MemoryError
        return write(self, profile, module, changes)

    monkeypatch.setattr(BaselineStore, "write", fail)
    results = record_in("test_a.py", "test_b.py")
    results.write(store, prune=False)
    assert results.written == [store.path("h200", "test_b.py")]
    assert (list(results.unwritten), results.problems) == ([("h200", "test_a.py")], ["internal error: MemoryError"])


def test_a_session_whose_baseline_was_replaced_meanwhile_is_not_recorded(store: BaselineStore) -> None:
    other = SESSION.model_copy(update={"environment": Environment(hard={"gpu": "A100"}, soft={})})
    store.write("h200", MODULE, Changes({"test_a": ENTRY.model_copy(update={"sessions": [other]}), "test_b": ENTRY}))
    results = Results()
    checks = tuple(check(name, keeping=Keeping.APPENDED) for name in ("test_a", "test_b"))
    results.add(TestResults(checks=checks), passed=True)
    results.write(store, prune=False)
    assert [check.name for check in results.recorded] == ["test_b"]
    assert results.problems == [
        f"{MODULE}::test_a: not appended: another run has replaced (gpu: A100 -> H200) the baseline that it was "
        f"compared with"
    ]
    assert results.unwritten == {}
    assert store.read("h200", MODULE).tests["test_a"].sessions == [other]


def test_a_file_that_is_a_test_by_itself_is_not_looked_for(store: BaselineStore) -> None:
    results = Results(modules={"": ModuleTests(frozenset({"test_a"}), whole=True)})
    store.write("h200", MODULE, Changes({"test_gone": ENTRY}))
    assert results.stale(store) == {}
    assert results.orphans(store, store.root) == [store.path("h200", MODULE)]


def test_another_file_of_the_same_name_makes_nothing_stale(store: BaselineStore) -> None:
    """Doctests in a text beside the module are no reason to take the module's entries out."""
    store.write("h200", MODULE, Changes({"test_a": ENTRY, "test_gone": ENTRY}))
    text = MODULE.replace(".py", ".txt")
    for whole, stale in ((True, {("h200", MODULE): ["test_gone"]}), (False, {})):
        modules = {**collected("test_a"), text: ModuleTests(frozenset({"test_chat.txt"}), whole=whole)}
        assert Results(modules=modules).stale(store) == stale


def test_an_entry_that_could_not_be_removed_leaves_nothing_to_keep(store: BaselineStore) -> None:
    store.write("h200", MODULE, Changes({"test_gone": ENTRY}))
    results = record_in("test_b.py")
    results.modules = collected("test_a")
    store.path("h200", MODULE).chmod(0o444)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        results.write(store, prune=True)
    assert set(results.unwritten) == {("h200", "test_b.py")}
    assert len(results.problems) == 2

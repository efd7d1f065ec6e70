"""The rescue file: what could not be written, and how it comes back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage import rescue
from pytest_vllmperf.storage.baselines import BaselineStore, Changes
from tests.faults import files_up_to
from tests.storage.conftest import MODULE, entry

CHANGES = {
    ("h200", MODULE): Changes(entries={"test_a": entry(1)}, appended={"test_b": entry(2)}, removed=["test_gone"]),
    ("h200", "test_top.py"): Changes(entries={"test_a": entry(3)}),
}


def test_what_is_kept_is_put_back(store: BaselineStore, tmp_path: Path) -> None:
    file = rescue.keep(CHANGES, [tmp_path])
    assert json.loads(file.read_text())["schema"] == "pytest-vllmperf/rescue"
    store.write("h200", MODULE, Changes(entries={"test_b": entry(5)}))
    written, problems = rescue.restore(file, store)
    assert [one.path for one in written] == [store.path(*place) for place in CHANGES]
    assert problems == []
    assert len(store.read("h200", MODULE).tests["test_b"].sessions) == 2
    assert store.read("h200", "test_top.py").tests == {"test_a": entry(3)}
    assert not file.exists()


def test_what_cannot_be_put_back_stays_in_the_file(
    store: BaselineStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = rescue.keep(CHANGES, [tmp_path])
    broken = store.path("h200", "test_top.py")
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    command = ["baseline", "restore", str(file), "--baselines", str(store.root)]
    assert cli.main(command) == 2
    out = capsys.readouterr().out
    assert f"left in {file}: {broken}: not JSON, or truncated" in out
    assert f"{store.path('h200', MODULE)}: test_b: not appended: its baseline was removed" in out
    broken.unlink()
    assert cli.main(command) == 0
    assert capsys.readouterr().out == f"written: {broken}\n"
    assert cli.main(command) == 2
    assert capsys.readouterr().err == f"vllmperf: {file}: no such file\n"


def test_another_file_is_refused(store: BaselineStore, capsys: pytest.CaptureFixture[str]) -> None:
    path = store.write("h200", MODULE, Changes(entries={"test_a": entry()})).path
    assert cli.main(["baseline", "restore", str(path), "--baselines", str(store.root)]) == 2
    assert "not a rescue file of pytest-vllmperf" in capsys.readouterr().err
    assert path.exists()


def test_two_runs_in_one_second_keep_both(tmp_path: Path) -> None:
    files = {rescue.keep(CHANGES, [tmp_path]) for _ in range(3)}
    assert len(files) == len(list(tmp_path.iterdir())) == 3


def test_a_full_disk_leads_to_the_next_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "second").mkdir()
    assert rescue.keep(CHANGES, [tmp_path / "gone", tmp_path / "second"]).parent == tmp_path / "second"
    with files_up_to(10), pytest.raises(BaselineError, match=r"could not be saved: .*: File too large"):
        rescue.keep(CHANGES, [tmp_path])
    assert [path.name for path in tmp_path.iterdir()] == ["second"]

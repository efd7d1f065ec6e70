"""The file that a study's tables go to. Needs no engine."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "studies"
RESULTS = runpy.run_path(str(SOURCES / "results.py"))
STUDY = """
    def test_one(tell):
        tell("how fast", ["", "tok/s"], [["here", 1234.5678], ["there", None]])
        tell("how full", ["%"], [[12]])
        assert {holds}
"""


@pytest.mark.parametrize("holds", [True, False])
def test_a_study_that_tells_writes_raw_numbers(
    pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holds: bool
) -> None:
    package = pytester.mkpydir("studies")
    for name in ("conftest.py", "results.py"):
        (package / name).write_text((SOURCES / name).read_text())
    (package / "test_speed.py").write_text(STUDY.format(holds=holds).replace("\n    ", "\n"))
    monkeypatch.setenv("VLLMPERF_STUDY_RESULTS", str(tmp_path / "new" / "folder"))
    done = pytester.runpytest_inprocess("-p", "no:cacheprovider", "studies")
    done.assert_outcomes(passed=int(holds), failed=int(not holds))
    done.stdout.fnmatch_lines(["*1,235*"])
    (file,) = (tmp_path / "new" / "folder").iterdir()
    found = json.loads(file.read_text())
    assert file.name == "speed.one.json"
    assert (found["study"], found["passed"], found["format"]) == ("speed", holds, RESULTS["FORMAT"])
    assert found["tables"][0] == {
        "title": "how fast", "headers": ["", "tok/s"], "rows": [["here", 1234.5678], ["there", None]]
    }  # fmt: skip
    assert found["tables"][1]["rows"] == [[12]]
    assert found["machine"] == RESULTS["machine"]()


def test_names_of_files_stay_the_same() -> None:
    assert RESULTS["file_name"]("test_kv_accounting", "test_formula[1-64 a/b]") == "kv_accounting.formula-1-64-a-b.json"

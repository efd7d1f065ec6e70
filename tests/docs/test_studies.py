"""The studies' pages: their tables are those of the results files, and a faulty file is never published."""

from __future__ import annotations

import json
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

STUDIES = Path(__file__).parents[2] / "docs" / "studies"
MEASURED = runpy.run_path(str(STUDIES / "measured.py"))
CONTENT: dict[str, Any] = {
    "format": 1,
    "study": "waiting",
    "test": "test_waiting",
    "passed": True,
    "date": "2026-01-02",
    "machine": {"name": "A card", "gpu": True, "cores": 4},
    "vllm": "0.26.0",
    "tables": [{"title": "how long", "headers": ["", "ms"], "rows": [["one", 1234.5678], ["two", None], ["three", 7]]}],
}


def written(folder: Path, name: str, /, **changed: Any) -> Path:
    path = folder / name / "waiting.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**CONTENT, **changed}))
    return folder


@pytest.mark.parametrize("study", MEASURED["pages"]())
def test_each_page_says_what_its_files_say(study: str) -> None:
    text = (STUDIES / f"{study}.md").read_text(encoding="utf-8")
    assert MEASURED["made"](text, MEASURED["part"](study)) == text


def test_the_overview_says_what_the_files_say() -> None:
    text = (STUDIES / "README.md").read_text(encoding="utf-8")
    assert MEASURED["made"](text, MEASURED["summary"]()) == text
    assert set(MEASURED["HEADLINES"]) == set(MEASURED["pages"]())


def test_every_results_file_belongs_to_a_page() -> None:
    pages = MEASURED["pages"]()
    files = sorted((STUDIES / "results").glob("*/*.json"))
    assert files
    assert [file.name for file in files if json.loads(file.read_text())["study"] not in pages] == []


def test_every_plot_of_a_page_is_there_and_small() -> None:
    for page in MEASURED["pages"]().values():
        for name in re.findall(r"\]\((plots/[^)]+)\)", page.read_text(encoding="utf-8")):
            text = (STUDIES / name).read_text(encoding="utf-8")
            assert "<text" in text, name
            assert len(text.encode()) < 60 * 1024, name


def test_all_machines_are_told_with_their_numbers(tmp_path: Path) -> None:
    written(tmp_path, "card-b", date="2026-01-03")
    written(tmp_path, "card-a", machine={"name": "Another"})
    (tmp_path / "card-a" / "about.md").write_text("Nobody else used it.\n")
    part = MEASURED["part"]("waiting", tmp_path)
    assert re.findall("^### (.*)", part, re.MULTILINE) == [
        "Another: vLLM 0.26.0, 2026-01-02",
        "A card: vLLM 0.26.0, 2026-01-03",
    ]
    assert part.count("Nobody else used it.") == 1
    assert "![waiting on A card](plots/waiting-card-b.svg)" in part
    assert "How long:\n\n| | ms |\n| --- | --- |\n| one | 1,235 |\n| two | |\n| three | 7 |" in part


def test_a_study_that_nobody_ran_says_so(tmp_path: Path) -> None:
    assert MEASURED["part"]("waiting", written(tmp_path, "card", study="another")) == "Not run yet."


@pytest.mark.parametrize(("changed", "said"), [({"passed": False}, "failed there"), ({"format": 2}, "format is 2")])
def test_what_failed_or_is_of_another_format_is_refused(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        MEASURED["part"]("waiting", written(tmp_path, "card", **changed))
    assert type(caught.value) is MEASURED["ResultsError"]


def test_plots_are_drawn_the_same_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(STUDIES))
    plots = runpy.run_path(str(STUDIES / "plots.py"))
    sys.modules.pop("measured")
    once, again = dict(plots["drawn"]()), dict(plots["drawn"]())
    assert once
    assert once == again

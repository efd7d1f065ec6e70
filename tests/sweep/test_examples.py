"""The example files and the one in the documentation are studies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_vllmperf.sweep.study import read

ROOT = Path(__file__).parents[2]
EXAMPLES = {"tokens_then_sequences": 5 * (4 + 2), "cpu": 12}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_study(name: str) -> None:
    assert read(ROOT / "examples" / "sweeps" / f"{name}.toml").space.count == EXAMPLES[name]


def test_all_examples_are_tried() -> None:
    assert {path.stem for path in (ROOT / "examples" / "sweeps").glob("*.toml")} == set(EXAMPLES)


def test_the_file_of_the_documentation_is_a_study(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    path = tmp_path / "study.toml"
    path.write_text(re.findall(r"```toml\n(.*?)```", text, re.DOTALL)[0], encoding="utf-8")
    assert read(path).space.count == 21

"""The home folder is written as `~`, so that checkouts of two people agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.spec import EngineSpec


@pytest.mark.parametrize(("value", "shown"), [
    ("/home/al/models/m", "~/models/m"),
    ("/home/al", "~"),
    ("a=/home/al/x:/home/al/y", "a=~/x:~/y"),
    ("/home/alice/x", "/home/alice/x"),
    ("/mnt/home/al/x", "/mnt/home/al/x"),
    ("../home/al/x", "../home/al/x"),
    ({"p": ["/home/al/x", 1]}, {"p": ["~/x", 1]}),
    (7, 7),
])  # fmt: skip
def test_texts_that_name_it(value: Any, shown: Any) -> None:
    assert without_home(value, "/home/al") == shown


def test_without_a_home_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", nobody)
    assert home() == ""
    assert without_home("/a", "") == "/a"
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    assert home() == ""


def test_two_people_have_one_label(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = set()
    for person in ("/home/alice", "/home/bob"):
        monkeypatch.setenv("HOME", person)
        spec = EngineSpec.create(f"{person}/m", download_dir=f"{person}/cache", lora={"path": f"{person}/lora"})
        assert spec.args["download_dir"] == f"{person}/cache"  # the engine gets the path itself
        labels.add(spec.label)
    assert labels == {"m download_dir=~/cache lora={'path': '~/lora'}"}

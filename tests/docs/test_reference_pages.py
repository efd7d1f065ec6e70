"""Pages that have to name everything of a kind: verdicts, validity rules, public names, methods of the fixture."""

from __future__ import annotations

import inspect
import re

import pytest

import pytest_vllmperf
from pytest_vllmperf import Measurement, VllmPerf
from pytest_vllmperf.records.problems import RULES
from pytest_vllmperf.records.verdict import Status
from tests.docs.blocks import ROOT

DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def methods(kind: type) -> list[str]:
    found = inspect.getmembers(kind, inspect.isfunction)
    return [name for name, _ in found if not name.startswith("_")]


@pytest.mark.parametrize("status", Status)
def test_every_verdict_says_what_it_means_and_what_to_do(status: Status) -> None:
    (section,) = re.findall(rf"^## {status}\n(.*?)(?=^## |\Z)", page("troubleshooting.md"), re.DOTALL | re.MULTILINE)
    assert "**It means**:" in section
    if not status.final or status in (Status.OK, Status.RECORDED):
        return
    assert "what to do" in section.lower()


def test_every_validity_rule_has_something_to_do() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \| [^|]+ \|$", page("troubleshooting.md"), re.MULTILINE)
    assert sorted(rows) == sorted(RULES)


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    names = {line.rpartition(".")[2] for line in re.findall(r"^::: (\S+)$", page("api.md"), re.MULTILINE)}
    assert set(pytest_vllmperf.__all__) - {"__version__"} - names == set()


def test_every_method_of_the_fixture_is_on_the_page_of_tests() -> None:
    text = page("writing-tests.md")
    assert [name for name in methods(VllmPerf) if f"`vllmperf.{name}(" not in text] == []
    assert "assert_slo" in methods(Measurement)
    assert "`run.assert_slo(" in text


def test_the_glossary_has_every_verdict() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|", page("glossary.md"), re.MULTILINE)
    judged = {one.value for one in Status if one.final and one is not Status.RECORDED}
    assert judged - set(rows) == set()

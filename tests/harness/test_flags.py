"""The table of options: each row has its field, its parser, its flag, its ini setting, its line in the documents."""

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from pytest_vllmperf.harness import options
from pytest_vllmperf.harness.flags import IN_MARKER, OPTIONS, Option
from pytest_vllmperf.harness.parsers import PARSERS
from pytest_vllmperf.metrics.table import GATES
from pytest_vllmperf.records.settings import DEFAULTS, CheckSettings, Settings, Update

ROOT = Path(__file__).parents[2]
DOCS = runpy.run_path(str(ROOT / "docs" / "generate.py"))


def fields(kind: type) -> set[str]:
    return {one.name for one in dataclasses.fields(kind)}


def test_every_field_of_the_settings_is_filled_by_one_row() -> None:
    of_tests = [name for option in IN_MARKER for name in option.fields]
    of_run = [name for option in OPTIONS if not option.marker for name in option.fields]
    assert sorted(of_tests) == sorted(fields(CheckSettings))
    assert sorted(of_run) == sorted(fields(Settings) - {"update", "check"})


def test_the_defaults_of_rows_and_fields_are_the_same(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]")
    found = options.settings(pytester.parseconfig())
    assert found == Settings(Update.NONE, pytester.path / "baselines", DEFAULTS)


def test_every_parser_belongs_to_a_row() -> None:
    assert {option.parse for option in OPTIONS if option.parse} == set(PARSERS)
    assert all(bool(option.parse) is (option.kind != "switch") for option in OPTIONS)


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name or "vllmperf")
def test_a_row_is_declared_as_flag_and_ini_setting(pytester: pytest.Pytester, option: Option) -> None:
    config = pytester.parseconfig()
    unset = False if option.kind == "switch" else None
    assert config.getoption(option.ini_name, "no flag") == (unset if option.flag else "no flag")
    if option.ini:
        assert config.getini(option.ini_name) in (None, [], False)
    else:
        with pytest.raises(ValueError, match="unknown configuration value"):
            config.getini(option.ini_name)


def test_help_says_what_an_option_does_and_its_default(pytester: pytest.Pytester) -> None:
    text = " ".join(pytester.runpytest_inprocess("--help").stdout.str().split())
    for option in OPTIONS:
        if option.flag:
            assert option.flag_name in text
            assert option.help in text
            assert option.kind == "switch" or not option.default or f"{option.help} ({option.default})" in text


def test_the_help_of_the_gate_names_every_set() -> None:
    (gate,) = [option for option in OPTIONS if option.name == "gate"]
    assert re.findall(r"'(\w+)'", gate.help) == ["auto", *GATES]


@pytest.mark.parametrize("name", list(DOCS["PARTS"]))
def test_documentation_that_is_made_from_the_code_is_up_to_date(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert DOCS["made"](text, DOCS["PARTS"][name]) == text, "run `nox -s docs`"


def test_the_page_of_tests_names_the_keywords_of_the_marker() -> None:
    keywords = ", ".join(option.name for option in IN_MARKER)
    assert f"`@pytest.mark.vllmperf(*, {keywords})`" in (ROOT / "docs" / "writing-tests.md").read_text(encoding="utf-8")


def test_a_part_is_made_anew_between_its_comments() -> None:
    text = "a\n<!-- options: by -->\nold\n<!-- /options -->\nb\n"
    assert DOCS["made"](text, {"options": lambda: "new \\1"}) == text.replace("old", "new \\1")
    for wrong in ("", text + text):
        with pytest.raises(ValueError, match="'options'"):
            DOCS["made"](wrong, {"options": lambda: "new"})


def test_a_genitive_in_a_help_text_is_no_quotation() -> None:
    row = DOCS["_row"](Option("x", "the run's file; 'auto' or 'off'", "word", "off"))
    assert row[2] == "the run's file; `auto` or `off`"

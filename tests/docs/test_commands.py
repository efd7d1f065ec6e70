"""Every command line of the documents is one that its program accepts."""

from __future__ import annotations

import configparser
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_vllmperf.harness.flags import OPTIONS
from tests.docs.blocks import Block, all_blocks, blocks, pages, spans
from tests.docs.commands import WrongCommandError, check_block, check_span, is_command

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

BLOCKS = all_blocks()
SHELL = ("sh", "bash", "shell", "console")
FLAGS = {option.flag_name for option in OPTIONS if option.flag}
INI = {option.ini_name for option in OPTIONS if option.ini}


def with_commands(block: Block) -> bool:
    return not block.reason and (block.language in SHELL or (not block.language and is_command(block.text)))


@pytest.mark.parametrize("block", [one for one in BLOCKS if with_commands(one)], ids=lambda one: one.where)
def test_its_program_accepts_each_command(block: Block, pytester: pytest.Pytester) -> None:
    assert check_block(block.text, pytester.parseconfig) > 0


@pytest.mark.parametrize(
    "block", [one for one in BLOCKS if one.language not in ("", "python", *SHELL)], ids=lambda b: b.where
)
def test_a_block_of_configuration_is_read_by_its_reader(block: Block, pytester: pytest.Pytester) -> None:
    if block.reason or block.language == "text":
        return
    if block.language == "yaml":
        yaml = pytest.importorskip("yaml")
        for script in scripts(yaml.safe_load(block.text)):
            check_block(known_commands(script), pytester.parseconfig)
    elif block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "json":
        assert json.loads(block.text)
    elif block.language == "ini":
        read = configparser.ConfigParser()
        read.read_string(block.text)
        assert [one for part in read.values() for one in part if one.startswith("vllmperf") and one not in INI] == []
    else:
        pytest.fail(f"nothing reads {block.language!r}: <!-- not checked: reason --> says why")


def scripts(found: Any) -> Iterator[str]:
    """The shell scripts in a file of a CI system: strings below `run`, `script` and the like."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in ("run", "script", "before_script", "command", "commands"):
                yield from [value] if isinstance(value, str) else [one for one in value if isinstance(one, str)]
            else:
                yield from scripts(value)
    elif isinstance(found, list):
        for one in found:
            yield from scripts(one)


def known_commands(script: str) -> str:
    """The lines that are ours: others of a CI file belong to its own system."""
    return "\n".join(line for line in script.splitlines() if re.match(r"(\S*bin/)?(pytest|vllmperf) ", line.strip()))


def test_no_option_is_named_that_does_not_exist() -> None:
    wrong = [
        f"{page.name}: {flag}"
        for page in pages()
        for flag in re.findall(r"--vllmperf(?:-[a-z][a-z-]*)?", page.read_text(encoding="utf-8"))
        if flag not in FLAGS
    ]
    assert wrong == []


def test_no_command_is_named_that_does_not_exist() -> None:
    named = [(page, one) for page in pages() for one in spans(page.read_text(encoding="utf-8"))]
    ours = [(page, one) for page, one in named if re.match(r"vllmperf [a-z-]", one)]
    assert len(ours) > 20
    for page, one in ours:
        try:
            check_span(one)
        except WrongCommandError as error:
            pytest.fail(f"{page.name}: {error}")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("pytest --vllmperf --vllmperf-marign=5%", "--vllmperf-marign"),
        ("pytest --vllmperf --vllmperf-margin=5", "margin"),
        ("pytest --vllmperf-update tests/a.py --vllmperf-engines=many", "many"),
        ("DEMO=1 pytest --vllmperf-upgrade", "--vllmperf-upgrade"),
        ("pip install nox && .venv/bin/pytest --vllmperf-nope", "--vllmperf-nope"),
        ("vllmperf chek A.json B.json", "invalid choice: 'chek'"),
        ("vllmperf check A.json", "required: B"),
        ("vllmperf check A.json B.json --explan-all | head", "--explan-all"),
        ("vllmperf bisect TEST --good 1 \\\n    --bda 2", "--ba"),
        ("pip install 'pytest-vllmperf[cudda]'", "cudda"),
        ("nox -s test", "'test'"),
        ("python -m bench.nothing", "bench/nothing.py"),
        ("docker run image pytest", "nothing checks 'docker'"),
    ],
)
def test_a_wrong_command_is_found(pytester: pytest.Pytester, line: str, said: str) -> None:
    with pytest.raises(WrongCommandError, match=re.escape(said)):
        check_block(line + "\n", pytester.parseconfig)


@pytest.mark.parametrize("span", ["vllmperf baseline shwo", "vllmperf nothing", "vllmperf check A B --explian"])
def test_a_wrong_command_in_a_sentence_is_found(span: str) -> None:
    with pytest.raises(WrongCommandError):
        check_span(span)


def test_blocks_are_found_with_their_kind_and_their_reason() -> None:
    page = "a\n\n    vllmperf init\n\n    x\n\nb\n```python\ny = 1\n```\n"
    page += "<!-- not checked: a sketch -->\n```docker\nz\n```\n"
    found = [(one.line, one.language, one.text, one.reason) for one in blocks(page)]
    assert found == [
        (3, "", "vllmperf init\n\nx\n", ""),
        (9, "python", "y = 1\n", ""),
        (13, "docker", "z\n", "a sketch"),
    ]


def test_a_block_that_shows_output_has_no_commands() -> None:
    assert not is_command("vllmperf: test_chat: its baseline holds another workload\ntest_chat  OK\n")
    assert is_command("VLLMPERF_KEY=x .venv/bin/pytest --vllmperf\n")

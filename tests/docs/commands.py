"""Checks command lines of documents by the real parsers: of pytest with the plugin, of `vllmperf`, pip and nox."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pytest_vllmperf.cli import command
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness import options
from tests.docs.blocks import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROGRAMS = (
    "pytest",
    "vllmperf",
    "pip",
    "nox",
    "python",
    "python3",
    ".",
    "uv",
    "git",
    "docker",
    "sbatch",
    "export",
    "cd",
    "sudo",
)
"""What a line of a block begins with that is a command, and no output."""

_ASSIGNED = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*=")
_ENDS = ("&&", "||", ";", "|", "&")
_BIN = re.compile(r"^\S*\bbin/(?=(pytest|vllmperf|pip|python3?|nox)$)")
_OTHER_PYTHON = re.compile(r"^(--vllmperf-(?:against|python)=)\S+")
Parse = Callable[..., pytest.Config]


class WrongCommandError(Exception):
    """A command that its own program refuses, or that nothing here can check."""


def is_command(text: str) -> bool:
    """Whether a block has commands: any of its lines begins with a program."""
    return any(_program(line) for line in text.splitlines())


def _program(line: str) -> str:
    words = [_BIN.sub("", word) for word in line.split(" ") if not _ASSIGNED.match(word)]
    return words[0] if words and words[0] in PROGRAMS else ""


def check_block(text: str, parse: Parse) -> int:
    """Check every command of a block.

    Args:
        text: of the block.
        parse: pytest's own parser.

    Returns:
        How many commands were checked.

    Raises:
        WrongCommandError: naming the command, and what is wrong.
    """
    found = list(commands(text))
    for words in found:
        check(words, parse)
    return len(found)


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a block, each as its words; variables, comments and redirections are left out."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        reader = shlex.shlex(line, posix=True, punctuation_chars=True)
        reader.whitespace_split = True
        words: list[str] = []
        for word in [*reader, ";"]:
            if word not in _ENDS:
                words.append(word)
                continue
            kept = _without_variables(words)
            if kept:
                yield kept
            words = []


def _without_variables(words: Sequence[str]) -> list[str]:
    kept = list(words)
    while kept and _ASSIGNED.match(kept[0]):
        del kept[0]
    if ">" in kept:
        kept = kept[: kept.index(">")]
    return [_BIN.sub("", kept[0]), *kept[1:]] if kept else []


def check(words: Sequence[str], parse: Parse) -> None:
    """Check one command.

    Raises:
        WrongCommandError: naming the command, and what is wrong.
    """
    program, *arguments = words
    if program in ("python", "python3") and arguments[:1] == ["-m"] and arguments[1:2] in (["pytest"], ["pip"]):
        program, *arguments = arguments[1:]
    checks = {
        "pytest": lambda: _pytest(arguments, parse),
        "vllmperf": lambda: _vllmperf(arguments),
        "pip": lambda: _pip(arguments),
        "nox": lambda: _nox(arguments),
        "python": lambda: _python(arguments),
        "python3": lambda: _python(arguments),
        **dict.fromkeys((".", "cd", "export"), lambda: None),
    }
    if program not in checks:
        raise WrongCommandError(
            f"{shlex.join(words)}: nothing checks {program!r}; <!-- not checked: reason --> says why"
        )
    try:
        checks[program]()
    except (WrongCommandError, pytest.UsageError, SpecError) as error:
        raise WrongCommandError(f"{shlex.join(words)}: {error}") from None


def _pytest(arguments: Sequence[str], parse: Parse) -> None:
    options.settings(parse(*(_OTHER_PYTHON.sub(rf"\g<1>{sys.executable}", one) for one in arguments)))


def _vllmperf(arguments: Sequence[str]) -> None:
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            command.parser().parse_args([one for one in arguments if one != "..."])
    except SystemExit as end:
        if end.code:
            raise WrongCommandError(said.getvalue().strip().splitlines()[-1]) from None


def check_span(span: str) -> None:
    """Check a command that a sentence names, such as `vllmperf baseline show`: not with all that it needs.

    Raises:
        WrongCommandError: for a command or an option that does not exist.
    """
    words = span.split()
    parser, names = command.parser(), iter(words[1:])
    while group := next(
        (one for one in parser._actions if hasattr(one, "choices") and one.dest == "==SUPPRESS=="), None
    ):
        name = next(names, None)
        if name is None or name.startswith("-") or name == "COMMAND":
            break
        for one in name.split("|"):
            if not isinstance(group.choices, dict) or one not in group.choices:
                raise WrongCommandError(f"{span}: vllmperf has no command {one!r}")
            parser = group.choices[one]
    known = {flag for one in parser._actions for flag in one.option_strings}
    if wrong := [one for one in words if one.startswith("--") and one.partition("=")[0] not in known]:
        raise WrongCommandError(f"{span}: no option {wrong[0]}")


def _pip(arguments: Sequence[str]) -> None:
    if arguments[:1] not in (["install"], ["uninstall"]):
        raise WrongCommandError("only pip install and pip uninstall are checked")
    for one in arguments[1:]:
        if one.startswith("-"):
            continue
        wanted = Requirement(one)
        if wanted.name == "pytest-vllmperf" and (unknown := wanted.extras - _project_extras()):
            raise WrongCommandError(f"there is no extra {', '.join(sorted(unknown))}")


@cache
def _project_extras() -> frozenset[str]:
    return frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def _nox(arguments: Sequence[str]) -> None:
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    known = {*re.findall(r"^def (\w+)\(session", text, re.MULTILINE), *re.findall(r'name="([\w-]+)"', text)}
    chosen = [word for flag, word in pairwise(arguments) if flag == "-s"]
    if unknown := [one for one in chosen if one not in known]:
        raise WrongCommandError(f"there is no session {unknown[0]!r}")
    if not chosen and arguments != ["-l"]:
        raise WrongCommandError("no session is named")


def _python(arguments: Sequence[str]) -> None:
    if arguments[:2] == ["-m", "venv"]:
        return
    name = f"{arguments[1].replace('.', '/')}.py" if arguments[0] == "-m" else arguments[0]
    if not Path(ROOT / name).is_file():
        raise WrongCommandError(f"there is no {name}")

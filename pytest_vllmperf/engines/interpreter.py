"""Looks at another interpreter: whether it is one, and which vLLM it has. Imports nothing of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from pytest_vllmperf.engines.arguments import interpreters_variables
from pytest_vllmperf.engines.offline import VLLM
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.records.home import home, without_home
from pytest_vllmperf.records.masking import masked_text

_WHERE = Path(__file__).parent / "child" / "vllmperf_where.py"
_TIMEOUT_S = 60.0
_LONGEST = 200
_Variables = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Interpreter:
    """An interpreter that has vLLM.

    Attributes:
        python: its path.
        folder: of its vLLM, with all links followed.
        version: of its vLLM, as its files say; empty where they do not.
    """

    python: str
    folder: str
    version: str

    @property
    def name(self) -> str:
        """For a person: `vLLM 0.30.0 of ~/stable/bin/python`."""
        shown = without_home(masked_text(self.python), home())
        return f"vLLM {self.version} of {shown}" if self.version else f"vLLM of {shown}"

    def same_as(self, python: str, env: Mapping[str, str]) -> bool:
        """Whether another interpreter has the very same vLLM, so that nothing but noise can differ."""
        try:
            return look("", python, env).folder == self.folder
        except SpecError:
            return False


def look(where: str, python: str, env: Mapping[str, str]) -> Interpreter:
    """Which vLLM an interpreter has.

    Args:
        where: what stands before the reason in an error.
        python: its absolute path.
        env: variables that its engines are given beside those of this process.

    Raises:
        SpecError: when it is no Python interpreter, cannot be started, or has no vLLM.
    """
    variables = interpreters_variables({**os.environ, **env})
    try:
        folder, version = _looked_at(python, variables)
    except SpecError as error:
        raise SpecError(f"{where}{error}") from None
    return Interpreter(python, folder, version)


def look_anew(where: str, python: str) -> Interpreter:
    """The same, for an interpreter whose packages may have changed since this process looked at it.

    Raises:
        SpecError: as for `look`.
    """
    _looked_at.cache_clear()
    return look(where, python, {})


@lru_cache(maxsize=32)
def _looked_at(python: str, variables: _Variables) -> tuple[str, str]:
    # Any program may be named: it is asked for its version first, which no program takes amiss.
    asked = _output(python, ["--version"], variables)
    if not asked.startswith("Python "):
        raise SpecError(f"{python} is not a Python interpreter: its version query returned {_shown(asked)}")
    try:
        told = json.loads(_output(python, [str(_WHERE), VLLM.module], variables))
        folders, version = told["folders"], told["version"]
    except (ValueError, LookupError, TypeError) as error:
        raise SpecError(f"{python} could not report its vLLM version: {error}") from None
    if not folders:
        raise SpecError(
            f"{VLLM.label} is not installed for {python}; install it there with {VLLM.install}, or name an "
            f"interpreter that has vLLM"
        )
    return os.path.realpath(folders[0]), version


def _output(python: str, arguments: list[str], variables: _Variables) -> str:
    """What it prints on both streams.

    Raises:
        SpecError: when it cannot be started, fails or takes too long.
    """
    try:
        done = subprocess.run(
            [python, *arguments],
            env={**os.environ, **dict(variables)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise SpecError(f"{python} cannot be started: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise SpecError(f"{python} is not a Python interpreter: it did not answer within {_TIMEOUT_S:g} s") from None
    if done.returncode:
        said = _shown(done.stderr or done.stdout)
        raise SpecError(
            f"{python} is not a Python interpreter: it exited with status {done.returncode} and printed {said}"
        )
    return done.stdout or done.stderr


def _shown(text: str) -> str:
    """The last line of what a program said, in quotes."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return repr(lines[-1][:_LONGEST]) if lines else "nothing"

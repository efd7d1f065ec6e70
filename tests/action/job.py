"""A job of GitHub Actions, as far as the action of this repository needs one: its shell steps run as a runner would."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
EXPRESSION = re.compile(r"\$\{\{\s*([\w.-]+)\s*\}\}")
SHELL = ["bash", "--noprofile", "--norc", "-eo", "pipefail"]
"""How a runner starts `shell: bash`."""


def action() -> dict[str, Any]:
    """The action; keys such as `on` stay texts."""
    found: dict[str, Any] = yaml.load((ROOT / "action.yml").read_text(encoding="utf-8"), yaml.BaseLoader)
    return found


def step(name: str) -> dict[str, Any]:
    """A step by the beginning of its name."""
    (found,) = [one for one in action()["runs"]["steps"] if one["name"].startswith(name)]
    assert isinstance(found, dict)
    return found


@dataclass(frozen=True)
class Ended:
    """What became of a step.

    Attributes:
        status: its exit status.
        output: all that it printed.
        outputs: what it wrote to `$GITHUB_OUTPUT`.
        summary: what was appended to the step's summary.
    """

    status: int
    output: str
    outputs: dict[str, str]
    summary: str


@dataclass(frozen=True)
class Job:
    """A job in a folder.

    Attributes:
        folder: the repository.
        files: where the runner keeps its own files.
    """

    folder: Path
    files: Path

    def run(self, name: str, values: Mapping[str, str], **variables: str) -> Ended:
        """Run a shell step.

        Args:
            name: the beginning of the step's name.
            values: of expressions, such as `inputs.tests`; inputs have their defaults.
            variables: more variables of the environment.
        """
        found = step(name)
        defaults = {f"inputs.{key}": one["default"] for key, one in action()["inputs"].items()}
        known = {**defaults, "inputs.python": sys.executable, **values}

        def filled(text: str) -> str:
            return EXPRESSION.sub(lambda match: known[match[1]], text)

        script = self.files / "script.sh"
        script.write_text(found["run"], encoding="utf-8")
        given = {key: filled(value) for key, value in found["env"].items()}
        folder = self.folder / filled(found.get("working-directory", "."))
        output, summary = self.files / "output", self.files / "summary"
        for file in (output, summary):
            file.write_text("", encoding="utf-8")
        environ = {**_clean(), **given, **self._variables(output, summary), **variables}
        ended = subprocess.run(
            [*SHELL, str(script)], cwd=folder, env=environ, text=True, capture_output=True, timeout=600, check=False
        )
        return Ended(
            ended.returncode, ended.stdout + ended.stderr, _outputs(output), summary.read_text(encoding="utf-8")
        )

    def _variables(self, output: Path, summary: Path) -> dict[str, str]:
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_ACTION_PATH": str(ROOT),
            "GITHUB_WORKSPACE": str(self.folder),
            "GITHUB_REPOSITORY": "me/mine",
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(summary),
            "PYTHONPATH": str(ROOT),
        }


def _clean() -> dict[str, str]:
    """The environment without what a CI or this run of pytest has set."""
    ours = ("GITHUB_", "VLLMPERF_", "PYTEST_", "CI")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def _outputs(file: Path) -> dict[str, str]:
    """What a runner makes of the file of outputs: a value stands between a line with its name and one with its end."""
    found, lines = {}, iter(file.read_text(encoding="utf-8").split("\n"))
    for line in lines:
        if line:
            name, _, end = line.partition("<<")
            found[name] = "\n".join(iter(lambda: next(lines), end))
    return found

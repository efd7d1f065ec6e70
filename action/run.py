"""Runs pytest for the GitHub Action of this repository, and hands its result to the job.

The inputs come as environment variables: none of them is ever a part of a shell command. Standard library only, as the
interpreter is the user's; the result of a run is read from the file that `--vllmperf-json` writes.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODES = {
    "check": "--vllmperf",
    "append": "--vllmperf-append",
    "update-new": "--vllmperf-update-new",
    "update": "--vllmperf-update",
}
FAIL_ON = ("verdict", "noisy", "never")
SWITCHES = ("true", "false")
FILES = {"report": "report.md", "page": "report.html", "json": "run.json", "junit": "junit.xml"}
"""Output of the action -> file of the report's folder."""

MARK = "<!-- pytest-vllmperf report -->"
"""The first line of every report, by which the comment of an earlier run is found."""

UNJUDGED = ("NO_BASELINE", "NOT_COMPARABLE", "INVALID")
"""Verdicts of checks that were compared with nothing."""

_SHOWN = 3
"""Tests that a line names."""

TESTS_FAILED = 1
NO_TESTS_COLLECTED = 5
USAGE_ERROR = 4


class InputError(Exception):
    """An input of the action that is not valid."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of the action.

    Attributes:
        command: what is run.
        folder: of the report.
        fail_on: one of `FAIL_ON`.
    """

    command: tuple[str, ...]
    folder: Path
    fail_on: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Inputs:
        """The inputs, out of the environment.

        Raises:
            InputError: naming the one that is not valid.
        """
        mode = _one_of(environ, "MODE", tuple(MODES))
        fail_on = _one_of(environ, "FAIL_ON", FAIL_ON)
        folder = Path(_text(environ, "OUTPUT") or "vllmperf-report").absolute()
        baselines, reason = _text(environ, "BASELINES"), _text(environ, "REASON")
        if reason and mode != "update":
            raise InputError("input reason: it is for the mode update alone")
        command = [sys.executable, "-m", "pytest", MODES[mode]]
        command += [f"--vllmperf-reason={reason}"] if reason else []
        command += [f"--vllmperf-baselines={baselines}"] if baselines else []
        command += ["--vllmperf-require-gpu"] if _one_of(environ, "REQUIRE_GPU", SWITCHES) == "true" else []
        command += ["--vllmperf-noisy=fail"] if fail_on == "noisy" else []
        command += [f"--vllmperf-report={folder / FILES[name]}" for name in ("report", "page")]
        command += [f"--vllmperf-json={folder / FILES['json']}", f"--junitxml={folder / FILES['junit']}"]
        return cls((*command, *_words(environ, "ARGUMENTS"), *_words(environ, "TESTS")), folder, fail_on)


def _text(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"VLLMPERF_ACTION_{name}", "").strip()


def _label(name: str) -> str:
    """The input as users write it."""
    return name.lower().replace("_", "-")


def _one_of(environ: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = _text(environ, name) or allowed[0]
    if value not in allowed:
        raise InputError(f"input {_label(name)}: {value!r} is not one of {', '.join(allowed)}")
    return value


def _words(environ: Mapping[str, str], name: str) -> list[str]:
    try:
        return shlex.split(_text(environ, name), comments=False)
    except ValueError as error:
        raise InputError(f"input {_label(name)}: {error}; quote it as in a shell") from None


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        outcome: in a word or two, see the outputs of the action.
        why: in a line; empty where pytest has said it.
        status: of the step: zero where it passes.
    """

    outcome: str
    why: str
    status: int


def result(exit_status: int, file: Path, fail_on: str) -> Result:
    """The result of a run; one that left no file is never a success.

    Args:
        exit_status: of pytest.
        file: that `--vllmperf-json` was to write.
        fail_on: one of `FAIL_ON`.
    """
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(run, dict) or run.get("schema") != "pytest-vllmperf/run":
            raise ValueError("it is not the file of a run")
        found, unforgiven = _outcome(exit_status, run), _not_forgiven(run)
    except (OSError, ValueError, KeyError, TypeError) as error:
        why = f"pytest ended with exit status {exit_status} and left no results that can be read: {error}"
        return Result("error", why, exit_status or TESTS_FAILED)
    if found in ("passed", "recorded"):
        return Result(found, "", exit_status)
    if found == "failed" and fail_on == "never":
        if unforgiven:
            return Result(found, f"{unforgiven}; fail-on: never does not cover that", exit_status or TESTS_FAILED)
        return Result(found, "tests failed by their verdicts; the step passes because of fail-on: never", 0)
    return Result(found, "" if exit_status else f"the run is not a success: {found}", exit_status or TESTS_FAILED)


def _outcome(exit_status: int, run: Mapping[str, Any]) -> str:
    """What the file of a run says together with the exit status."""
    tests = run["tests"]
    statuses = [check["status"] for test in tests for check in test["checks"]]
    outcomes = [test["outcome"] for test in tests]
    if exit_status not in (0, TESTS_FAILED, NO_TESTS_COLLECTED):
        return "incomplete" if run["run"]["outcome"] == "interrupted" else "error"
    if not run["run"]["complete"]:
        return "incomplete"
    if any(one in ("failed", "error") for one in outcomes):
        return "failed"
    silent = any(str(note).startswith("ERROR: nothing was") for note in run["run"]["notes"])
    if silent or all(one in ("skipped", "not run") for one in outcomes):
        return "nothing judged"
    if exit_status:
        return "failed"
    return "recorded" if statuses and set(statuses) == {"RECORDED"} else "passed"


def _not_forgiven(run: Mapping[str, Any]) -> str:
    """What of a failed run is no verdict on performance, in a line; empty where verdicts alone failed it."""
    failed = [test for test in run["tests"] if test["outcome"] in ("failed", "error")]
    by_other = [test["nodeid"] for test in failed if test.get("failed_by") != "verdict"]
    by_other += run["run"].get("others_failed", ())
    errors = [str(note) for note in run["run"]["notes"] if str(note).startswith("ERROR")]
    if by_other:
        more = f" and {len(by_other) - _SHOWN} more" if len(by_other) > _SHOWN else ""
        return f"failed for another reason than a verdict: {', '.join(by_other[:_SHOWN])}{more}"
    if errors:
        return errors[0]
    if not failed:
        return "the run failed, and none of its tests did"
    return "" if any(map(_judged, run["tests"])) else "no test judged anything"


def _judged(test: Mapping[str, Any]) -> bool:
    """Whether a test compared something, or measured something for assertions of its own."""
    compared = any(check["status"] not in UNJUDGED for check in test["checks"])
    return compared or any(test[kind] for kind in ("measurements", "comparisons", "overloads", "fits"))


def tell(environ: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Write the outputs of the step; a value may hold anything, also lines that look like another output."""
    file = environ.get("GITHUB_OUTPUT")
    if not file:
        return
    with Path(file).open("a", encoding="utf-8", errors="backslashreplace") as stream:
        for name, value in outputs.items():
            end = f"end-{secrets.token_hex(16)}"
            stream.write(f"{name}<<{end}\n{value}\n{end}\n")


def missing_report(environ: Mapping[str, str], folder: Path, result: Result) -> None:
    """Say that there is no report, where pytest has left none: the report of an earlier run must not stand for it.

    Args:
        environ: of the step.
        folder: of the report.
        result: of the run.
    """
    file = folder / FILES["report"]
    if file.exists():
        return
    why = " ".join(result.why.replace("`", "'").split()) or "the log of the job says why"
    text = f"{MARK}\n## vllmperf: {result.outcome.upper()}: no report was written\n\n`{why}`\n"
    file.write_text(text, encoding="utf-8", errors="backslashreplace")
    summary = environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)


def command(level: str, text: str) -> str:
    """A command that makes GitHub show a line as an annotation."""
    data = text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    return f"::{level} title=vllmperf::{data}"


def main(environ: Mapping[str, str]) -> int:
    """Run pytest; the exit status of the step."""
    try:
        inputs = Inputs.read(environ)
    except InputError as error:
        print(command("error", str(error)))
        tell(environ, {"outcome": "error", "exit-status": ""})
        return USAGE_ERROR
    for name in FILES.values():  # of an earlier run on this runner
        (inputs.folder / name).unlink(missing_ok=True)
    inputs.folder.mkdir(parents=True, exist_ok=True)
    print("$ " + shlex.join(inputs.command), flush=True)
    ended = subprocess.run(inputs.command, check=False).returncode
    status = 128 - ended if ended < 0 else ended
    found = result(status, inputs.folder / FILES["json"], inputs.fail_on)
    if found.why:
        print(command("error" if found.status else "warning", found.why))
    missing_report(environ, inputs.folder, found)
    files = {name: inputs.folder / file for name, file in FILES.items()}
    paths = {name: str(file) if file.is_file() else "" for name, file in files.items()}
    tell(environ, {"outcome": found.outcome, "exit-status": str(status), "folder": str(inputs.folder), **paths})
    return found.status


if __name__ == "__main__":
    sys.exit(main(os.environ))

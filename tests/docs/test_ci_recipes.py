"""Recipes for CI: each file is valid for the system that reads it, and the real parsers accept its commands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_vllmperf.cli import ci_files, command
from pytest_vllmperf.report.pages import SUFFIXES
from tests.action.job import action

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "ci"
PAGE = (ROOT / "docs" / "pull-requests.md").read_text(encoding="utf-8")
SCHEMAS = {
    "github.yml": "vendor.github-workflows",
    "github-baselines.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
    "buildkite.yml": "vendor.buildkite",
}
WRITTEN = {
    "github": ("vendor.github-workflows", ci_files.github),
    "gitlab": ("vendor.gitlab-ci", ci_files.gitlab),
}
"""What `vllmperf init` writes."""


def valid(schema: str, file: Path) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    ended = subprocess.run(check, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_file_is_valid_for_its_system(name: str) -> None:
    valid(SCHEMAS[name], FOLDER / name)


@pytest.mark.parametrize("system", WRITTEN)
@pytest.mark.parametrize("on_gpu", [True, False])
def test_what_init_writes_is_valid(system: str, on_gpu: bool, tmp_path: Path) -> None:
    schema, make = WRITTEN[system]
    file = tmp_path / "ci.yml"
    file.write_text(make("tests/test_a.py", on_gpu=on_gpu), encoding="utf-8")
    valid(schema, file)


def texts(node: Any) -> Iterator[str]:
    """Every text of a YAML document."""
    if isinstance(node, dict):
        for one in node.values():
            yield from texts(one)
    elif isinstance(node, list):
        for one in node:
            yield from texts(one)
    else:
        yield str(node)


def scripts(node: Any, keys: tuple[str, ...] = ("run", "script", "before_script", "command")) -> Iterator[str]:
    """Every shell script of a YAML document; the entries of a list are one after the other."""
    if isinstance(node, dict):
        for key, one in node.items():
            if key in keys:
                yield "\n".join(one) if isinstance(one, list) else str(one)
            else:
                yield from scripts(one)
    elif isinstance(node, list):
        for one in node:
            yield from scripts(one)


def shell_of(file: Path) -> list[str]:
    """The shell scripts of a recipe."""
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".sh":
        return [text]
    if file.suffix == ".yml":
        return [one.replace("$$", "$") for one in scripts(yaml.load(text, yaml.BaseLoader))]
    return []


def written() -> list[str]:
    return [one for _, make in WRITTEN.values() for on_gpu in (True, False)
            for one in scripts(yaml.load(make("tests/test_a.py", on_gpu=on_gpu), yaml.BaseLoader))]  # fmt: skip


SCRIPTS = [one for file in sorted(FOLDER.iterdir()) for one in shell_of(file)] + written()


def test_every_script_is_bash() -> None:
    assert len(SCRIPTS) > 10
    for script in SCRIPTS:
        ended = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr


def test_no_expression_in_a_script() -> None:
    """What a person typed would be a part of the shell's program."""
    assert not [script for script in SCRIPTS if "${{" in script]


def commands(name: str) -> list[list[str]]:
    """Every call of a program in the scripts and on the page, as words: without what follows it in its line."""
    blocks = re.findall(r"(?m)^    (.*)$", PAGE)
    lines = [line for text in (*SCRIPTS, *blocks) for line in text.replace("\\\n", " ").split("\n")]
    dockerfile = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
    lines += ["pytest " + shlex.join(json.loads(words)) for words in re.findall(r"(?m)^CMD (.*)$", dockerfile)]
    found = []
    for line in lines:
        match = re.match(rf"\s*(?:\S*/)?{name} (.*)", line)
        if match and not line.lstrip().startswith("#"):
            words = shlex.split(re.split(r"\s(?:\|\||&|;|\||#)(?:\s|$)|\s#\s", match[1] + " ")[0])
            found.append(words)
    return found


@pytest.mark.parametrize("words", commands("pytest"), ids=" ".join)
def test_pytest_accepts_the_command(words: list[str], pytester: pytest.Pytester) -> None:
    for name in ("tests/test_vllm_performance.py", "tests/test_a.py"):
        (pytester.path / name).parent.mkdir(exist_ok=True)
        (pytester.path / name).write_text("def test_nothing(): pass\n", encoding="utf-8")
    (pytester.path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    config = pytester.parseconfig(*words)
    assert any(config.getoption(f"vllmperf{name}") for name in ("", "_update", "_update_new", "_append")), words
    reports = config.getoption("vllmperf_report") or []
    assert all(Path(one).suffix in SUFFIXES for one in reports)
    assert not [word for word in words if "/" in word and "=" not in word and not (pytester.path / word).exists()]


def test_there_are_such_commands() -> None:
    assert len(commands("pytest")) > 6
    assert ["doctor"] in commands("vllmperf")


@pytest.mark.parametrize("words", commands("vllmperf"), ids=" ".join)
def test_vllmperf_accepts_the_command(words: list[str]) -> None:
    command.parser().parse_args(words)


@pytest.mark.parametrize("name", ["github.yml", "github-baselines.yml"])
def test_the_action_is_given_inputs_that_it_has(name: str) -> None:
    workflow = yaml.load((FOLDER / name).read_text(encoding="utf-8"), yaml.BaseLoader)
    (job,) = workflow["jobs"].values()
    (given,) = [step["with"] for step in job["steps"] if "pytest-vllmperf" in step.get("uses", "")]
    assert set(given) <= set(action()["inputs"])


@pytest.mark.parametrize("name", ["github.yml", "github-baselines.yml"])
def test_workflows_do_not_run_the_code_of_forks(name: str) -> None:
    workflow = yaml.load((FOLDER / name).read_text(encoding="utf-8"), yaml.BaseLoader)
    assert "pull_request_target" not in workflow["on"]
    (job,) = workflow["jobs"].values()
    assert "pull_request" not in workflow["on"] or "head.repo.full_name == github.repository" in job["if"]
    assert int(job["timeout-minutes"]) > 0
    assert workflow["concurrency"]["cancel-in-progress"] == "false"


def test_every_recipe_has_its_line_on_the_page() -> None:
    assert {file.name for file in FOLDER.iterdir()} == set(re.findall(r"\(ci/([\w.-]+)\)", PAGE))


def test_every_input_and_output_of_the_action_is_on_the_page() -> None:
    for kind in ("inputs", "outputs"):
        table = PAGE.partition(f"| {kind[:-1]} |")[2].partition("\n\n")[0]
        assert re.findall(r"(?m)^\| `([\w-]+)` \|", table) == list(action()[kind]), kind


@pytest.mark.parametrize(("status", "ended"), [(0, 0), (1, 1), (5, 5)])
def test_the_batch_job_ends_with_the_status_of_the_tests(tmp_path: Path, status: int, ended: int) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "pytest"
    python.write_text(f"#!/bin/sh\nexit {status}\n", encoding="utf-8")
    python.chmod(0o755)
    found = subprocess.run(["bash", str(FOLDER / "slurm.sh")], cwd=tmp_path, check=False)
    assert found.returncode == ended


def test_the_batch_job_hands_its_signal_on_and_waits(tmp_path: Path) -> None:
    """Its own time is nearly over: pytest writes what it has, and the status is pytest's."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "pytest"
    python.write_text(
        "#!/bin/bash\ntrap 'echo written > report; exit 2' TERM\nkill -TERM \"$PPID\"\n"
        "for _ in {1..600}; do sleep 0.05; done\n",
        encoding="utf-8",
    )
    python.chmod(0o755)
    found = subprocess.run(["bash", str(FOLDER / "slurm.sh")], cwd=tmp_path, check=False, timeout=60)
    assert found.returncode == 2
    assert (tmp_path / "report").read_text(encoding="utf-8") == "written\n"


DOCKER = '#!/bin/sh\nprintf "%s\\n" "$@" > "$CALLED"\nexit 7\n'


def test_the_container_gets_what_it_needs_and_its_status_is_kept(tmp_path: Path) -> None:
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(DOCKER, encoding="utf-8")
    docker.chmod(0o755)
    environ = {
        "PATH": f"{docker.parent}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "CALLED": str(tmp_path / "called"),
        "VLLMPERF_DOCKER_LOCKS": str(tmp_path / "locks"),
        "HF_TOKEN": "a secret",
        "GITHUB_STEP_SUMMARY": "/runner/summary",
    }
    run = ["bash", str(FOLDER / "docker-run.sh"), "--vllmperf", "-k", "a or b"]
    ended = subprocess.run(run, cwd=tmp_path, env=environ, check=False)
    assert ended.returncode == 7
    given = (tmp_path / "called").read_text(encoding="utf-8").splitlines()
    assert given[-4:] == ["vllmperf", "--vllmperf", "-k", "a or b"]
    assert {"--init", "--pid=host", "--gpus", "device=0", f"{tmp_path}:/work"} <= set(given)
    assert "HF_TOKEN" in given
    assert not [one for one in given if "a secret" in one]
    assert "/runner/summary:/summary" in given
    assert (tmp_path / "locks").stat().st_mode & 0o7777 == 0o1777

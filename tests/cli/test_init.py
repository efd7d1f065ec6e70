"""`vllmperf init`: what it writes is taken by pytest and CI, and nothing that exists is touched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_vllmperf import cli
from pytest_vllmperf.cli import init

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".git").mkdir()
    return folder


def run(*arguments: object) -> int:
    return cli.main(["init", *map(str, arguments)])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(one.relative_to(folder)): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def collected(folder: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "--strict-markers",
        "--strict-config",
        *arguments,
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_pytest_takes_what_is_written(project: Path, device: str, capsys: Capture) -> None:
    assert run(project, "--device", device) == 0
    told = capsys.readouterr().out
    assert [*contents(project)] == [init.TEST, "pytest.ini", init.GITHUB_FILE] or {*contents(project)} == {
        init.TEST, "pytest.ini", init.GITHUB_FILE,
    }  # fmt: skip
    for name in contents(project):
        assert f"wrote {project / name}\n" in told
    assert f"{init.TEST}::test_chat" in collected(project)
    assert f"{init.TEST}::test_chat" in collected(project, "--vllmperf")  # its settings are valid
    assert ("vllmperf_require_gpu = true" in (project / "pytest.ini").read_text()) is (device == "gpu")
    assert ("@pytest.mark.gpu()" in (project / init.TEST).read_text()) is (device == "gpu")
    assert ("PIP_EXTRA_INDEX_URL" in told) is (device == "cpu")


def test_the_folder_is_made_and_this_machine_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pytest_vllmperf.cli import first_test, initializing

    monkeypatch.setattr(initializing, "_here", lambda: first_test.on_gpu("NVIDIA H200"))
    assert run(tmp_path / "new" / "project", "--ci=none") == 0
    assert {*contents(tmp_path / "new" / "project")} == {init.TEST, "pytest.ini"}
    assert '@pytest.mark.gpu("H200")' in (tmp_path / "new" / "project" / init.TEST).read_text()


@pytest.mark.parametrize("existing", [init.TEST, init.GITHUB_FILE])
def test_nothing_is_written_where_one_of_its_files_exists(project: Path, existing: str, capsys: Capture) -> None:
    (project / existing).parent.mkdir(parents=True)
    (project / existing).write_text("mine")
    assert run(project, "--device=cpu") == 2
    assert contents(project) == {existing: b"mine"}
    (line,) = capsys.readouterr().err.splitlines()
    there = f"vllmperf: {project / existing} already exists"
    assert line == f"{there}, so nothing was written; move it away, or name another folder"


def test_a_second_run_changes_nothing(project: Path) -> None:
    assert run(project, "--device=cpu") == 0
    before = contents(project)
    assert run(project, "--device=gpu") == 2
    assert contents(project) == before


def test_a_dangling_link_is_no_free_place(project: Path, tmp_path: Path) -> None:
    (project / "tests").mkdir()
    (project / init.TEST).symlink_to(tmp_path / "elsewhere.py")
    assert run(project, "--device=cpu") == 2
    assert not (tmp_path / "elsewhere.py").exists()


def test_what_was_written_goes_again_where_the_rest_cannot_be(project: Path, capsys: Capture) -> None:
    (project / ".github").write_text("a file in the place of the folder")
    assert run(project, "--device=cpu") == 2
    assert {*contents(project)} == {".github"}
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_file_is_no_folder(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").touch()
    assert run(tmp_path / "file") == 2
    assert capsys.readouterr().err == f"vllmperf: {tmp_path / 'file'} is not a folder, so nothing was written\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("pyproject.toml", '  [tool.pytest.ini_options]\n  vllmperf_margin = "5%"\n  vllmperf_require_gpu = "true"\n'),
        ("setup.cfg", "  [tool:pytest]\n  vllmperf_margin = 5%\n  vllmperf_require_gpu = true\n"),
        ("pytest.ini", "  [pytest]\n  vllmperf_margin = 5%\n  vllmperf_require_gpu = true\n"),
    ],
)
def test_a_configuration_that_exists_stays_and_the_snippet_works(
    project: Path, name: str, shown: str, capsys: Capture
) -> None:
    (project / name).write_text("")
    assert run(project, "--device=gpu", "--ci=none") == 0
    assert contents(project)[name] == b""
    assert f"Add to {name}, which is left as it is:\n{shown}" in capsys.readouterr().out
    (project / name).write_text("\n".join(line.strip() for line in shown.splitlines()))
    assert init.TEST in collected(project, "--vllmperf")


def _steps(workflow: Mapping[str, Any]) -> str:
    (job,) = workflow["jobs"].values()
    assert "self-hosted" in job["runs-on"]
    return "\n".join(step.get("run", "") for step in job["steps"])


@pytest.mark.parametrize(("device", "extra"), [("cpu", "[cpu]"), ("gpu", "[cuda]")])
def test_the_workflow_is_yaml_that_runs_the_gate_on_ones_own_runner(project: Path, device: str, extra: str) -> None:
    assert run(project, "--device", device) == 0
    workflow = yaml.load((project / init.GITHUB_FILE).read_text(), yaml.BaseLoader)
    assert {*workflow["on"]} == {"push", "pull_request", "workflow_dispatch"}
    steps = _steps(workflow)
    assert f".venv/bin/pytest --vllmperf {init.TEST}" in steps
    assert f"'pytest-vllmperf{extra}'" in steps
    assert ("gpu" in workflow["jobs"]["performance"]["runs-on"]) is (device == "gpu")
    assert "head.repo.full_name == github.repository" in workflow["jobs"]["performance"]["if"]


def test_gitlab_gets_its_file_and_one_that_exists_is_included(project: Path, capsys: Capture) -> None:
    assert run(project, "--device=gpu", "--ci=gitlab") == 0
    job = yaml.safe_load((project / init.GITLAB_FILE).read_text())["vllmperf"]
    assert job["tags"] == ["gpu"]
    assert any(line.startswith(f".venv/bin/pytest --vllmperf {init.TEST} --junitxml=") for line in job["script"])
    assert job["artifacts"]["reports"]["junit"] in job["script"][-1]
    for name in (init.TEST, "pytest.ini"):
        (project / name).unlink()
    capsys.readouterr()
    assert run(project, "--device=gpu", "--ci=gitlab") == 0
    assert yaml.safe_load((project / init.GITLAB_BESIDE).read_text())["vllmperf"] == job
    assert f"Add to .gitlab-ci.yml:\n  include:\n    - local: {init.GITLAB_BESIDE}\n" in capsys.readouterr().out


def test_what_git_ignores_already_is_not_told(project: Path, capsys: Capture) -> None:
    (project / ".gitignore").write_text("/.venv/\nvllmperf-report/\n")
    assert run(project, "--device=gpu") == 0
    assert "Add to .gitignore:\n  vllmperf-rescue-*.json\n\n" in capsys.readouterr().out
    assert (project / ".gitignore").read_text() == "/.venv/\nvllmperf-report/\n"


def test_in_a_part_of_a_repository_it_says_where_the_ci_file_belongs(project: Path, capsys: Capture) -> None:
    assert run(project / "bench", "--device=gpu") == 0
    out = capsys.readouterr().out
    assert f"Move {init.GITHUB_FILE} to {project / init.GITHUB_FILE}, and let its commands run in bench" in out
    assert run(project / "other", "--device=gpu", "--ci=none") == 0
    assert "Move " not in capsys.readouterr().out

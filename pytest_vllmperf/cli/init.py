"""`vllmperf init`: a first test, its configuration and a CI file. Never changes a file that is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_vllmperf.cli import ci_files, first_test
from pytest_vllmperf.cli.first_test import FirstTest
from pytest_vllmperf.errors import SpecError

TEST = "tests/test_vllm_performance.py"
GITHUB_FILE = ".github/workflows/vllmperf.yml"
GITLAB_FILE, GITLAB_BESIDE = ".gitlab-ci.yml", ".gitlab/vllmperf.yml"
CI = ("github", "gitlab", "none")
DEVICES = ("auto", "cpu", "gpu")
IGNORED = (".venv/", ci_files.FOLDER, "vllmperf-rescue-*.json")
"""What a repository should not hold; baselines are to be committed."""
_SECTIONS = {
    "pytest.toml": "[pytest]",
    ".pytest.toml": "[pytest]",
    "pytest.ini": "[pytest]",
    ".pytest.ini": "[pytest]",
    "pyproject.toml": "[tool.pytest.ini_options]",
    "tox.ini": "[pytest]",
    "setup.cfg": "[tool:pytest]",
}
"""The files that pytest may have its configuration from, in its own order, each with its section."""


@dataclass(frozen=True)
class Files:
    """What is to be written, and what is left to the user.

    Attributes:
        folder: of the project.
        texts: of new files, by path in it.
        told: what the user is to add or do, in lines.
    """

    folder: Path
    texts: Mapping[str, str]
    told: tuple[str, ...]

    def write(self) -> None:
        """Write all files, or none.

        Raises:
            SpecError: where one of them exists, or the folder is none.
            OSError: one cannot be written; those before it are removed.
        """
        if os.path.lexists(self.folder) and not self.folder.is_dir():
            raise SpecError(f"{self.folder} is not a folder, so nothing was written")
        there = [name for name in self.texts if os.path.lexists(self.folder / name)]
        if there:
            raise SpecError(
                f"{' and '.join(str(self.folder / name) for name in there)} already "
                f"{'exists' if len(there) == 1 else 'exist'}, so nothing was written; move "
                f"{'it' if len(there) == 1 else 'them'} away, or name another folder"
            )
        written: list[Path] = []
        try:
            for name, text in self.texts.items():
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    written.append(path)
                    file.write(text)
        except OSError:
            for path in written:
                with suppress(OSError):
                    path.unlink()
            raise

    def lines(self) -> list[str]:
        """What was done, and what is left to do."""
        return [*(f"wrote {self.folder / name}" for name in self.texts), *self.told]


def plan(folder: Path, ci: str, device: str, here: Callable[[], FirstTest]) -> Files:
    """What to write into a project.

    Args:
        folder: of the project; made where it does not exist.
        ci: one of `CI`.
        device: one of `DEVICES`; where the tests will run. `auto` is this machine.
        here: the first test for this machine; asked for `auto` alone.
    """
    test = _test(device, here)
    on_gpu = test.on_gpu
    texts = {TEST: test.module}
    told = [""]
    settings = _settings(on_gpu=on_gpu)
    configured = next((name for name in _SECTIONS if os.path.lexists(folder / name)), None)
    if configured is None:
        texts["pytest.ini"] = "\n".join(["[pytest]", *(f"{name} = {value}" for name, value in settings.items()), ""])
    else:
        told += [f"Add to {configured}, which is left as it is:", *_snippet(configured, settings), ""]
    if ci == "github":
        texts[GITHUB_FILE] = ci_files.github(TEST, on_gpu=on_gpu)
    elif ci == "gitlab":
        beside = os.path.lexists(folder / GITLAB_FILE)
        texts[GITLAB_BESIDE if beside else GITLAB_FILE] = ci_files.gitlab(TEST, on_gpu=on_gpu)
        told += [f"Add to {GITLAB_FILE}:", "  include:", f"    - local: {GITLAB_BESIDE}", ""] if beside else []
    if ci != "none":
        told += [*_cpu_index(on_gpu=on_gpu), *_root(folder, texts)]
    return Files(folder, texts, (*told, *_ignored(folder), *_next(ci)))


def _test(device: str, here: Callable[[], FirstTest]) -> FirstTest:
    if device == "auto":
        return here()
    return first_test.on_cpu() if device == "cpu" else first_test.on_gpu("")


def _settings(*, on_gpu: bool) -> dict[str, str]:
    """Settings that a first project should have: a runner that lost its GPU must not pass by skipping."""
    return {"vllmperf_margin": "5%"} | ({"vllmperf_require_gpu": "true"} if on_gpu else {})


def _snippet(name: str, settings: Mapping[str, str]) -> list[str]:
    """The settings in the language of a configuration file."""
    toml = name.endswith(".toml")
    shown = {key: f'"{value}"' if toml else value for key, value in settings.items()}
    return [f"  {_SECTIONS[name]}", *(f"  {key} = {value}" for key, value in shown.items())]


def _ignored(folder: Path) -> list[str]:
    """What is still to be ignored by git."""
    try:
        known = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        known = []
    missing = [one for one in IGNORED if one not in known and f"/{one}" not in known]
    return ["Add to .gitignore:", *(f"  {one}" for one in missing), ""] if missing else []


def _next(ci: str) -> list[str]:
    runner = "" if ci == "none" else ", on the machine that the CI runs on"
    return [
        f"Next: record the baseline{runner}, and commit the file below baselines/:",
        f"  pytest --vllmperf-update {TEST}",
        "Then the gate fails on a regression:",
        f"  pytest --vllmperf {TEST}",
    ]


def _cpu_index(*, on_gpu: bool) -> list[str]:
    """Where a CPU build of torch comes from."""
    if on_gpu:
        return []
    return [
        "The CPU build of torch is not on PyPI. On the runner, set PIP_EXTRA_INDEX_URL to PyTorch's index of CPU",
        "wheels; pytorch.org shows the address.",
        "",
    ]


def _root(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Where a CI file belongs, if the folder is only a part of a repository."""
    full = folder.absolute()
    root = next((one for one in (full, *full.parents) if os.path.lexists(one / ".git")), full)
    files = [name for name in texts if name.startswith(".git")]
    if root == full or not files:
        return []
    inside = full.relative_to(root)
    return [
        f"Move {files[0]} to {root / files[0]}, and let its commands run in {inside}: a CI reads files at the root.",
        "",
    ]

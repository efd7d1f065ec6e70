"""Files for CI that run performance tests on a runner of one's own. Pure."""

from __future__ import annotations

FOLDER = "vllmperf-report/"
"""Where a run in CI writes its reports."""
_FILES = " ".join(
    [f"--junitxml={FOLDER}junit.xml", f"--vllmperf-report={FOLDER}report.html", f"--vllmperf-json={FOLDER}run.json"]
)

GITHUB = """\
# Performance tests of vLLM, on a runner of your own. A baseline counts for the hardware that it was recorded on:
# record it on this runner (`pytest --vllmperf-update`), and commit the file below baselines/.
name: vllmperf

on:
  push:
    branches: [main]
  pull_request:
  workflow_dispatch:

permissions:
  contents: read

concurrency:
  group: vllmperf
  cancel-in-progress: false

jobs:
  performance:
    # A pull request of a fork would run its code on your machine.
    if: github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository
    runs-on: [{labels}]
    timeout-minutes: 60
    steps:
      - uses: actions/checkout@v4
      - name: Install
        run: |
{install}
      - name: Look at the machine
        run: .venv/bin/vllmperf doctor
      - name: Measure and judge # the summary of the job and annotations are written without an option
        run: >-
          .venv/bin/pytest --vllmperf {test}
          {files}
      - name: Keep the report
        if: always()
        uses: actions/upload-artifact@v4
        with:
          name: vllmperf
          path: {folder}
          if-no-files-found: ignore
"""

GITLAB = """\
# Performance tests of vLLM, on a runner of your own. A baseline counts for the hardware that it was recorded on:
# record it on this runner (`pytest --vllmperf-update`), and commit the file below baselines/.
vllmperf:
  tags: [{labels}]
  timeout: 60 minutes
  resource_group: vllmperf
  script:
{install}
    - .venv/bin/vllmperf doctor
    - >-
      .venv/bin/pytest --vllmperf {test}
      {files} -o junit_family=xunit1
  artifacts:
    when: always
    expose_as: vllmperf
    paths: [{folder}]
    reports:
      junit: {folder}junit.xml
"""


def github(test: str, *, on_gpu: bool) -> str:
    """A GitHub workflow.

    Args:
        test: path of the test module in the repository.
        on_gpu: whether the runner has a GPU.
    """
    install = "\n".join(f"          {one}" for one in _install(on_gpu=on_gpu))
    labels = ", ".join(["self-hosted", "linux", *_label(on_gpu=on_gpu)])
    return GITHUB.format(labels=labels, install=install, test=test, files=_FILES, folder=FOLDER)


def gitlab(test: str, *, on_gpu: bool) -> str:
    """A job for GitLab.

    Args:
        test: path of the test module in the repository.
        on_gpu: whether the runner has a GPU.
    """
    install = "\n".join(f"    - {one}" for one in _install(on_gpu=on_gpu))
    labels = ", ".join(_label(on_gpu=on_gpu) or ["linux"])
    return GITLAB.format(labels=labels, install=install, test=test, files=_FILES, folder=FOLDER)


def _label(*, on_gpu: bool) -> list[str]:
    return ["gpu"] if on_gpu else []


def _install(*, on_gpu: bool) -> list[str]:
    """The commands that make an environment; packages built for other builds of torch break its CPU build."""
    pip = ".venv/bin/pip"
    if on_gpu:
        return ["python3 -m venv .venv", f"{pip} install 'pytest-vllmperf[cuda]'"]
    return [
        "python3 -m venv .venv",
        f"{pip} install 'pytest-vllmperf[cpu]'",
        f"{pip} uninstall --yes torchvision torchaudio torchcodec",
    ]

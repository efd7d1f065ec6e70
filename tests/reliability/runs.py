"""A `pytest --vllmperf` run on real engines, in a process of its own, that faults are done to from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.measuring import TINY

GONE_WITHIN_S = 5
"""How long anything of a run may outlive the run."""

MARK = "VLLMPERF_FAULT_RUN"
"""A variable that everything below a run inherits: what is left of it is found wherever it hangs by then."""

SUITE = """
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=4, input_tokens=16, output_tokens={tokens})

@pytest.mark.parametrize("number", range({tests}))
@pytest.mark.vllm("vllmperf:tiny", **{tiny!r})
def test_tiny(vllmperf, number):
    vllmperf.check(vllmperf.measure(WORK, iterations={iterations}, warmup=2))
"""

# Writes what a run says that it does, whether it is at a terminal or not.
PHASES = """
import os
import time

from pytest_vllmperf.harness.console import Console

shown = Console.progress

def progress(self, doing, waited):
    with open(os.environ["VLLMPERF_FAULT_PHASES"], "a") as file:
        file.write(f"{time.monotonic():.3f} {os.getpid()} {doing}\\n")
    shown(self, doing, waited)

Console.progress = progress
"""

# A shell starts what runs in its background with Ctrl-C ignored, `nohup` with SIGHUP, and so would all below it.
START = """
import signal, sys
import pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
sys.exit(pytest.main())
"""


def suite(*, tests: int = 1, tokens: int = 16, iterations: int = 5, **engine: object) -> str:
    """A module of tests on one tiny engine."""
    return SUITE.format(tests=tests, tokens=tokens, iterations=iterations, tiny={**TINY, **engine})


class Run:
    """One run.

    Args:
        folder: where it takes place; what is there stays.
        arguments: pytest's.
        env: variables over those of this process.
        prefix: a command that pytest is started with.
    """

    def __init__(
        self, folder: Path, arguments: Sequence[str], env: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
    ) -> None:
        self.folder = folder
        self.phases_file = folder / "phases"
        self.output_file = folder / "output"
        self.tmp = folder / "tmp"
        self.tmp.mkdir(exist_ok=True)
        self.phases_file.write_text("")
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "conftest.py").write_text(PHASES)
        self._name = f"{os.getpid()}-{time.monotonic_ns()}"
        own = {MARK: self._name, "VLLMPERF_FAULT_PHASES": str(self.phases_file), "TMPDIR": str(self.tmp)}
        with self.output_file.open("wb") as output:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, "-c", START, "-p", "no:cacheprovider", *arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **own, **(env or {})},
                start_new_session=True,
            )
        self._seen: dict[int, psutil.Process] = {}

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return self.output_file.read_text(errors="replace")

    def phases(self) -> list[str]:
        """What it has said that it does, in order."""
        return [line.split(" ", 2)[2] for line in self.phases_file.read_text().splitlines() if line.count(" ") >= 2]

    def reach(self, phase: str, seconds: float = 240.0) -> None:
        """Wait until it says that it does something. Its processes of that moment are noted."""
        self.until(lambda: any(phase in said for said in self.phases()), f"it says {phase!r}", seconds)
        self.note_processes()

    def until(self, found: Callable[[], bool], what: str, seconds: float = 240.0) -> None:
        """Wait for something to become true while the run goes on."""
        deadline = time.monotonic() + seconds
        while not found():
            assert self.process.poll() is None, f"it ended before {what}:\n{self.output[-4000:]}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}:\n{self.output[-4000:]}"
            time.sleep(0.02)

    def note_processes(self) -> list[psutil.Process]:
        """All processes below it now, which are looked for again at the end."""
        with suppress(psutil.NoSuchProcess):
            for one in psutil.Process(self.process.pid).children(recursive=True):
                self._seen[one.pid] = one
        return list(self._seen.values())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to pytest itself."""
        self.note_processes()
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def wait(self, seconds: float = 240.0) -> int:
        """Its exit status."""
        return self.process.wait(seconds)

    def left(self) -> list[str]:
        """Processes of it that still live, five seconds after its end."""
        psutil.wait_procs(list(self._seen.values()), timeout=GONE_WITHIN_S)
        deadline = time.monotonic() + GONE_WITHIN_S
        while (alive := self._alive()) and time.monotonic() < deadline:
            time.sleep(0.1)
        return alive

    def _alive(self) -> list[str]:
        found = []
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                ours = one.pid in self._seen and self._seen[one.pid] == one
                if (ours or one.environ().get(MARK) == self._name) and one.status() != psutil.STATUS_ZOMBIE:
                    found.append(f"{one.pid}: {' '.join(one.cmdline())[:120]}")
        return found

    def end(self) -> None:
        """End whatever is left of it."""
        self.note_processes()
        for one in [*self._seen.values()]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.kill()
        self.process.wait()

    def temporary(self) -> list[str]:
        """Files and folders of ours that it has left in its folder for temporary files."""
        return sorted(str(path.relative_to(self.tmp)) for path in self.tmp.rglob("*") if "vllmperf" in str(path))


def baselines(folder: Path) -> dict[str, bytes]:
    """All files below the baselines of a project, by path; hidden ones too."""
    root = folder / "baselines"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def sessions(folder: Path) -> int:
    """How many sessions all entries of a project's baselines have; every file has to be whole."""
    files = [json.loads(content) for name, content in baselines(folder).items() if name.endswith(".json")]
    return sum(len(entry["sessions"]) for file in files for entry in file["tests"].values())

"""A small project of its own for every test, on the simulated engine, and a look into its baseline files."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import scipy.special  # noqa: F401 - a run inside this process would import it anew, as a verdict needs it: two thirds of the run
import xdist.dsession
import xdist.remote
import xdist.scheduler
import xdist.workermanage  # noqa: F401 - the same, by runs with workers

import pytest_vllmperf.harness.armed  # noqa: F401 - numpy cannot be imported a second time by every run inside this process
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import VllmPerfWarning
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.records.spec import EngineSpec
from tests.loadgen.scripted import Scripted
from tests.loadgen.serving import authority, scripted, shared_server, tls_server, trusted
from tests.plugin.prepared import NO_PROC, PreparedPython
from tests.plugin.service import Service

__all__ = ["authority", "scripted", "shared_server", "tls_server", "trusted"]

HEADER = """\
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)
"""


# What a worker of xdist, which is a process of its own, has to do to see other GPUs.
GPUS_OF_WORKERS = """\
import os

from pytest_vllmperf import gpu
from pytest_vllmperf.gpu import GpuDevice

GPUS = {devices!r}
if os.environ.get("PYTEST_XDIST_WORKER"):
    gpu.devices = lambda: GPUS
"""

# Plugins of this project's own environment that a run inside a run would import again every time.
UNRELATED = ("-p", "no:hypothesispytest", "-p", "no:anyio")


class Project:
    """A folder with test modules, a configuration file, and baselines once they are recorded."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.root = pytester.path
        self._written = 0
        self.ini()

    def ini(self, *lines: str) -> None:
        """Write pytest.ini, which also keeps the root directory in its place."""
        self.write("pytest.ini", "\n".join(("[pytest]", *lines, "")))

    def write(self, name: str, text: str) -> Path:
        """Write a file as it is; never twice with one time stamp, by which Python knows what it has compiled."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        self._written += 1
        os.utime(path, (1e9 + self._written, 1e9 + self._written))
        return path

    def module(self, body: str, name: str = "test_chat.py") -> Path:
        """Write a test module that knows `pytest`, `Workload` and the workload `WORK`."""
        return self.write(name, f"{HEADER}\n{body}")

    def perf_tests(
        self,
        *tests: str,
        module: str = "test_chat.py",
        marks: Sequence[str] = (),
        check: str = "vllmperf.check(run)",
        **engine: object,
    ) -> Path:
        """Write a module of tests that measure `WORK` and check it; the engine takes 10 ms a step unless told."""
        arguments = ", ".join(f"{key}={value!r}" for key, value in {"step_seconds": 0.01, **engine}.items())
        decorators = [f'@pytest.mark.vllm("sim", backend="simulated", {arguments})', *marks]
        body = [
            [*decorators, f"def {test}(vllmperf):", "    run = vllmperf.measure(WORK)", f"    {check}", ""]
            for test in tests or ("test_chat",)
        ]
        return self.module("\n".join(line for lines in body for line in lines), module)

    def run(self, *args: str) -> pytest.RunResult:
        """Run pytest in this process; workers of xdist have their own anyway.

        A run of its own would not know that this project makes warnings errors.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings("default", category=VllmPerfWarning)
            return self.pytester.runpytest_inprocess(*UNRELATED, *args)

    def run_apart(self, *args: str) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        return self.pytester.runpytest_subprocess(*UNRELATED, *args)

    def record(self, *args: str) -> None:
        """Record a baseline, which has to work."""
        result = self.run("--vllmperf-update", *args)
        assert result.ret == pytest.ExitCode.OK

    def baseline(self, module: str = "test_chat") -> Path:
        """Where a module's baseline lies."""
        return self.root / "baselines" / "simulated" / f"{module}.json"

    def stored(self, module: str = "test_chat") -> dict[str, Any]:
        """The entries of a module's baseline by name."""
        entries: dict[str, Any] = json.loads(self.baseline(module).read_text(encoding="utf-8"))["tests"]
        return entries

    def engine(self, test: str = "test_chat", module: str = "test_chat") -> dict[str, Any]:
        """What is stored of a test's first engine."""
        samples: dict[str, Any] = self.stored(module)[test]["sessions"][0]["engines"][0]
        return samples

    def sessions(self, test: str = "test_chat", module: str = "test_chat") -> list[int]:
        """How many engines each stored session of a test has, oldest first."""
        return [len(session["engines"]) for session in self.stored(module)[test]["sessions"]]

    def files(self) -> dict[str, bytes]:
        """All baseline files, by path."""
        folder = self.root / "baselines"
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture(scope="session")
def prepared_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PreparedPython]:
    """Forks workers of xdist, for runs in this process; those of `run_apart` start as a user's do."""
    python = PreparedPython(tmp_path_factory.mktemp("prepared"))
    yield python
    python.close()


@pytest.fixture(autouse=True)
def _prepared_workers(prepared_python: PreparedPython, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execnet.gateway_io.popen_args", prepared_python.popen_args)


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project, seen on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    # In CI pytest writes longer lines; a run in a job of GitHub Actions writes to the job's summary.
    for variable in ("PYTEST_XDIST_WORKER", "CI", "BUILD_NUMBER", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(variable, raising=False)
    # How busy this machine is must not reach the environment and the metrics of a simulated engine.
    monkeypatch.setattr("pytest_vllmperf.lab.host.PROC", NO_PROC)
    return Project(pytester)


@pytest.fixture
def service(project: Project, scripted: Scripted) -> Service:
    """A project whose tests measure a server that runs already."""
    return Service(project, scripted)


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The label of every engine that a run in this process starts."""
    started: list[str] = []

    def start(spec: EngineSpec, number: int = 0) -> SimulatedEngine:
        started.append(spec.label)
        return SimulatedEngine(spec, number)

    monkeypatch.setattr("pytest_vllmperf.engines.simulated.SimulatedEngine", start)
    return started


@pytest.fixture
def gpus(project: Project, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Gives runs in this process, and their workers, the GPUs that it is called with, and no others."""

    def give(*devices: GpuDevice) -> None:
        monkeypatch.setattr("pytest_vllmperf.gpu.devices", lambda: devices)
        project.write("conftest.py", GPUS_OF_WORKERS.format(devices=devices))

    return give


@pytest.fixture(params=["alone", "xdist"])
def workers(request: pytest.FixtureRequest) -> list[str]:
    """Arguments for a run in one process, and for its twin in a worker that reports to a controller.

    One worker is enough for that, and starts in half the time; what needs two says so itself.
    """
    return ["-n", "1"] if request.param == "xdist" else []

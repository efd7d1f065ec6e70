"""SIGTERM and SIGHUP end an armed run as Ctrl-C does."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.conftest import is_gone

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

NOTE = "nothing was recorded because the run did not finish"
BOTH = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
# What ignores signals hands that on, as `nohup` does with SIGHUP: the plugin would leave them alone, rightly.
NOT_IGNORED = """\
import signal
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""


def _signalled(project: Project, number: int, pid: str = "os.getpid()", conftest: str = NOT_IGNORED) -> None:
    """The first test passes with something to record; while the second one runs, a process gets a signal."""
    project.write("conftest.py", conftest)
    project.perf_tests("test_a", step_seconds=0.02)
    with (project.root / "test_chat.py").open("a") as file:
        file.write(
            f"""
import os, time

@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.02)
def test_b(vllmperf):
    os.kill({pid}, {int(number)})
    time.sleep(60)
"""
        )


@BOTH
def test_alone(project: Project, number: signal.Signals) -> None:
    _signalled(project, number)
    result = project.run_apart("--vllmperf-update")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([NOTE, f"*! KeyboardInterrupt: ended by {number.name} !*"])
    assert "Traceback" not in result.stdout.str() + result.stderr.str()
    assert project.files() == {}


def test_a_worker_of_xdist(project: Project) -> None:
    _signalled(project, signal.SIGTERM)
    result = project.run_apart("--vllmperf-update", "-n", "1")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([NOTE])
    assert project.files() == {}


def test_the_controller_of_xdist(project: Project) -> None:
    _signalled(project, signal.SIGTERM, "os.getppid()")
    result = project.run_apart("--vllmperf-update", "-n", "1")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([NOTE])
    assert project.files() == {}


def test_a_test_that_catches_everything_is_the_last(project: Project) -> None:
    _signalled(project, signal.SIGTERM)
    module = project.root / "test_chat.py"
    caught = module.read_text().replace("    os.kill(", "    try:\n        os.kill(")
    caught = caught.replace("    time.sleep(60)", "        time.sleep(60)\n    except BaseException:\n        pass")
    mark, last = '@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.02)', "print('went on')"
    module.write_text(f"{caught}\n\n{mark}\ndef test_c(vllmperf):\n    {last}\n    assert False\n")
    result = project.run_apart("--vllmperf-update")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "went on" not in result.stdout.str()
    assert project.files() == {}


def test_an_unarmed_run_is_left_alone(project: Project) -> None:
    project.module(f"import os\n\ndef test_a():\n    os.kill(os.getpid(), {int(signal.SIGTERM)})\n")
    assert project.run_apart().ret == -signal.SIGTERM


HANDLERS = {
    "own": "signal.signal(signal.SIGTERM, lambda *_: print('my own handler', flush=True))",
    "ignored": "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
}


@pytest.mark.parametrize("kind", HANDLERS)
def test_a_handler_that_is_there_stays(project: Project, kind: str) -> None:
    _signalled(project, signal.SIGTERM, conftest=f"import signal\n{HANDLERS[kind]}\n")
    module = project.root / "test_chat.py"
    module.write_text(module.read_text().replace("time.sleep(60)", "vllmperf.check(vllmperf.measure(WORK))"))
    result = project.run_apart("--vllmperf-update", "-s")
    assert result.ret == pytest.ExitCode.OK
    assert ("my own handler" in result.stdout.str()) == (kind == "own")
    assert len(project.files()) == 1


def test_afterwards_signals_are_as_before(project: Project) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    project.perf_tests()
    project.record()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


def test_in_a_thread_signals_are_left_alone(project: Project) -> None:
    project.perf_tests()
    script = """
import signal, sys, threading, pytest
codes = []
thread = threading.Thread(target=lambda: codes.append(pytest.main(sys.argv[1:])))
thread.start()
thread.join()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
sys.exit(codes[0])
"""
    result = project.pytester.run(sys.executable, "-c", script, "--vllmperf-update", "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.OK


# Takes the place of vLLM's child script; tells its process id, and never answers to `run`.
CHILD = """
import os, subprocess, time

def serve(lines):
    for message in lines:
        if message["op"] == "load":
            lines.send({"ok": {
                "device": "cpu", "device_name": None, "max_model_len": 64, "vocab_size": 100, "special_token_ids": [],
                "prefix_caching": False, "kv_cache_tokens": None, "kv_cache_bytes": None, "versions": {},
                "resolved": {}, "load_seconds": 1.0,
                "weights": {"declared": {}, "asked": None, "resolved": None, "dummy": False, "loaded_bytes": None,
                            "layers": []},}})
            continue
        helper = subprocess.Popen(["sleep", "600"])
        with open(os.environ["PIDS"] + ".new", "w") as file:
            print(os.getpid(), os.getppid(), helper.pid, file=file)
        os.rename(file.name, os.environ["PIDS"])
        time.sleep(600)
"""
TWICE = """
import os, signal, threading, time

def end():
    while not os.path.exists({pids!r}):
        time.sleep(0.01)
    for _ in range({times}):
        os.kill(os.getpid(), {number})
        time.sleep(0.01)

@pytest.mark.vllm("org/model")
def test_a(vllmperf):
    threading.Thread(target=end).start()
    vllmperf.measure(WORK)
"""


@BOTH
@pytest.mark.parametrize("times", [1, 2])
def test_engines_and_temporary_files_are_gone(
    project: Project, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, times: int
) -> None:
    temporary, modules, pids = project.root / "tmp", project.root / "modules", project.root / "pids"
    temporary.mkdir()
    modules.mkdir()
    for name, text in {"vllm": "LLM = None\n", "compressed_tensors": "", "vllmperf_offline": CHILD}.items():
        (modules / f"{name}.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(modules), str(Path(__file__).parents[2])]))
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(temporary))
    monkeypatch.setenv("PIDS", str(pids))
    project.write("conftest.py", NOT_IGNORED)
    project.module(TWICE.format(pids=str(pids), number=int(number), times=times))
    result = project.run_apart("--vllmperf-update")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert f"ended by {number.name}" in result.stdout.str()
    processes = pids.read_text().split()
    assert len(processes) == 3
    assert not [pid for pid in processes if not is_gone(int(pid))]
    assert [entry.name for entry in temporary.iterdir() if entry.name.startswith("v")] == []

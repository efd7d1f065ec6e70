"""The GitHub Action: its file is valid, its inputs cannot be commands, and no run that saw nothing is a success."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.report.pages import MARK
from pytest_vllmperf.storage import runs
from tests.action.job import EXPRESSION, ROOT, Ended, Job, action
from tests.report.pages.test_outcome import SAID

MODULE = """\
import os
import pytest
from pytest_vllmperf import Workload

@pytest.mark.vllm("sim", backend="simulated", step_seconds=float(os.environ.get("STEP", "0.01")))
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(Workload.synthetic(requests=4, input_tokens=8, output_tokens=5)))

@pytest.mark.skip(reason="not here")
@pytest.mark.vllm("sim", backend="simulated")
def test_skipped(vllmperf):
    pass
"""


def repository(folder: Path) -> Job:
    """A repository with one performance test that has to be measured, and one that is skipped."""
    folder, files = folder / "repository", folder / "runner"
    folder.mkdir()
    files.mkdir()
    (folder / "test_chat.py").write_text(MODULE, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p no:anyio\n", encoding="utf-8")
    return Job(folder, files)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A repository without a baseline."""
    return repository(tmp_path)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, Ended]:
    """A repository whose baseline was recorded, and how."""
    made = repository(tmp_path_factory.mktemp("recorded"))
    return made, measured(made, {"mode": "update"})


@pytest.fixture
def recorded(job: Job, recording: tuple[Job, Ended]) -> Job:
    """A repository with a baseline."""
    shutil.copytree(recording[0].folder / "baselines", job.folder / "baselines")
    return job


def measured(job: Job, given: dict[str, str] | None = None, **variables: str) -> Ended:
    """Run the tests with these inputs; there is no GPU here."""
    inputs = {"require-gpu": "false", **(given or {})}
    return job.run("Run", {f"inputs.{name}": value for name, value in inputs.items()}, **variables)


def test_recording_is_told_from_judging(recording: tuple[Job, Ended]) -> None:
    ended = recording[1]
    assert (ended.status, ended.outputs["outcome"]) == (0, "recorded"), ended.output


def test_the_file_is_valid() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-actions", "action.yml"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout


def test_no_expression_in_a_command_and_each_input_is_used() -> None:
    steps = action()["runs"]["steps"]
    assert not [one["name"] for one in steps if "${{" in one.get("run", "")]
    text = (ROOT / "action.yml").read_text(encoding="utf-8")
    used = set(re.findall(r"inputs\.([\w-]+)", text))
    assert used == set(action()["inputs"])
    variables = {name for one in steps for name in one.get("env", {}) if name.startswith("VLLMPERF_ACTION_")}
    scripts = "".join((ROOT / "action" / name).read_text(encoding="utf-8") for name in ("run.py", "comment.sh"))
    for name in variables - {"VLLMPERF_ACTION_PYTHON"}:
        assert name.removeprefix("VLLMPERF_ACTION_") in scripts
    outputs = [match for one in action()["outputs"].values() for match in EXPRESSION.findall(one["value"])]
    assert all(one.startswith("steps.run.outputs.") for one in outputs)


def test_used_actions_are_pinned_to_a_major_version() -> None:
    used = [one["uses"] for one in action()["runs"]["steps"] if "uses" in one]
    assert used
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", one) for one in used)


def test_the_script_of_the_comment_is_bash() -> None:
    subprocess.run(["bash", "-n", str(ROOT / "action" / "comment.sh")], check=True)


def test_a_green_run(recorded: Job) -> None:
    ended = measured(recorded)
    assert ended.status == 0
    assert ended.outputs["outcome"] == "passed"
    assert ended.outputs["exit-status"] == "0"
    for name in ("report", "page", "json", "junit"):
        assert Path(ended.outputs[name]).is_file(), name
        assert Path(ended.outputs[name]).parent == Path(ended.outputs["folder"])
    assert set(ended.outputs) == {one["value"].split(".")[-1].rstrip(" }") for one in action()["outputs"].values()} | {
        "folder"
    }
    assert ended.summary.count("## vllmperf: PASSED: 1 check: 1 OK, 1 test skipped") == 1
    ET.parse(ended.outputs["junit"])


@pytest.mark.parametrize(("fail_on", "status"), [("verdict", 1), ("noisy", 1), ("never", 0)])
def test_a_red_run(recorded: Job, fail_on: str, status: int) -> None:
    ended = measured(recorded, {"fail-on": fail_on}, STEP="0.02")
    assert (ended.status, ended.outputs["outcome"]) == (status, "failed")
    assert "::error file=test_chat.py,line=5,title=REGRESSED" in ended.output
    assert Path(ended.outputs["report"]).read_text(encoding="utf-8").startswith("<!-- pytest-vllmperf report -->\n## ")


BESIDE = """
def test_beside():
    assert 1 + 1 == 3
"""
AFTER_IT = """
@pytest.fixture(autouse=True)
def breaks():
    yield
    raise RuntimeError("late")
"""


BEFORE_IT = "    vllmperf.check("


@pytest.mark.parametrize(("module", "named", "step"), [
    (MODULE + BESIDE, "test_chat.py::test_beside", "0.02"),
    (MODULE.replace(BEFORE_IT, f"    assert not vllmperf\n{BEFORE_IT}"), "test_chat.py::test_chat", "0.01"),
    (MODULE.replace(BEFORE_IT, f"    raise OSError('no disk')\n{BEFORE_IT}"), "test_chat.py::test_chat", "0.01"),
    (MODULE + AFTER_IT, "test_chat.py::test_chat", "0.02"),
], ids=["another test", "assert", "exception", "teardown"])  # fmt: skip
def test_never_forgives_nothing_but_verdicts(recorded: Job, module: str, named: str, step: str) -> None:
    (recorded.folder / "test_chat.py").write_text(module, encoding="utf-8")
    ended = measured(recorded, {"fail-on": "never"}, STEP=step)
    assert (ended.status, ended.outputs["outcome"]) == (1, "failed"), ended.output
    assert f"::error title=vllmperf::failed for another reason than a verdict: {named}; fail-on" in ended.output


def test_what_the_file_of_an_older_plugin_does_not_tell_is_not_forgiven(tmp_path: Path) -> None:
    loaded = runpy.run_path(str(ROOT / "action" / "run.py"))
    (report,) = (one for one, said in SAID if said == "FAILED: 1 of 2 performance tests failed: 1 REGRESSED")
    tests = tuple(
        one.model_copy(update={"failed_by": "verdict" if one.outcome == "failed" else ""}) for one in report.tests
    )
    runs.write(tmp_path / "run.json", report.model_copy(update={"tests": tests}))
    assert loaded["result"](1, tmp_path / "run.json", "never").status == 0
    told = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    for test in told["tests"]:
        test.pop("failed_by")
    told["run"].pop("others_failed")
    (tmp_path / "run.json").write_text(json.dumps(told), encoding="utf-8")
    assert loaded["result"](1, tmp_path / "run.json", "never").status == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"notes": ("ERROR: 3 GiB of GPU memory did not come back",)}, "ERROR: 3 GiB of GPU memory did not come back"),
        (
            {"others_failed": ("a", "b", "c", "d", "e")},
            "failed for another reason than a verdict: a, b, c and 2 more",
        ),
    ],
)
def test_what_else_failed_the_run_is_not_forgiven(tmp_path: Path, changed: dict[str, object], why: str) -> None:
    loaded = runpy.run_path(str(ROOT / "action" / "run.py"))
    (report,) = (one for one, said in SAID if said == "FAILED: 1 of 2 performance tests failed: 1 REGRESSED")
    tests = tuple(one.model_copy(update={"failed_by": "verdict"}) for one in report.tests)
    run = report.run.model_copy(update=changed)
    runs.write(tmp_path / "run.json", report.model_copy(update={"tests": tests, "run": run}))
    found = loaded["result"](1, tmp_path / "run.json", "never")
    assert (found.status, found.why) == (1, f"{why}; fail-on: never does not cover that")


def test_a_run_that_fails_without_a_failed_test_is_not_forgiven(tmp_path: Path) -> None:
    loaded = runpy.run_path(str(ROOT / "action" / "run.py"))
    (report,) = (one for one, said in SAID if "no performance test failed, but the run ended" in said)
    runs.write(tmp_path / "run.json", report)
    assert loaded["result"](1, tmp_path / "run.json", "never").status == 1


@pytest.mark.parametrize(("given", "outcome", "status"), [
    ({"tests": "test_chat.py::test_skipped"}, "nothing judged", 1),
    ({"arguments": "-k nothing_of_that_name"}, "nothing judged", 5),
    ({"tests": "missing.py"}, "error", 4),
    ({"arguments": "--no-such-flag"}, "error", 4),
    ({}, "failed", 1),  # no baseline
])  # fmt: skip
def test_what_saw_nothing_is_no_success(job: Job, given: dict[str, str], outcome: str, status: int) -> None:
    ended = measured(job, {**given, "fail-on": "never"})
    assert (ended.status, ended.outputs["outcome"]) == (status, outcome), ended.output


@pytest.mark.parametrize(("report", "said"), SAID, ids=[said for _, said in SAID])
def test_the_outcome_is_the_first_word_of_the_report(report: RunReport, said: str, tmp_path: Path) -> None:
    """The action has its own reading of a run, as it cannot import the plugin."""
    runs.write(tmp_path / "run.json", report)
    loaded = runpy.run_path(str(ROOT / "action" / "run.py"))
    found = loaded["result"](report.run.exit_status, tmp_path / "run.json", "verdict")
    assert found.outcome == said.partition(":")[0].lower()
    assert (found.status == 0) == (found.outcome in ("passed", "recorded"))


def test_an_engine_that_does_not_start_is_no_verdict(recorded: Job) -> None:
    module = MODULE.replace('backend="simulated", step', 'backend="simulated", fail="load", step')
    (recorded.folder / "test_chat.py").write_text(module, encoding="utf-8")
    ended = measured(recorded, {"fail-on": "never"})
    assert (ended.status, ended.outputs["outcome"]) == (1, "failed"), ended.output
    assert (
        "::error title=vllmperf::failed for another reason than a verdict: test_chat.py::test_chat; fail-on: never "
        "does not cover that" in ended.output
    )


def test_a_run_that_is_not_armed_is_no_success(job: Job) -> None:
    """An interpreter whose pytest passes and has no such plugin."""
    python = job.files / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exit 0\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    fake = job.files / "sitecustomize.py"
    fake.write_text(f"import sys\nsys.executable = {str(python)!r}\n", encoding="utf-8")
    ended = measured(job, PYTHONPATH=str(job.files))
    assert (ended.status, ended.outputs["outcome"]) == (1, "error"), ended.output
    assert "::error title=vllmperf::pytest ended with exit status 0 and left no results" in ended.output


def test_the_files_of_an_earlier_run_are_not_taken_for_this_one(recorded: Job) -> None:
    assert measured(recorded).outputs["outcome"] == "passed"
    (recorded.folder / "conftest.py").write_text(
        "import os\ndef pytest_runtest_setup():\n    os._exit(0)\n", encoding="utf-8"
    )
    ended = measured(recorded)
    assert (ended.status, ended.outputs["outcome"], ended.outputs["json"]) == (1, "error", "")
    text = Path(ended.outputs["report"]).read_text(encoding="utf-8")
    assert "## vllmperf: ERROR: no report was written" in text
    assert "exit status 0 and left no results" in text
    assert "## vllmperf: ERROR: no report was written" in ended.summary


@pytest.mark.parametrize(
    "name", ["tests", "arguments", "baselines", "output", "mode", "fail-on", "require-gpu", "reason"]
)
def test_inputs_cannot_be_commands(job: Job, name: str) -> None:
    evil = "a'; touch pwned; $(touch pwned) `touch pwned` \n touch pwned '\noutcome=passed\noutcome<<x\npassed\nx\n"
    ended = measured(job, {name: evil})
    assert ended.status != 0
    assert ended.outputs["outcome"] in ("error", "failed")  # without a baseline
    assert not list(job.folder.parent.rglob("pwned*"))


@pytest.mark.parametrize(("name", "said"), [
    ("mode", "input mode: 'x y' is not one of check, append, update-new, update"),
    ("fail-on", "input fail-on: 'x y' is not one of verdict, noisy, never"),
    ("require-gpu", "input require-gpu: 'x y' is not one of true, false"),
])  # fmt: skip
def test_an_input_that_is_not_valid(job: Job, name: str, said: str) -> None:
    ended = measured(job, {name: "x y"})
    assert ended.status == 4
    assert f"::error title=vllmperf::{said}" in ended.output


def test_a_reason_without_a_recording(job: Job) -> None:
    ended = measured(job, {"reason": "new driver"})
    assert ended.status == 4
    assert "::error title=vllmperf::input reason: it is for the mode update alone" in ended.output


def test_quotes_that_do_not_match(job: Job) -> None:
    ended = measured(job, {"arguments": "-k 'open"})
    assert ended.status == 4
    assert "input arguments: No closing quotation; quote it as in a shell" in ended.output


def test_inputs_reach_pytest(job: Job) -> None:
    given = {"tests": "'test_chat.py::test_chat'", "arguments": "-k 'test_chat or other'", "baselines": "my folder"}
    ended = measured(job, {**given, "mode": "update", "reason": "it's new; $x", "output": "out/put"})
    assert ended.status == 0, ended.output
    stored = json.loads((job.folder / "my folder" / "simulated" / "test_chat.json").read_text(encoding="utf-8"))
    assert stored["tests"]["test_chat"]["reason"] == "it's new; $x"
    assert Path(ended.outputs["json"]) == job.folder / "out" / "put" / "run.json"
    assert len(json.loads(Path(ended.outputs["json"]).read_text(encoding="utf-8"))["tests"]) == 1


def test_without_a_gpu_the_run_fails_unless_told_otherwise(recorded: Job) -> None:
    ended = measured(recorded, {"require-gpu": "true"})
    assert (ended.status, ended.outputs["outcome"]) == (1, "failed")
    assert "--vllmperf-require-gpu: this machine has no GPU" in ended.output


GH = """\
#!/bin/sh
printf '%s\\n' "$*" >> calls
for one in "$@"; do case "$one" in body=@*) cat "${one#body=@}" > body;; esac; done
case "$*" in *--paginate*) printf '%s' "$FOUND"; exit "${LISTING:-0}";; esac
exit "${WRITING:-0}"
"""


def commented(job: Job, artifact: str = "vllmperf", **variables: str) -> tuple[Ended, list[str]]:
    (job.files / "gh").write_text(GH, encoding="utf-8")
    (job.files / "gh").chmod(0o755)
    (job.folder / "a report.md").write_text("the report\n", encoding="utf-8")
    values = {"github.token": "t", "steps.run.outputs.report": "a report.md"}
    values |= {"inputs.artifact": artifact}
    values |= {"github.event.pull_request.number": "7", "github.event.pull_request.head.sha": "abc123"}
    ended = job.run("Comment", values, PATH=f"{job.files}:/usr/bin:/bin", **variables)
    return ended, (job.folder / "calls").read_text(encoding="utf-8").splitlines()


def test_a_comment_is_written(job: Job) -> None:
    ended, calls = commented(job, GITHUB_WORKFLOW="nightly run", GITHUB_JOB="gpu")
    assert ended.status == 0, ended.output
    assert calls[1].startswith("api --method POST repos/me/mine/issues/7/comments --field body=@")
    assert (job.folder / "body").read_text(encoding="utf-8") == (
        "the report\n\nCommit abc123\n\n<!-- vllmperf job nightly_run/gpu/vllmperf -->\n"
    )


def test_the_comment_of_an_earlier_run_is_replaced(job: Job) -> None:
    ended, calls = commented(job, FOUND="12\n13\n")
    assert ended.status == 0, ended.output
    assert calls[1].startswith("api --method PATCH repos/me/mine/issues/comments/12 --field body=@")


@pytest.mark.skipif(shutil.which("jq") is None, reason="needs jq")
def test_a_job_of_a_matrix_replaces_its_own_comment_only(job: Job) -> None:
    """A green job must not write over the report of a red one."""
    comments = []
    for number, artifact in enumerate(['vllmperf-"h100" -->', "vllmperf-a100"]):
        _, calls = commented(job, artifact)
        body = f"{MARK}\n{(job.folder / 'body').read_text(encoding='utf-8')}"
        comments.append({"id": number, "user": {"type": "Bot"}, "body": body})
        query = calls[-2].partition(" --jq ")[2]
        found = subprocess.run(["jq", query], input=json.dumps(comments), capture_output=True, text=True, check=True)
        assert found.stdout.split() == [str(number)]


@pytest.mark.parametrize("fails", [{"LISTING": "1"}, {"WRITING": "1"}])
def test_a_comment_that_cannot_be_written_is_a_warning(job: Job, fails: dict[str, str]) -> None:
    ended, _ = commented(job, **fails)
    assert ended.status == 0
    assert ended.output.count("::warning title=vllmperf::The report could not be written as a comment.") == 1


def test_comments_are_found_by_what_every_report_begins_with() -> None:
    assert f"mark='{MARK}'" in (ROOT / "action" / "comment.sh").read_text(encoding="utf-8")
    assert f'MARK = "{MARK}"' in (ROOT / "action" / "run.py").read_text(encoding="utf-8")

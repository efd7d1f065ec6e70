"""Secrets are planted wherever a test can give them to an engine; no output of any kind holds one of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_vllmperf.cli import main
from pytest_vllmperf.engines import simulated

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

# Each ends in a word of its own, which no output may hold.
ENV = {
    "DATABASE_URL": "postgres://app:pw-quartz@db/prod",
    "HTTPS_PROXY": "http://me:pw-topaz@proxy:3128",
    "PGPASS": "pgpass-basalt",
    "COOKIE": "session=cookie-amber",
    "ALERTS": "https://hooks.slack.com/services/T0/B0/hook-beryl",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfi-coral",
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7GARNET",
    "HF_TOKEN": "hf_AbCdEfGhIjKlMnOpjade",
    "VLLM_API_KEY": "sk-0123456789abcdef-lapis",
    "MY_SETTING": "setting 'with' \"quotes\" onyx",
    "GH": "ghp_0123456789abcdefghijopal",
    "JWT": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.pearl",
    "CERTIFICATE": "-----BEGIN PRIVATE KEY-----\nMIIEruby0123456789\n-----END PRIVATE KEY-----",
    "AUTH_HEADER": "Bearer bearer-sapphire",
    "LICENSE": "license zircon",
}
ARGUMENTS = {
    "hf_token": "hf_AbCdEfGhIjKlMnOpadder",
    "download_dir": "https://me:pw-badger@mirror/models?token=cobra",
    "hf_overrides": {"api_key": "plain words dingo", "list": [{"password": "plain words ermine"}]},
}
CHANGED = "hf_AbCdEfGhIjKlMnOpferret"
LEAKS = [
    "quartz", "topaz", "basalt", "amber", "beryl", "coral", "GARNET", "jade", "lapis", "onyx", "opal", "pearl", "ruby",
    "sapphire", "zircon", "adder", "badger", "cobra", "dingo", "ermine", "ferret",
]  # fmt: skip

# A simulated engine that takes any argument, and whose log shows all that it was given when it fails.
CONFTEST = """
import json, os, pathlib
from pytest_vllmperf.engines import simulated
from pytest_vllmperf.errors import EngineDiedError, EngineStartError
from pytest_vllmperf.records.spec import EngineSpec

PLANTED = json.loads(pathlib.Path(os.environ["PLANTED"]).read_text())

class Leaky(simulated.SimulatedEngine):
    def __init__(self, spec, start=0):
        args, mode = spec.args, spec.args.get("seed")
        if mode == 1:
            raise EngineStartError(f"vLLM refused sim: {args}", self.log(spec))
        super().__init__(EngineSpec.create("sim", backend="simulated", step_seconds=args.get("step_seconds", 0.01)))
        self.spec, self.mode = spec, mode

    def run(self, requests, sampling):
        if self.mode == 2:
            raise EngineDiedError(f"sim: died of {dict(self.spec.env)}", self.log(self.spec))
        return super().run(requests, sampling)

    def log(self, spec):
        lines = [f"{name}={value}" for name, value in spec.env]
        return "\\n".join([*lines, f"environ({dict(spec.env)!r})", json.dumps(dict(spec.env)), f"args: {spec.args}",
                          json.dumps(spec.args), repr(spec.engine_args), f"cut: {spec.args['hf_token'][:-2]}..."])

simulated.SimulatedEngine = Leaky
"""

MODULE = """
import conftest
from conftest import PLANTED

GIVEN = dict(backend="simulated", env=PLANTED["env"], **PLANTED["args"])

@pytest.mark.vllm("sim", **GIVEN)
def test_chat(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

@pytest.mark.scorecard("formats", baseline="full", configuration="full")
@pytest.mark.vllm("sim", **GIVEN, step_seconds=0.02)
def test_full(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

def test_compare(vllmperf):
    a, b = (vllmperf.engine("sim", **GIVEN, step_seconds=step) for step in (0.01, 0.02))
    vllmperf.compare(a, b, WORK).assert_speedup(1.5)
"""

FAILURES = """
@pytest.mark.parametrize("seed", [1, 2])
def test_engine_fails(vllmperf, seed):
    engine = vllmperf.engine("sim", **GIVEN, seed=seed)
    vllmperf.measure(WORK, engine=engine)

@pytest.mark.vllm("sim", **GIVEN)
def test_locals_and_introspection(vllmperf):
    spec = vllmperf.engine("sim", **GIVEN)
    other = vllmperf.engine("sim", **{**GIVEN, "hf_token": PLANTED["changed"]})
    token, env = PLANTED["args"]["hf_token"], dict(PLANTED["env"])
    print(env, spec.engine_args, f"token is {token}")
    assert spec == other

@pytest.mark.vllm("sim", **{**GIVEN, "max_num_seqs": {1}})
def test_a_value_that_is_no_json(vllmperf): pass

@pytest.mark.vllm("sim", **{**GIVEN, "env": [PLANTED["env"]]})
def test_variables_that_are_none(vllmperf): pass
"""


@pytest.fixture
def planted(project: Project, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project whose tests read secrets from outside of its folder, and hand them to their engines."""
    secrets = tmp_path_factory.mktemp("outside") / "planted.json"
    secrets.write_text(json.dumps({"env": ENV, "args": ARGUMENTS, "changed": CHANGED}))
    monkeypatch.setenv("PLANTED", str(secrets))
    monkeypatch.setattr(simulated, "SimulatedEngine", simulated.SimulatedEngine)  # which the conftest replaces
    monkeypatch.setenv("XDG_CONFIG_HOME", str(secrets.parent))
    project.ini("pythonpath = .")
    project.write("conftest.py", CONFTEST)
    project.module(MODULE)
    return project


def leaks(project: Project, *texts: str) -> list[str]:
    """Which planted words stand in a file of the project, or in a text."""
    files = [file.read_bytes() for file in project.root.rglob("*") if file.is_file()]
    return [word for word in LEAKS for text in (*files, *(text.encode() for text in texts)) if word.encode() in text]


OUTPUTS = ("--junitxml=report.xml", "--vllmperf-json=run.json", "--vllmperf-scorecards=cards",
           "--benchmark-json=benchmark.json", "-rA", "-l", "-v")  # fmt: skip


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_recorded_and_judged(planted: Project, workers: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    outputs = OUTPUTS if not workers else [one for one in OUTPUTS if "benchmark" not in one]
    if not workers:
        planted.write("test_bench.py", "def test_bench(benchmark): benchmark(sum, [1])")
    result = planted.run("--vllmperf-update", *outputs, *workers)
    result.assert_outcomes(passed=3 if workers else 4)
    assert not leaks(planted, str(result.stdout), str(result.stderr))
    planted.module(MODULE.replace("GIVEN = dict(", "PLANTED['env'].pop('GH'); PLANTED['env'].update("
                                  "COOKIE=PLANTED['changed'], LATER='later-' + PLANTED['changed'])\nGIVEN = dict(")
                   .replace("GIVEN)\ndef test_chat", "GIVEN, step_seconds=0.04)\ndef test_chat"))  # fmt: skip
    result = planted.run("--vllmperf", *outputs, *workers)
    result.assert_outcomes(failed=1, passed=2 if workers else 3)
    result.stdout.fnmatch_lines([
        "changed since the baseline:",
        "  env COOKIE changed",
        "  env GH removed",
        "  env LATER added",
    ])  # fmt: skip
    assert not leaks(planted, str(result.stdout), str(result.stderr))
    other = planted.run("--vllmperf-update", "--vllmperf-baselines=other", *workers)
    other.assert_outcomes(passed=3 if workers else 4)
    for command in (["baseline", "list"], ["baseline", "show", "a"], ["baseline", "diff", "a", "b"],
                    ["check", "a", "b"]):  # fmt: skip
        paths = {"a": str(planted.baseline()), "b": str(planted.root / "other" / "simulated" / "test_chat.json")}
        for extra in ([], ["--json"]):
            main([*(paths.get(word, word) for word in command), *extra])
    shown = "".join(capsys.readouterr())
    assert "env COOKIE changed" in shown
    assert not leaks(planted, shown)


@pytest.mark.parametrize(
    "options", [["--tb=long"], ["--tb=short"], ["--full-trace"], ["-n", "2"]], ids=lambda one: one[0]
)
def test_failures(planted: Project, options: list[str]) -> None:
    planted.module(MODULE + FAILURES)
    files = ["--junitxml=report.xml", "--vllmperf-json=run.json"]
    result = planted.run("--vllmperf", "-k", "fails or locals", *files, "-rA", "-l", "-vv", *options)
    result.assert_outcomes(failed=3)
    for words in ("*vLLM refused sim: *", "*died of *", "*- end of the engine's log -*", "*token is ***"):
        result.stdout.fnmatch_lines([words])
    assert "***" in (planted.root / "report.xml").read_text()
    assert "vLLM refused sim: " in (planted.root / "run.json").read_text()
    assert not leaks(planted, str(result.stdout), str(result.stderr))


@pytest.mark.parametrize("test", ["json", "none"])
def test_markers_that_are_not_valid(planted: Project, test: str) -> None:
    body = FAILURES.partition('@pytest.mark.vllm("sim", **{**GIVEN, "max_num_seqs"')
    no_json, _, none = (body[1] + body[2]).partition("\n\n")
    planted.module(MODULE + {"json": no_json, "none": none}[test])
    result = planted.run("--vllmperf", "-l")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert not leaks(planted, str(result.stdout), str(result.stderr))


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_module_that_cannot_be_imported(planted: Project, workers: list[str]) -> None:
    # No engine is named yet: secrets are known by their form alone.
    planted.module(MODULE + "\ntoken = GIVEN['hf_token']\nprint(f'Bearer {token}')\nraise ValueError(f'not {token}')")
    result = planted.run("--vllmperf", "--vllmperf-json=run.json", "-rA", *workers)
    assert "ValueError: not ***" in result.stdout.str()
    assert "ValueError: not ***" in (planted.root / "run.json").read_text()
    assert not leaks(planted, str(result.stdout), str(result.stderr))


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_what_no_report_of_a_test_holds_is_masked_by_who_writes_the_file(
    project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Test ids and options, which pytest hands on as they are; they stand in the file of the run and its reports."""
    monkeypatch.setenv("SOME_API_KEY", "of-the-process-jade")
    marks = ["@pytest.mark.parametrize('key', [__import__('os').environ['SOME_API_KEY']])"]
    project.perf_tests(marks=marks, check="assert run.ttft.p50 > 0 and key")
    test = project.root / "test_chat.py"
    test.write_text(test.read_text().replace("(vllmperf)", "(vllmperf, key)"))
    options = ["--vllmperf-json=run.json", "--vllmperf-report=run.md", "--vllmperf-report=run.html"]
    reason = "--vllmperf-reason=the key is of-the-process-jade"
    result = project.run("--vllmperf-update", reason, *options, *workers)
    result.assert_outcomes(passed=1)
    told = json.loads((project.root / "run.json").read_text(encoding="utf-8"))
    assert told["tests"][0]["nodeid"] == "test_chat.py::test_chat[***]"
    assert "the key is ***" in told["run"]["options"].values()
    for file in ("run.json", "run.md", "run.html"):
        assert "jade" not in (project.root / file).read_text(encoding="utf-8"), file


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_the_reason_of_a_recording(project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "of-the-process-jade")
    project.perf_tests()
    project.record("--vllmperf-reason=the key is of-the-process-jade", *workers)
    assert project.stored()["test_chat"]["reason"] == "the key is ***"


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_the_reason_of_an_expected_failure(
    project: Project, workers: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "of the process: jade")
    project.perf_tests(
        marks=["@pytest.mark.xfail(reason='refused ' + __import__('os').environ['SOME_API_KEY'])"], check="assert 0"
    )
    result = project.run("--vllmperf", "--vllmperf-json=run.json", "--junitxml=report.xml", "-rx", *workers)
    result.assert_outcomes(xfailed=1)
    assert "XFAIL test_chat.py::test_chat - refused ***" in result.outlines
    assert not leaks(project, str(result.stdout), str(result.stderr))


def test_variables_of_this_process(planted: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "of the process: jade")
    planted.perf_tests(check="print(__import__('os').environ['SOME_API_KEY']); assert 0")
    result = planted.run("--vllmperf", "-rA", "-l")
    result.assert_outcomes(failed=1)
    assert not leaks(planted, str(result.stdout))


@pytest.mark.parametrize("workers", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_another_key_is_reported_once_and_compares_nothing(
    project: Project, monkeypatch: pytest.MonkeyPatch, workers: list[str]
) -> None:
    project.perf_tests("test_a", "test_b", env={"MY_SETTING": "one value", "OTHER": "1"})
    monkeypatch.setenv("VLLMPERF_KEY", "the first of two keys")
    project.record()
    monkeypatch.setenv("VLLMPERF_KEY", "the second of two keys")
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=2)
    lines = [line for line in result.outlines if "env MY_SETTING cannot be compared" in line]
    assert lines == ["env MY_SETTING cannot be compared: recorded with another key (set VLLMPERF_KEY"]
    project.perf_tests("test_a", "test_b", env={"MY_SETTING": "one value", "OTHER": "1"}, step_seconds=0.02)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["changed since the baseline: *", "env MY_SETTING cannot*"])


def test_a_key_that_is_too_short_is_refused_before_anything_runs(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.perf_tests()
    monkeypatch.setenv("VLLMPERF_KEY", "short")
    result = project.run("--vllmperf")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: VLLMPERF_KEY has 5 characters; set one of at least 16"])


def test_without_variables_no_key_is_made(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    project.perf_tests()
    project.record()
    assert not (tmp_path / "config").exists()
    project.perf_tests(env={"A": "1"})
    project.record()
    assert (tmp_path / "config" / "pytest-vllmperf" / "key").exists()
    stored = project.stored()["test_chat"]["sessions"][0]["environment"]["variables"]
    assert list(stored["hashes"]) == ["A"]


def test_engines_that_differ_by_a_token_are_two(project: Project, starts: list[str]) -> None:
    project.module("""
for name, token in (("a", "one token"), ("b", "another one")):
    @pytest.mark.vllm("sim", backend="simulated", env={"HF_TOKEN": token})
    def made(vllmperf):
        vllmperf.check(vllmperf.measure(WORK))
    globals()[f"test_{name}"] = made
""")
    project.record("--vllmperf-engines=3")
    assert len(starts) == 6

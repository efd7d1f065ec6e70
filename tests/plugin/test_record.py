"""`vllmperf.record()`: metrics of a test's own, from the recorded baseline to files; alone and under xdist."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from pytest_vllmperf import cli, load
from tests.interpreters import interpreter

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

MARK = '@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01)'
STEPS = 'vllmperf.record("steps", lambda run: 1e3 * run.tpot.p50, unit="ms", better="lower")'
STEPS_KEY = "steps [ms, lower]"


def chat(project: Project, *lines: str, marks: str = "", check: str = "vllmperf.check(run)") -> Path:
    """A test that measures, does something with it, and checks it."""
    body = [MARK, *([marks] if marks else []), "def test_chat(vllmperf):", "    run = vllmperf.measure(WORK)"]
    return project.module("\n".join([*body, *(f"    {line}" for line in (*lines, check))]))


def steps(factor: float) -> str:
    """A metric that another test could not tell from a slower engine, `factor` times as large."""
    return STEPS.replace("1e3", f"{1e3 * factor!r}")


def value(number: object, more: str = "") -> str:
    return f'vllmperf.record("accuracy", {number!r}, better="higher"{more})'


def text(result: pytest.RunResult) -> str:
    return " ".join(" ".join(result.outlines).split())


def recorded(project: Project) -> list[list[dict[str, Any]]]:
    """What is stored of custom metrics: sessions, engine starts, keys."""
    return [[one["recorded"] for one in session["engines"]] for session in project.stored()["test_chat"]["sessions"]]


def test_a_function_has_a_value_of_every_engine_start(project: Project, workers: list[str]) -> None:
    chat(project, STEPS)
    project.record(*workers)
    assert recorded(project) == [[{STEPS_KEY: [10]}] * 3]
    assert project.stored()["test_chat"]["judging"]["gate"][-1] == STEPS_KEY
    result = project.run("--vllmperf", "-v", *workers)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  steps  *OK * 10 ms  +0.0 % *"])


def test_a_change_for_the_worse_fails_and_asks_for_engine_starts(project: Project, workers: list[str]) -> None:
    chat(project, STEPS)
    project.record()
    chat(project, steps(1.3))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED steps +30.0 % *margin 5 % · 10 -> 13 ms", "    3 engine starts x 1 *"])


def test_higher_is_better_where_the_test_says_so(project: Project) -> None:
    up = STEPS.replace("lower", "higher")
    chat(project, up)
    project.record()
    chat(project, up.replace("1e3", "7e2"))
    project.run("--vllmperf").stdout.fnmatch_lines(["REGRESSED steps -30.0 % *"])
    chat(project, up.replace("1e3", "2e3"))
    project.run("--vllmperf").assert_outcomes(passed=1)


def test_a_value_is_stored_once_a_session_and_judged_by_sessions(project: Project, workers: list[str]) -> None:
    chat(project, value(0.8))
    result = project.run("--vllmperf-update", *workers)
    assert "accuracy has one value in each session. Fewer than 3 sessions detect very large changes only" in text(
        result
    )
    key = "accuracy [higher, once]"
    assert recorded(project) == [[{key: [0.8]}, {}, {}]]
    chat(project, value(0.74))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["  NOISY  accuracy  0.8 -> 0.74 *", "*; add sessions (--vllmperf-append)"])
    chat(project, value(0.8))
    for _ in range(2):
        project.run("--vllmperf-append", *workers).assert_outcomes(passed=1)
    assert [session[0] for session in recorded(project)] == [{key: [0.8]}] * 3
    chat(project, value(0.5))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED accuracy -37.5 % *0.8 -> 0.5", "    1 value against 3 sessions · *"])


def test_a_value_never_asks_for_engine_starts(project: Project, starts: list[str]) -> None:
    chat(project, value(0.8))
    project.record()
    starts.clear()
    chat(project, value(0.74))
    project.run("--vllmperf").assert_outcomes(passed=1, warnings=1)
    assert len(starts) == 1


def test_an_exact_value_counts_any_difference(project: Project, workers: list[str]) -> None:
    exact = 'vllmperf.record("builds", {}, better="lower", exact=True)'
    chat(project, exact.format(0))
    project.record()
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    chat(project, exact.format(1))
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED builds 0 -> 1, exact*"])


def test_a_metric_that_is_no_longer_recorded_fails(project: Project, workers: list[str]) -> None:
    chat(project, STEPS)
    project.record()
    chat(project)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    assert "the baseline holds steps, which this run did not record. Call vllmperf.record() again" in text(result)


def test_a_metric_without_stored_values_fails_until_a_session_brings_some(project: Project, workers: list[str]) -> None:
    chat(project)
    project.record()
    chat(project, STEPS)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(failed=1)
    assert "its baseline has no value for it; add sessions (--vllmperf-append), or record it again" in text(result)
    result = project.run("--vllmperf-append", *workers)
    result.assert_outcomes(passed=1)
    assert "steps is not judged: its baseline has no value for it yet; this session may bring one" in text(result)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    chat(project, steps(1.3))
    project.run("--vllmperf", *workers).stdout.fnmatch_lines(["REGRESSED steps +30.0 % *"])
    chat(project)
    assert "the baseline holds steps" in text(project.run("--vllmperf", *workers))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (STEPS.replace('"ms"', '"s"'), "steps: [ms, lower] -> [s, lower]"),
        (STEPS.replace('"lower"', '"higher"'), "steps: [ms, lower] -> [ms, higher]"),
        (STEPS.replace(")", ", exact=True)", 1)[::1], "steps: [ms, lower] -> [ms, lower, exact]"),
        ('vllmperf.record("steps", 10, unit="ms", better="lower")', "steps: [ms, lower] -> [ms, lower, once]"),
    ],
    ids=["unit", "better", "exact", "once"],
)
def test_another_declaration_cannot_be_compared(project: Project, other: str, words: str) -> None:
    chat(project, STEPS)
    project.record()
    chat(project, other)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["NOT_COMPARABLE *"])
    assert words in text(result)


def test_limits_margins_and_the_gate_take_its_name(project: Project, workers: list[str]) -> None:
    chat(project, STEPS, marks='@pytest.mark.vllmperf(limits={"steps": 9})')
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["BEYOND_LIMIT steps 10 ms * limit at most 9 ms*"])
    marks = '@pytest.mark.vllmperf(gate="steps", margin={"steps": 0.5})'
    chat(project, STEPS, marks=marks)
    project.record(*workers)
    assert project.stored()["test_chat"]["judging"] == {
        "gate": [STEPS_KEY],
        "margin": 0.05,
        "margins": {STEPS_KEY: 0.5},
        "limits": {},
    }
    chat(project, steps(1.3), marks=marks)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    chat(project, steps(1.3), check='vllmperf.check(run, gate=["steps"], margin={"steps": "10%"})')
    project.run("--vllmperf", *workers).stdout.fnmatch_lines(["REGRESSED steps +30.0 % *margin 10 % *"])


@pytest.mark.parametrize(
    "given", ['gate="stepps"', 'limits={"stepps": 1}', 'margin={"stepps": 0.1}'], ids=["gate", "limits", "margin"]
)
@pytest.mark.parametrize("where", ["marker", "call"])
def test_a_name_that_nobody_recorded_is_refused(project: Project, given: str, where: str) -> None:
    if where == "marker":
        chat(project, STEPS, marks=f"@pytest.mark.vllmperf({given})")
    else:
        chat(project, STEPS, check=f"vllmperf.check(run, {given})")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    assert "no metric has the name 'stepps'; did you mean 'steps'?" in text(result)


def test_limits_alone_tell_of_what_has_none(project: Project) -> None:
    limits = 'vllmperf.check(run, gate="limits", limits={"steps": 20})'
    chat(project, STEPS, value(0.8), check=limits)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    assert "not gated, as limits alone decide and it has none: accuracy" in text(result)
    chat(project, steps(3), check=limits)
    project.run("--vllmperf").stdout.fnmatch_lines(["BEYOND_LIMIT steps *"])


def test_a_metric_that_is_never_checked_fails_the_run(project: Project, workers: list[str]) -> None:
    chat(project, STEPS, check="assert run.ttft.p50 > 0")
    result = project.run("--vllmperf", "--vllmperf-json=run.json", *workers)
    result.assert_outcomes(failed=1)
    assert [test.failed_by for test in load(project.root / "run.json").tests] == ["other"]  # a fault of the test
    assert "test_chat: recorded but never checked: steps; call vllmperf.check(run) after record()" in text(result)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["vllmperf.check(run)", STEPS], "its measurement was checked already; call record() before check()"),
        ([STEPS, value(1).replace("accuracy", "steps")], "record('steps'): recorded twice for one measurement"),
        ([value(1).replace("accuracy", "ttft")], "ttft.mean is a metric of pytest-vllmperf"),
        ([value(1).replace("accuracy", "ttft_p50")], "ttft.p50 is a metric of pytest-vllmperf"),
        ([value(1).replace("accuracy", "clock")], "'clock' stands for a set of metrics"),
        ([value(float("nan")).replace("nan", 'float("nan")')], "record('accuracy'): nan is not a finite number"),
        ([value(-1)], "record('accuracy'): -1.0 is negative; "),
        ([value(0)], "record('accuracy'): 0.0 has no ratio to a baseline. "),
        ([value(True)], "record('accuracy'): True is not a number"),
        ([value([])], "record('accuracy'): no values"),
        ([value("fast")], "record('accuracy'): 'fast' is not a number"),
        ([value(1).replace("higher", "up")], "better='up' is not valid; write better='lower' or better='higher'"),
        ([value(1, ", run=5")], "record() takes the result of measure(), as in vllmperf.record(run="),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_refused_in_one_line(project: Project, lines: list[str], words: str) -> None:
    chat(project, *lines, check="pass")
    result = project.run("--vllmperf-update")
    result.assert_outcomes(failed=1)
    assert words in text(result)
    assert "Traceback" not in text(result)


def test_it_needs_a_measurement(project: Project) -> None:
    project.module(f"{MARK}\ndef test_chat(vllmperf):\n    {STEPS}\n")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    assert "there is no measurement to add it to; call vllmperf.measure() first" in text(result)


def test_it_belongs_to_the_measurement_that_it_names(project: Project) -> None:
    project.module(
        f"{MARK}\ndef test_chat(vllmperf):\n"
        "    first, second = vllmperf.measure(WORK), vllmperf.measure(WORK)\n"
        f"    {STEPS[:-1]}, run=first)\n"
        '    vllmperf.check(second, name="second")\n'
        '    vllmperf.check(first, name="first")\n'
    )
    project.record()
    gates = {name: entry["judging"]["gate"] for name, entry in project.stored().items()}
    assert STEPS_KEY in gates["test_chat # first"]
    assert STEPS_KEY not in gates["test_chat # second"]


def test_a_function_that_fails_later_fails_its_test_in_one_line(project: Project, workers: list[str]) -> None:
    lines = [
        "calls = []",
        'vllmperf.record("odd", lambda run: [1.0][calls.append(1) or len(calls) - 1], better="lower")',
    ]
    chat(project, *lines)
    result = project.run("--vllmperf-update", *workers)
    result.assert_outcomes(failed=1)
    failed = "record('odd'): its function failed on a later engine start: IndexError: list index out of range"
    assert f"measured again: {failed}" in text(result)
    assert not project.files()


def test_the_json_file_has_it_with_its_declaration(project: Project, workers: list[str]) -> None:
    chat(project, STEPS, value(0.8, ', unit="share"'))
    project.record()
    project.run("--vllmperf", "--vllmperf-json=run.json", *workers).assert_outcomes(passed=1)
    [(_, check)] = load(project.root / "run.json").checks
    found = check.metrics[STEPS_KEY]
    assert (found.label, found.unit, found.better, found.kind, found.gated) == ("steps", "ms", "lower", "custom", True)
    assert (found.value, found.samples) == (10, ((10,),))
    assert found.judged is not None
    assert found.judged.status == "OK"
    assert check.metrics["accuracy [share, higher, once]"].value == 0.8


def test_commands_judge_it_without_its_test(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    chat(project, STEPS)
    project.record()
    before = project.root / "before.json"
    before.write_bytes(project.baseline().read_bytes())
    chat(project, steps(1.3))
    project.record()
    (project.root / "test_chat.py").unlink()
    capsys.readouterr()
    assert cli.main(["check", str(before), str(project.baseline())]) == 1
    assert "REGRESSED steps +30.0 %" in capsys.readouterr().out
    assert cli.main(["check", str(before), str(project.baseline()), "--margin", "steps=50%"]) == 0
    assert cli.main(["check", str(before), str(project.baseline()), "--margin", "stepps=50%"]) == 2
    assert "no metric has the name 'stepps'; did you mean 'steps'?" in capsys.readouterr().err
    assert cli.main(["baseline", "show", str(before)]) == 0
    assert " steps " in capsys.readouterr().out
    assert cli.main(["baseline", "diff", str(before), str(project.baseline()), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test_chat"]["levels"] == {STEPS_KEY: [10, 13]}


def test_exports_name_it_and_tell_two_declarations_apart(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    other = STEPS.replace('"ms"', '"%/s"').replace("steps", "kv.steps")
    body = [MARK, "def test_{}(vllmperf):", "    run = vllmperf.measure(WORK)", "    {}", "    vllmperf.check(run)", ""]
    tests = {"a": STEPS, "b": value(10).replace("accuracy", "steps"), "c": other}
    form = "\n".join(body)
    project.module("\n".join(form.replace("{}", name, 1).replace("{}", line, 1) for name, line in tests.items()))
    project.run("--vllmperf-update", "--vllmperf-json=run.json").assert_outcomes(passed=3)
    capsys.readouterr()
    run = str(project.root / "run.json")
    assert cli.main(["export", run, "--to", "openmetrics", "--metrics", "steps kv.steps"]) == 0
    families = {one.name: one for one in text_string_to_metric_families(capsys.readouterr().out)}
    found = {
        name: [(sample.labels["metric"], sample.value) for sample in one.samples]
        for name, one in families.items()
        if name.startswith("vllmperf_custom_")
    }
    assert found == {
        "vllmperf_custom_steps_ms": [(STEPS_KEY, 10)],
        "vllmperf_custom_steps": [("steps [higher, once]", 10)],
        "vllmperf_custom_kv_steps_percent_per_s": [("kv.steps [%/s, lower]", 10)],
    }
    assert cli.main(["export", run, "--to", "openmetrics", "--metrics", "stepps"]) == 2
    assert "no metric or set is called 'stepps'; did you mean 'steps'?" in capsys.readouterr().err
    for tool in ("bmf", "customSmallerIsBetter"):
        assert cli.main(["export", run, "--to", tool, "--metrics", "kv.steps"]) == 0
        assert "kv.steps [%/s, lower]" in capsys.readouterr().out


def test_a_measurement_that_tests_share_has_the_metrics_of_each(project: Project) -> None:
    project.module(
        "@pytest.fixture(scope='module')\n"
        "def shared(vllmperf_session):\n"
        "    engine = vllmperf_session.engine('sim', backend='simulated', step_seconds=0.01)\n"
        "    return vllmperf_session.measure(WORK, engine=engine)\n\n"
        f"def test_a(vllmperf, shared):\n    {STEPS[:-1]}, run=shared)\n    vllmperf.check(shared)\n\n"
        "def test_b(vllmperf, shared):\n    vllmperf.check(shared)\n"
    )
    project.run("--vllmperf-update").assert_outcomes(passed=2)
    gates = {name: entry["judging"]["gate"] for name, entry in project.stored().items()}
    assert STEPS_KEY in gates["test_a"]
    assert STEPS_KEY not in gates["test_b"]


def test_with_a_reference_a_function_is_judged_by_the_ratio(
    project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stable = interpreter(tmp_path_factory.mktemp("stable") / "env")
    slower = "step_seconds=0.01, noise=0.001, elsewhere={'step_seconds': 0.007}"
    body = [STEPS, value(0.8), "vllmperf.check(run, gate='steps')"]
    chat(project, *body[:2], check=body[2]).write_text(
        (project.root / "test_chat.py").read_text().replace("step_seconds=0.01", slower), encoding="utf-8"
    )
    result = project.run("--vllmperf", f"--vllmperf-against={stable}")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["REGRESSED steps +4?.? % *"])
    assert "accuracy is not judged: it has one value for the run, and none of the reference" in text(result)


def test_a_void_measurement_says_why_and_nothing_else(project: Project, workers: list[str]) -> None:
    fails = 'vllmperf.record("odd", lambda run: 1 / 0, better="lower")'
    chat(project, fails, check='vllmperf.check(run, limits={"odd": 1}, gate="odd")')
    module = project.root / "test_chat.py"
    module.write_text(module.read_text().replace("step_seconds=0.01", 'fail="short"'), encoding="utf-8")
    result = project.run("--vllmperf", "--vllmperf-json=run.json", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["INVALID  test_chat: a request returned 4 output tokens instead of 5 *"])
    [(_, check)] = load(project.root / "run.json").checks
    assert check.status == "INVALID"


@pytest.mark.parametrize(
    "flags", [["--vllmperf-append"], ["--vllmperf", "--vllmperf-against={}"]], ids=["append", "against"]
)
def test_a_gate_of_which_nothing_is_judged_is_refused(
    project: Project, tmp_path_factory: pytest.TempPathFactory, workers: list[str], flags: list[str]
) -> None:
    stable = interpreter(tmp_path_factory.mktemp("stable") / "env")
    chat(project)
    project.record()
    before = project.files()
    chat(project, value(0.8), check="vllmperf.check(run, gate='accuracy')")
    result = project.run(*(flag.format(stable) for flag in flags), *workers)
    result.assert_outcomes(failed=1)
    assert "test_chat: nothing of its gate can be judged; gate another metric too. accuracy is not judged:" in text(
        result
    )
    assert project.files() == before

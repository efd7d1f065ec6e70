from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

WRONG = [
    ("vllm", "", "takes one model"),
    ("vllm", "'a', 'b'", "takes one model"),
    ("vllm", "7", "model"),
    ("vllm", "''", "model"),
    ("vllm", "'sim', backend='fast'", "backend='fast'"),
    ("vllm", "'sim', backend='simulated', python='/no/such/python'", "/no/such/python"),
    ("vllm", "'sim', backend='simulated', python=7", ""),
    ("vllm", "'sim', backend='simulated', env={'A': 1}", "'A'"),
    ("vllm", "'sim', backend='simulated', env='A=1'", "env"),
    ("vllm", "'sim', backend='simulated', env=['A=1']", "env"),
    ("vllm", "'sim', backend='simulated', step_seconds=object()", "step_seconds"),
    ("vllm", "'sim', per_gpu='RTX'", "per_gpu must map patterns"),
    ("vllm", "'sim', per_gpu={'RTX (': {}}", "per_gpu['RTX (']: not a regular expression"),
    ("vllm", "'sim', per_gpu={'RTX': 7}", "per_gpu['RTX'] must map names"),
    ("gpu", "memory='16GiB'", "unknown keyword 'memory'"),
    ("gpu", "'A', 'B'", "takes one name"),
    ("gpu", "min_vram='16GiBB'", "'16GiBB' is not a size"),
    ("gpu", "min_vram='-1GiB'", "'-1GiB' is not a size"),
    ("gpu", "min_vram=16.5", "16.5 is not a size"),
    ("gpu", "min_vram=True", "True is not a size"),
    ("gpu", "'RTX (4090'", "not a regular expression"),
    ("gpu", "7", "7"),
    ("gpu", "b'H200'", "H200"),
    ("gpu", "min_compute='new'", "min_compute='new'"),
    ("gpu", "count=0", "count=0"),
    ("gpu", "mig='1g ['", "mig='1g [': not a regular expression"),
    ("gpu", "mig=1", "mig=1 must be True, False or a regular expression"),
    ("gpu", "count='2'", "count='2'"),
    ("vllmperf", "rounds=3", "unknown keyword 'rounds'"),
    ("vllmperf", "3", "keywords only"),
    ("vllmperf", "iterations=2.5", "iterations: 2.5"),
    ("vllmperf", "iterations=True", "iterations: True"),
    ("vllmperf", "warmup='some'", "warmup: 'some'"),
    ("vllmperf", "gate=3", "gate"),
    ("vllmperf", "gate=['clock', 3]", "gate"),
    ("vllmperf", "allow='speed'", "allow: no validity rule has the name 'speed'; rules: quantization, "),
    ("vllmperf", "allow=True", "allow: True is not a list of rules"),
]


def _test(project: Project, marker: str, arguments: str) -> None:
    engine = "" if marker == "vllm" else '@pytest.mark.vllm("sim", backend="simulated")\n'
    project.module(
        f"{engine}@pytest.mark.{marker}({arguments})\ndef test_marked(vllmperf):\n    vllmperf.measure(WORK)\n"
    )


@pytest.mark.parametrize(("marker", "arguments", "words"), WRONG)
def test_what_cannot_be_meant_is_a_usage_error(project: Project, marker: str, arguments: str, words: str) -> None:
    _test(project, marker, arguments)
    result = project.run("--vllmperf-update")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: test_chat.py:6: test_chat.py::test_marked: @pytest.mark.{marker}: *"])
    assert words in result.stderr.str()
    result.stdout.no_fnmatch_line("*INTERNALERROR*")
    assert project.files() == {}


def test_under_xdist_every_wrong_test_says_so_itself(project: Project) -> None:
    project.module("""
@pytest.mark.vllm("sim", backend="simulated")
@pytest.mark.gpu(min_vram="16GiBB")
def test_size(vllmperf): pass

@pytest.mark.vllm("sim", backend="simulated")
@pytest.mark.vllmperf(rounds=3)
def test_keyword(vllmperf): pass

@pytest.mark.vllm("sim", backend="simulated", env=["A=1"])
def test_env(vllmperf): pass

@pytest.mark.vllm("sim", backend="simulated")
def test_right(vllmperf):
    vllmperf.measure(WORK)
""")
    result = project.run("--vllmperf", "-n", "2")
    result.assert_outcomes(passed=1, errors=3)
    text = result.stdout.str()
    assert "test_chat.py::test_size: @pytest.mark.gpu: '16GiBB' is not a size" in text
    assert "test_chat.py::test_keyword: @pytest.mark.vllmperf: unknown keyword 'rounds'" in text
    assert "test_chat.py::test_env: @pytest.mark.vllm: " in text
    result.stdout.no_fnmatch_line("*armed.py*")


def test_strict_markers_and_list(project: Project) -> None:
    project.perf_tests(marks=['@pytest.mark.gpu("H200")', "@pytest.mark.vllmperf(margin=0.1)"])
    project.run("--strict-markers").assert_outcomes(skipped=1)
    result = project.run("--markers")
    for name in ("vllm(model", "gpu(name", "vllmperf("):
        result.stdout.fnmatch_lines([f"@pytest.mark.{name}*: *"])
    for keyword in ("backend", "python", "env", "per_gpu", "min_vram", "min_compute", "count", "mig", "iterations",
                    "warmup", "margin", "allow"):  # fmt: skip
        assert f"{keyword}=" in result.stdout.str()


def test_help_names_every_option(project: Project) -> None:
    result = project.run("--help")
    for name in ("update", "update-new", "baselines", "iterations", "warmup", "margin", "gate", "start-timeout",
                 "allow", "require-gpu", "gpu-hour-price"):  # fmt: skip
        result.stdout.fnmatch_lines([f"  --vllmperf-{name}*"])


def test_marker_of_the_module(project: Project) -> None:
    project.module("""
pytestmark = [pytest.mark.vllm("sim", backend="simulated", step_seconds=0.01), pytest.mark.vllmperf(iterations=3)]

def test_module(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))

@pytest.mark.vllm("sim", backend="simulated", step_seconds=0.02)
@pytest.mark.vllmperf(warmup=0)
def test_own(vllmperf):
    vllmperf.check(vllmperf.measure(WORK))
""")
    project.record()
    stored = project.stored()
    assert stored["test_module"]["engine"] == "sim step_seconds=0.01"
    assert stored["test_own"]["engine"] == "sim step_seconds=0.02"
    assert len(project.engine("test_module")["samples"]["ttft.p50"]) == 3


def test_marks_of_parameters(project: Project) -> None:
    project.module("""
def engine(step):
    return pytest.mark.vllm("sim", backend="simulated", step_seconds=step)

@pytest.mark.parametrize("n", [
    pytest.param(1, marks=engine(0.01)),
    pytest.param(2, marks=[engine(0.02), pytest.mark.vllmperf(iterations=4)]),
])
def test_param(vllmperf, n):
    vllmperf.check(vllmperf.measure(WORK))
""")
    project.record()
    assert [project.stored()[f"test_param[{n}]"]["engine"][-4:] for n in (1, 2)] == ["0.01", "0.02"]
    assert len(project.engine("test_param[2]")["samples"]["ttft.p50"]) == 4


def test_unknown_engine_argument_is_the_engines_own_word(project: Project) -> None:
    project.perf_tests(no_such_argument=1)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*the simulated engine refused sim: *'no_such_argument'"])
    result.stdout.no_fnmatch_line("*simulated.py*")


def test_markers_of_ordinary_tests_are_their_own_business(project: Project) -> None:
    project.module("@pytest.mark.gpu(7, 8, nine=10)\ndef test_plain(): pass\n")
    project.run("--vllmperf").assert_outcomes(passed=1)

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


def _twenty(project: Project, seed: int) -> list[str]:
    """Twenty tests of three engines in a shuffled order over two modules, ordinary ones between them."""
    engines = [1, 2, 3] * 6 + [1, 2]
    random.Random(seed).shuffle(engines)
    names = []
    for module, part in (("test_one.py", engines[:10]), ("test_two.py", engines[10:])):
        lines = []
        for number, engine in enumerate(part):
            names.append(f"{module}::test_{number}_engine{engine}")
            lines += [
                f'@pytest.mark.vllm("sim", backend="simulated", step_seconds={engine / 100})',
                f"def test_{number}_engine{engine}(vllmperf):",
                "    vllmperf.check(vllmperf.measure(WORK))",
                f"def test_{number}_plain(): pass",
            ]
        project.module("\n".join(lines), module)
    return names


@pytest.mark.parametrize("seed", [1, 2])
def test_one_start_per_engine_however_many_tests_share_it(project: Project, starts: list[str], seed: int) -> None:
    names = _twenty(project, seed)
    assert len(names) == 20
    project.run("--vllmperf-update").assert_outcomes(passed=40)
    assert starts == [label for label in dict.fromkeys(starts) for _ in range(3)], "one engine after the other"
    assert len(starts) == 9
    starts.clear()
    project.run("--vllmperf").assert_outcomes(passed=40)
    assert sorted(starts) == [f"sim step_seconds={step}" for step in (0.01, 0.02, 0.03)]


def test_ordinary_tests_first_then_engine_by_engine(project: Project) -> None:
    names = _twenty(project, seed=1)
    result = project.run("--vllmperf-update", "-v")
    ran = [line.split()[0] for line in result.outlines if " PASSED " in line]
    assert all(name.endswith("_plain") for name in ran[:20])
    performance = ran[20:]
    assert sorted(performance) == sorted(names)
    engines = [name[-1] for name in performance]
    first = list(dict.fromkeys(name[-1] for name in names))
    assert engines == sorted(engines, key=first.index)
    for engine in first:
        assert [n for n in performance if n[-1] == engine] == [n for n in names if n[-1] == engine]


def test_order_is_left_alone_when_unarmed(project: Project) -> None:
    _twenty(project, seed=1)
    result = project.run("-v")
    ran = [line.split()[0] for line in result.outlines if " PASSED " in line or " SKIPPED " in line]
    assert [name.rsplit("_", 1)[1] == "plain" for name in ran] == [False, True] * 20


def test_xdist_runs_all_of_them_once(project: Project) -> None:
    names = _twenty(project, seed=1)
    result = project.run("--vllmperf-update", "-n", "2")
    result.assert_outcomes(passed=40)
    stored = {f"{m}.py::{n}" for m in ("test_one", "test_two") for n in project.stored(m)}
    assert stored == set(names)


def test_deselected_tests_start_nothing(project: Project, starts: list[str]) -> None:
    _twenty(project, seed=1)
    result = project.run("--vllmperf-update", "-k", "engine2")
    assert result.parseoutcomes()["deselected"] > 20
    assert starts == ["sim step_seconds=0.02"] * 3


def test_skipped_and_ordinary_tests_start_nothing(project: Project, starts: list[str]) -> None:
    project.perf_tests(marks=["@pytest.mark.skip"])
    project.write("test_plain.py", "def test_plain(): pass\n")
    project.run("--vllmperf-update").assert_outcomes(passed=1, skipped=1)
    assert starts == []


def test_tests_without_a_marker_run_too(project: Project, starts: list[str]) -> None:
    project.module("""
def test_own(vllmperf):
    engine = vllmperf.engine("sim", backend="simulated", step_seconds=0.01)
    vllmperf.check(vllmperf.measure(WORK, engine=engine))
""")
    project.record()
    assert starts == ["sim step_seconds=0.01"] * 3
    assert list(project.stored()) == ["test_own"]

"""`backend="serve"` on real vLLM: what it refuses, how it ends, and what is left of it then."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import pytest

from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.errors import EngineDiedError, EngineStartError, ModelError, SpecError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.sharing import Way, share
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload
from tests.reliability.runs import Run, suite

from .conftest import MODEL, TINY
from .serving import ONCE, engine_of, group, left, measured, served

WORK = Workload.synthetic(requests=8, input_tokens=32, output_tokens=16, concurrency=4)
LONG = Workload.synthetic(requests=400, input_tokens=64, output_tokens=400, concurrency=64)


def core(processes: Sequence[psutil.Process]) -> psutil.Process:
    (found,) = [one for one in processes if "EngineCore" in " ".join(one.cmdline())]
    return found


def leader(processes: Sequence[psutil.Process]) -> psutil.Process:
    return processes[0]


def test_unknown_arguments_are_refused_with_the_nearest_name(perf: Lab) -> None:
    with pytest.raises(EngineStartError) as told:
        engine_of(perf, served(perf, max_num_seq=3))
    assert "vllm serve has no argument 'max_num_seq' (did you mean max_num_seqs?)" in str(told.value)
    assert "\n" not in str(told.value)


def test_impossible_values_are_told_in_vllms_words(perf: Lab) -> None:
    with pytest.raises(EngineStartError, match="max_model_len") as told:
        engine_of(perf, served(perf, max_model_len=10_000_000))
    assert "\n" not in str(told.value)
    with pytest.raises(EngineStartError, match=r"structured-outputs-config: .*no_such_field"):
        engine_of(perf, served(perf, structured_outputs_config={"no_such_field": 1}))


@pytest.mark.parametrize("own", [{"host": "0.0.0.0"}, {"port": 8000}, {"api_key": "mine"}, {"disable_log_stats": True}])
def test_what_the_plugin_decides_is_refused(perf: Lab, own: dict[str, object]) -> None:
    (name,) = own
    with pytest.raises(SpecError, match=rf"^{name}="):
        served(perf, **own)


def test_a_model_that_is_not_there_is_told_in_one_line(perf: Lab, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model path .*/nowhere does not exist"):
        engine_of(perf, perf.target(EngineSpec.create(tmp_path / "nowhere", backend="serve"), None))
    with pytest.raises(EngineStartError) as told:
        engine_of(perf, perf.target(EngineSpec.create(tmp_path, backend="serve"), None))
    assert "refused" in str(told.value)
    assert "\n" not in str(told.value)


def test_close_leaves_no_process(perf: Lab) -> None:
    target = served(perf)
    engine = engine_of(perf, target)
    processes = group(engine.pid)
    assert core(processes).pid != engine.pid
    perf.retire([target])
    assert left(processes) == []


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (core, r"vLLM's process EngineCore\w* died during run"),
        (leader, r"the engine process was ended by SIGKILL during run"),
    ],
)
def test_a_process_that_is_killed_in_mid_iteration_is_told_and_nothing_is_left(
    perf: Lab, chosen: Callable[[Sequence[psutil.Process]], psutil.Process], said: str
) -> None:
    target = served(perf)
    processes = group(engine_of(perf, target).pid)
    timer = threading.Timer(1.5, chosen(processes).kill)
    timer.start()
    try:
        with pytest.raises(EngineDiedError, match=said) as told:
            measured(perf, target, LONG, ONCE)
    finally:
        timer.cancel()
    assert "\n" not in str(told.value)
    assert "full log: " in told.value.log_tail
    assert left(processes) == []


def compared(perf: Lab, targets: tuple[Target, Target]) -> EngineComparison:
    sharing = share(targets, perf.weight_bytes(targets), None)
    pair = Pair(perf, sharing, WORK, MeasureSettings(warmup=1, iterations=2), allowed=("client",))
    return EngineComparison(pair, max_rounds=1, max_time=0, priors=lambda _: {})


def test_served_against_in_process(perf: Lab) -> None:
    both = compared(perf, (served(perf), perf.target(EngineSpec.create(MODEL, **TINY), None)))
    assert both.way == Way.RESIDENT.value
    assert (both.a.device, both.b.device) == ("cpu, served", "cpu")
    assert 0.05 < both.speedup().ratio < 20


def test_two_servers_at_once_have_ports_and_keys_of_their_own(perf: Lab) -> None:
    targets = served(perf, max_num_seqs=1), served(perf, max_num_seqs=8)
    both = compared(perf, targets)
    assert both.way == Way.RESIDENT.value
    assert both.speedup().ratio < 1
    with perf.engines(targets) as (one, other):
        addresses = [engine.address for engine in (one, other)]  # type: ignore[attr-defined]
    assert len({address.server.port for address in addresses}) == 2
    assert len({address.api_key for address in addresses}) == 2


@pytest.mark.long
def test_a_run_that_is_killed_leaves_no_server(perf: Lab, tmp_path: Path) -> None:
    perf.release()  # the other run would wait for it
    (tmp_path / "test_tiny.py").write_text(suite(tokens=300, iterations=40, backend="serve"))
    run = Run(tmp_path, ["--vllmperf-update"])
    try:
        run.reach("iteration 2")
        assert any("EngineCore" in " ".join(one.cmdline()) for one in run.note_processes())
        run.send(signal.SIGKILL)
        run.wait(60)
        assert run.left() == []
    finally:
        run.end()


AGAINST = f"""
import pytest
from pytest_vllmperf import Workload

WORK = Workload.synthetic(requests=4, input_tokens=32, output_tokens=16)

@pytest.mark.vllm({MODEL!r}, backend="serve", **{TINY!r})
@pytest.mark.vllmperf(warmup=1, iterations=4, gate="exact", allow="client")
def test_same(vllmperf):
    run = vllmperf.measure(WORK)
    assert len(run.engines) == len(run.reference.engines) == 1
    vllmperf.check(run)

@pytest.mark.vllmperf(allow="client")
def test_in_turns(vllmperf):
    one, other = (vllmperf.engine({MODEL!r}, backend="serve", **{TINY!r} | {{"max_num_seqs": n}}) for n in (1, 8))
    both = vllmperf.compare(one, other, WORK, warmup=1, iterations=2, way="restart")
    assert both.speedup().ratio < 1
"""


@pytest.mark.long
def test_checks_in_turns_with_a_reference_and_comparisons_that_start_anew(perf: Lab, pytester: pytest.Pytester) -> None:
    perf.release()
    pytester.makeini("[pytest]")
    pytester.makepyfile(AGAINST)
    result = pytester.runpytest_subprocess("--vllmperf", f"--vllmperf-against={sys.executable}")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["vllmperf: checks are measured in turns with vLLM * an A/A run", "test_in_turns: *"])

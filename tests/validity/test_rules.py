"""What voids a measurement: each rule with its evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.lab.driving import measure
from pytest_vllmperf.metrics.gpu_use import NEIGHBOUR_SHARE
from pytest_vllmperf.records.answers import Answer, ClientAudit, ClientProcess
from pytest_vllmperf.records.devices import GpuReading, GpuTrace, GpuUse, Occupants
from pytest_vllmperf.records.problems import RULES, TRANSIENT, Problem
from pytest_vllmperf.records.run import EngineRun, MeasureSettings, RunResult
from pytest_vllmperf.records.served import Served, ServerMetrics
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.validity.rules import CLOCK_SPREAD, Expected, Observed, problems
from pytest_vllmperf.workload import Workload

WORKLOAD = Workload.synthetic(requests=3, input_tokens=8, output_tokens=4)
ALL = Expected(exact_length=True, fresh_prompts=True)
GIB = 2**30
USE = GpuUse(130 * GIB, 600.0, 300.0, 0.9, 1.98e9, 60.0, 0)


def run(**script: Any) -> EngineRun:
    """Two iterations of a simulated engine."""
    engine = SimulatedEngine(EngineSpec.create("m", backend="simulated", **script))
    return measure(engine, WORKLOAD, MeasureSettings(1, 2), lambda _: None)


def spoiled(sound: EngineRun, iteration: int, request: int, **changed: Any) -> EngineRun:
    """The same with one request of one iteration otherwise."""
    records = list(sound.iterations[iteration - 1].requests)
    records[request] = replace(records[request], **changed)
    return counted(sound, iteration, requests=tuple(records))


def counted(sound: EngineRun, iteration: int, **changed: Any) -> EngineRun:
    """The same with one iteration otherwise."""
    results: list[RunResult] = list(sound.iterations)
    results[iteration - 1] = replace(results[iteration - 1], **changed)
    return replace(sound, iterations=tuple(results))


def over_http(*answers: Answer, cpu_share: float = 0.1) -> EngineRun:
    """The same, with what a client saw of the first iteration."""
    audit = ClientAudit(0, 0, None, None, (ClientProcess(cpu_share, 0),))
    failures = Counter(answer.failure for answer in answers if answer.failure)
    return counted(run(), 1, served=Served(audit, answers, failures))


AUDIT = ClientAudit(0, 0, None, None, (ClientProcess(0.1, 0),))


def told(sound: EngineRun, **facts: Any) -> EngineRun:
    """The same by an engine that tells other facts of itself."""
    return replace(sound, facts=replace(sound.facts, **facts))


def reading(at: float, *pids: int, held: int | None = GIB, **more: Any) -> GpuReading:
    return GpuReading(at, processes=dict.fromkeys(pids, held), **more)


def trace(*readings: GpuReading, lost: str | None = None) -> GpuTrace:
    return GpuTrace("GPU-1", readings, lost)


def seen(*uses: GpuUse | None, traces: tuple[GpuTrace, ...] = ()) -> Observed:
    return Observed(traces, uses)


def words(found: tuple[Problem, ...]) -> list[str]:
    return [str(problem) for problem in found]


BEFORE, MIDST = 0.0, 0.08  # on the simulated engine's clock: in the warm-up, and in a measured iteration
HOT = replace(USE, clock_events=0x20 | 0x04, temperature=91.4)

# Each rule broken once: what the engine did, what was seen, and the reason.
BROKEN: dict[str, tuple[Callable[[], EngineRun], Observed | None, str]] = {
    "quantization": (
        lambda: run(quantization="awq", bits=16),
        None,
        "awq was requested, but 1 of 1 layers run unquantized (Simulated, 16 bits per weight)",
    ),
    "kv-cache": (
        lambda: told(run(), expected_kv_bytes_per_token=114_688),
        None,
        "a token takes 1,024 bytes of the KV cache, but its configuration asks for 114,688",
    ),
    "failed": (
        lambda: spoiled(run(), 2, 1, finish_reason=None),
        None,
        "a request did not finish (request 1 of iteration 2)",
    ),
    "length": (
        lambda: run(fail="short"),
        None,
        "a request returned 3 output tokens instead of 4 (request 0 of iteration 1)",
    ),
    "usage": (
        lambda: over_http(Answer(0, 0, output_tokens=None)),
        None,
        "in iteration 1 the server did not report how many tokens it generated, so chunks were counted instead",
    ),
    "client": (
        lambda: over_http(Answer(0, 0, output_tokens=4), cpu_share=0.97),
        None,
        "the load generator was the bottleneck in iteration 1: a client process used 97% of its core, more than 90%; "
        "free the machine of other work, or use more client processes (--vllmperf-client-processes)",
    ),
    "preemptions": (
        lambda: counted(run(), 2, preemptions=3),
        None,
        "3 preemptions in iteration 2: the KV cache is too small for this workload; enlarge it, lower the load, "
        'or accept it with allow="preemptions"',
    ),
    "prefix-hits": (
        lambda: counted(run(), 1, prefix_cache_hit_tokens=1600),
        None,
        "the prefix cache gave 1,600 prompt tokens in iteration 1, although no two prompts have a common beginning",
    ),
    "compilation": (lambda: counted(run(), 2, kernels_compiled=1), None, "the engine compiled 1 kernel in iteration 2"),
    "throttling": (
        run,
        seen(USE, HOT),
        "the GPU slowed its clocks in iteration 2: software thermal slowdown at 91 °C",
    ),
    "clocks": (
        run,
        seen(replace(USE, sm_clock=1.2e9), USE),
        "the SM clock went from 1200 to 1980 MHz between iterations",
    ),
    "processes": (
        run,
        seen(traces=(trace(reading(BEFORE, 7), reading(MIDST, 7, 9, held=1500 * 2**20)),)),
        "process 9 started using the GPU with 1,500 MiB during this run",
    ),
    "lost": (run, seen(traces=(trace(lost="the GPU is gone: GPU is lost"),)), "the GPU is gone: GPU is lost"),
}


def test_every_rule_is_broken_here() -> None:
    assert tuple(BROKEN) == RULES
    assert set(RULES) >= TRANSIENT


def test_a_sound_measurement_has_no_problems() -> None:
    busy = trace(reading(BEFORE, 7), reading(MIDST, 7))
    assert problems(run(), ALL) == ()
    assert problems(run(), ALL, seen(USE, USE, traces=(busy,))) == ()
    assert problems(run(quantization="awq", bits=4.2), ALL) == ()
    assert problems(over_http(Answer(0, 0, output_tokens=4)), ALL) == ()


def test_another_client_of_a_server_is_told_by_what_the_server_finished() -> None:
    mine = (Answer(0, 0, sent_ns=1, output_tokens=4), Answer(1, 0, sent_ns=1, output_tokens=4))
    alone, shared = (
        counted(run(), 1, served=Served(AUDIT, mine, server=ServerMetrics(finished=finished))) for finished in (2, 5)
    )
    assert problems(alone, ALL) == ()
    (found,) = problems(shared, ALL)
    assert found.rule == "processes"
    assert found.words.startswith(
        "the server finished 5 requests in iteration 1, of which this run sent 2: it has another"
    )


def test_failed_requests_are_told_by_kind_with_the_first_reason() -> None:
    answers = [Answer(0, 0, output_tokens=4), Answer(1, 0, failure="status", detail="HTTP 500: out of luck")]
    found = problems(over_http(*answers, Answer(2, 0, failure="cut"), Answer(3, 0, failure="cut")), ALL)
    words = "3 of 4 requests failed in iteration 1 (2 cut, 1 status); request 1: HTTP 500: out of luck"
    assert found == (Problem("failed", words),)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_with_its_evidence_in_its_words(rule: str) -> None:
    made, observed, reason = BROKEN[rule]
    assert problems(made(), ALL, observed) == (Problem(rule, reason),)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_can_be_turned_off_by_its_name_and_no_other_by_it(rule: str) -> None:
    made, observed, _ = BROKEN[rule]
    assert problems(made(), ALL, observed, (rule,)) == ()
    others = tuple(name for name in RULES if name != rule)
    assert [problem.rule for problem in problems(made(), ALL, observed, others)] == [rule]


@pytest.mark.parametrize("rule", RULES)
def test_only_what_another_engine_may_not_meet_is_transient(rule: str) -> None:
    assert Problem(rule, "it").transient is (rule in ("client", "compilation", "throttling", "clocks", "processes"))
    assert str(Problem(rule, "it")) == f"it [{rule}]"


def test_several_problems_are_told_in_the_order_of_the_rules() -> None:
    broken = counted(run(quantization="awq", bits=8, fail="short"), 1, preemptions=1, kernels_compiled=2)
    broken = spoiled(told(broken, expected_kv_bytes_per_token=1), 2, 2, finish_reason="abort")
    audit = ClientAudit(0, 0, None, None, (ClientProcess(0.99, 0),))
    broken = counted(broken, 2, prefix_cache_hit_tokens=1, served=Served(audit, (Answer(0, 0),)))
    seen_too = seen(
        HOT,
        replace(USE, sm_clock=1e9),
        traces=(trace(reading(BEFORE, 7), reading(MIDST, 8), lost="gone"),),
    )
    found = problems(broken, ALL, seen_too)
    assert tuple(problem.rule for problem in found) == RULES
    some = problems(broken, ALL, seen_too, ("kv-cache", "lost", "length"))
    assert some == tuple(problem for problem in found if problem.rule not in ("kv-cache", "lost", "length"))


def test_output_of_another_length_is_a_problem_only_where_the_length_is_exact() -> None:
    assert problems(run(fail="short"), Expected(exact_length=False, fresh_prompts=True)) == ()
    longer = spoiled(run(), 2, 0, output_tokens=9)
    assert "returned 9 output tokens instead of 4" in words(problems(longer, ALL))[0]


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize(
    ("reason", "said"),
    [(None, "a request did not finish"), ("abort", "ended with 'abort'"), ("error", "ended with 'error'")],
)
def test_a_request_that_did_not_come_to_its_end_is_a_problem(exact: bool, reason: str | None, said: str) -> None:
    (found,) = problems(spoiled(run(), 2, 1, finish_reason=reason), Expected(exact_length=exact))
    assert said in found.words
    assert found.words.endswith("(request 1 of iteration 2)")


def test_the_end_token_is_a_sound_end() -> None:
    stopped = spoiled(run(), 1, 0, finish_reason="stop")
    assert problems(stopped, ALL) == ()
    early = spoiled(run(), 1, 0, finish_reason="stop", output_tokens=1)
    assert problems(early, Expected()) == ()
    assert "returned 1 output tokens instead of 4" in words(problems(early, ALL))[0]


def test_each_reason_is_told_once_with_its_first_evidence() -> None:
    twice = spoiled(spoiled(run(), 2, 2, finish_reason=None), 1, 1, finish_reason=None)
    both = spoiled(twice, 2, 0, output_tokens=9)
    assert words(problems(both, ALL)) == [
        "a request did not finish (request 1 of iteration 1) [failed]",
        "a request returned 9 output tokens instead of 4 (request 0 of iteration 2) [length]",
    ]
    thrown = counted(counted(run(), 1, preemptions=1), 2, preemptions=5)
    assert words(problems(thrown, ALL)) == [
        "1 preemption in iteration 1: the KV cache is too small for this workload; enlarge it, lower the load, "
        'or accept it with allow="preemptions" [preemptions]'
    ]


def test_warm_up_does_not_count() -> None:
    sound = run()
    broken = replace(sound.warmup[0].requests[0], finish_reason=None)
    warm = replace(sound.warmup[0], requests=(broken, *sound.warmup[0].requests[1:]), preemptions=2, kernels_compiled=9)
    assert problems(replace(sound, warmup=(warm,)), ALL) == ()


def test_requests_are_found_by_their_index_not_their_place() -> None:
    mixed = Workload.synthetic(requests=4, input_tokens=8, output_tokens=(1, 9), seed=3)
    engine = SimulatedEngine(EngineSpec.create("m", backend="simulated"))
    sound = measure(engine, mixed, MeasureSettings(0, 1), lambda _: None)
    turned = replace(sound.iterations[0], requests=sound.iterations[0].requests[::-1])
    assert len({request.output_tokens for request in sound.requests}) > 1
    assert problems(replace(sound, iterations=(turned,)), ALL) == ()


@pytest.mark.parametrize(("held", "wanted"), [(None, 1024), (1024, None), (1024, 1024), (1023.6, 1024)])
def test_a_kv_cache_that_is_as_configured_or_unknown_is_sound(held: float | None, wanted: int | None) -> None:
    """A capacity in whole blocks may not divide the cache's bytes evenly."""
    size = None if held is None else round(held * 65536)
    assert problems(told(run(), kv_cache_bytes=size, expected_kv_bytes_per_token=wanted), ALL) == ()


def test_hits_are_what_prompts_that_begin_alike_are_for() -> None:
    hits = counted(run(), 1, prefix_cache_hit_tokens=1600)
    assert problems(hits, Expected(exact_length=True)) == ()


@pytest.mark.parametrize("counter", ["preemptions", "prefix_cache_hit_tokens", "kernels_compiled"])
def test_what_an_engine_does_not_count_is_no_problem(counter: str) -> None:
    assert problems(counted(run(), 1, **{counter: None}), ALL) == ()
    assert problems(counted(run(), 1, **{counter: 0}), ALL) == ()


@pytest.mark.parametrize(
    ("bits", "names"),
    [
        (0x20, "software thermal slowdown"),
        (0x40, "hardware thermal slowdown"),
        (0x08, "hardware slowdown"),
        (0x80, "power brake"),
        (0x20 | 0x80, "software thermal slowdown, power brake"),
        (0x01 | 0x02 | 0x04 | 0x10 | 0x100, None),  # idle, clocks set by somebody, power cap, boost, display
        (0, None),
    ],
)
def test_clocks_that_were_slowed_are_told_by_their_reason(bits: int, names: str | None) -> None:
    found = problems(run(), ALL, seen(replace(USE, clock_events=bits, temperature=None), USE))
    expected = [] if names is None else [f"the GPU slowed its clocks in iteration 1: {names} [throttling]"]
    assert words(found) == expected


@pytest.mark.parametrize(
    ("clocks", "void"),
    [
        ((1.0e9, 1.1e9), False),  # 0.095 of their median
        ((1.0e9, 1.0e9, 1.1e9), False),  # just the limit
        ((1.0e9, 1.0e9, 1.11e9), True),
        ((1.9e9, 1.0e9, 1.0e9, 1.0e9), True),
        ((1.0e9,), False),
        ((None, None), False),
        ((1.0e9, None, 1.2e9), True),
    ],
)
def test_clocks_may_lie_a_tenth_of_their_median_apart(clocks: tuple[float | None, ...], void: bool) -> None:
    assert CLOCK_SPREAD == 0.1
    uses = tuple(replace(USE, sm_clock=clock) for clock in clocks)
    assert bool(problems(run(), ALL, seen(*uses))) is void


def test_iterations_that_nobody_looked_at_are_no_problem() -> None:
    assert problems(run(), ALL, seen(None, None)) == ()
    assert [problem.rule for problem in problems(run(), ALL, seen(None, HOT))] == ["throttling"]
    assert "in iteration 2" in problems(run(), ALL, seen(None, HOT))[0].words


@pytest.mark.parametrize(
    ("readings", "pids"),
    [
        ((reading(BEFORE, 7), reading(MIDST, 7, 9)), [9]),
        ((reading(BEFORE, 7, 9), reading(MIDST, 7)), []),  # it went
        ((reading(BEFORE, 7), reading(99.0, 7, 9)), []),  # when all was done
        ((reading(MIDST, 7, 9),), []),  # nobody knows of before
        ((GpuReading(BEFORE), GpuReading(MIDST)), []),  # hidden
        ((), []),
    ],
)
def test_newcomers_are_told_of_the_time_that_was_measured(readings: tuple[GpuReading, ...], pids: list[int]) -> None:
    found = problems(run(), ALL, seen(traces=(trace(*readings),)))
    assert [problem.words for problem in found] == [
        f"process {pid} started using the GPU with 1,024 MiB during this run" for pid in pids
    ]


def test_a_newcomer_whose_memory_is_hidden_is_told_without() -> None:
    hidden = trace(reading(BEFORE, 7, held=None), reading(MIDST, 7, 9, held=None))
    assert words(problems(run(), ALL, seen(traces=(hidden,)))) == [
        "process 9 started using the GPU during this run [processes]"
    ]


def test_a_newcomer_between_two_iterations_counts() -> None:
    sound = run()
    gap = replace(sound, iterations=(sound.iterations[0], replace(sound.iterations[1], requests=later(sound, 100.0))))
    between = trace(reading(BEFORE, 7), reading(50.0, 7, 9))
    assert [problem.rule for problem in problems(gap, ALL, seen(traces=(between,)))] == ["processes"]


def later(sound: EngineRun, seconds: float) -> tuple[Any, ...]:
    """The requests of the second iteration, so much later."""
    return tuple(
        replace(one, queued_ts=one.queued_ts + seconds, last_token_ts=one.last_token_ts + seconds)
        for one in sound.iterations[1].requests
    )


def test_every_device_is_looked_at() -> None:
    sound, bad = trace(reading(BEFORE, 7), reading(MIDST, 7)), BROKEN["processes"][1]
    assert bad is not None
    assert [problem.rule for problem in problems(run(), ALL, seen(traces=(sound, *bad.traces)))] == ["processes"]
    lost = (sound, trace(lost="gone"))
    assert [problem.words for problem in problems(run(), ALL, seen(traces=lost))] == ["gone"]


def test_an_iteration_in_which_nothing_finished_spans_no_time() -> None:
    newcomer = trace(reading(-1.0, 7), reading(0.0, 7, 9))
    dead = tuple(replace(one, finish_reason=None) for one in run().iterations[0].requests)
    nothing = replace(run(), iterations=(replace(run().iterations[0], requests=dead),))
    assert [problem.rule for problem in problems(nothing, ALL, seen(traces=(newcomer,)))] == ["failed"]


@pytest.mark.parametrize(
    ("occupants", "pids"),
    [
        ({"GPU-1": Occupants({7, 9})}, []),
        ({"GPU-1": Occupants({7}, {9})}, []),
        ({"GPU-1": Occupants({7})}, [9]),
        ({"GPU-1": Occupants({9})}, [7]),
        ({"GPU-1": Occupants(set(), {9})}, [7]),
        ({"GPU-1": Occupants(None, {9})}, []),
        ({"GPU-2": Occupants({7})}, []),
    ],
)
def test_who_belongs_is_known_by_device(occupants: dict[str, Occupants], pids: list[int]) -> None:
    told = replace(trace(reading(BEFORE, 7, 9), reading(MIDST, 7, 9)), uuid="GPU-1")
    found = problems(run(), ALL, replace(seen(traces=(told,)), occupants=occupants))
    assert [int(problem.words.split()[1]) for problem in found] == pids


ENGINE, NEIGHBOUR, DESKTOP = 42, 9, 7


def used(**shares: float) -> GpuTrace:
    """Three readings around the measured iterations: the engine, and what others used of its device meanwhile."""
    pids = {"engine": ENGINE, "neighbour": NEIGHBOUR, "desktop": DESKTOP}
    by_process = {pids[name]: share for name, share in shares.items()}
    told = (reading(at, *pids.values(), use_by_process=by_process) for at in (BEFORE, MIDST, 9.0))
    return trace(*told)


def judged(told: GpuTrace, occupants: Occupants) -> list[str]:
    return words(problems(run(), ALL, replace(seen(traces=(told,)), occupants={"GPU-1": occupants})))


THERE = Occupants({NEIGHBOUR, DESKTOP}, {ENGINE}, 0.0)
VOID = 'process 9 of another run used 31% of the GPU\'s time; end it, or accept it with allow="processes" [processes]'


def test_a_process_that_computed_since_before_the_run_voids_what_was_measured() -> None:
    assert judged(used(engine=0.6, neighbour=0.31, desktop=0.01), THERE) == [VOID]
    both = judged(used(engine=0.6, desktop=0.08, neighbour=0.31), THERE)
    assert both == [VOID]  # the larger one


@pytest.mark.parametrize("share", [0.0, 0.01, NEIGHBOUR_SHARE - 0.001])
def test_a_desktop_that_holds_memory_and_hardly_computes_voids_nothing(share: float) -> None:
    """Not even where the GPU was busy before: whose that was is known."""
    assert NEIGHBOUR_SHARE == 0.05
    assert judged(used(engine=0.9, desktop=share), replace(THERE, utilization=0.4)) == []


def test_an_engine_of_this_run_is_no_neighbour() -> None:
    assert judged(used(engine=0.6, neighbour=0.4), replace(THERE, own={ENGINE, NEIGHBOUR})) == []


HIDDEN = (
    "another run's process kept the GPU 67% busy before the engine was started; end it, or accept it "
    'with allow="processes" [processes]'
)


@pytest.mark.parametrize(
    ("before", "found"),
    [(0.67, [HIDDEN]), (NEIGHBOUR_SHARE - 0.001, []), (0.0, []), (None, [])],
)
@pytest.mark.parametrize("told", [trace(reading(BEFORE, 7), reading(MIDST, 7)), used(neighbour=0.9), trace()])
def test_where_use_by_process_is_unknown_the_use_before_the_engine_decides(
    told: GpuTrace, before: float | None, found: list[str]
) -> None:
    assert judged(told, Occupants({7, 9, 42}, {ENGINE}, before)) == found


def test_a_busy_gpu_is_void_also_with_a_single_reading_at_the_limit() -> None:
    (found,) = judged(trace(), Occupants(None, (), NEIGHBOUR_SHARE))
    assert found.startswith("another run's process kept the GPU 5% busy before")

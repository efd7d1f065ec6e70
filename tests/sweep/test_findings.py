"""What results say: figures, front, knees, cliffs."""

from __future__ import annotations

from pytest_vllmperf.records.problems import Problem
from pytest_vllmperf.records.samples import EngineSamples
from pytest_vllmperf.records.sweep import Findings, PointResult
from pytest_vllmperf.sweep.findings import curves, findings
from pytest_vllmperf.sweep.space import Point
from pytest_vllmperf.sweep.study import read
from tests.sweep.conftest import Write

THROUGHPUT = {1: 10.0, 2: 20.0, 4: 40.0, 8: 41.0, 16: 25.0}


def point(concurrency: int, level: float, seqs: int = 4, **changed: object) -> PointResult:
    samples = {
        "output_throughput": [level, level * 1.001, level * 0.999],
        "ttft.p95": [0.01 * concurrency] * 3,
        "ttft.p99": [0.02 * concurrency] * 3,
        "tpot.p50": [concurrency / level] * 3,
    }
    told = {
        "settings": {"max_num_seqs": seqs, "concurrency": concurrency},
        "engines": (EngineSamples(discarded=0, iterations=3, samples=samples),),
        "requests": 200,
    }
    return PointResult(**{**told, **changed})


def found(write: Write, *points: PointResult) -> Findings:
    study = read(write(max_num_seqs="[4, 8]", concurrency="[1, 2, 4, 8, 16]"))
    return findings(study, {Point.of(one.settings): one for one in points})


def test_each_curve_has_its_knee_and_its_cliffs(write: Write) -> None:
    points = [point(load, level, seqs) for seqs in (4, 8) for load, level in THROUGHPUT.items()]
    result = found(write, *points)
    assert [(knee.others, knee.load, knee.decided) for knee in result.knees] == [
        ({"max_num_seqs": 4}, 4, True),
        ({"max_num_seqs": 8}, 4, True),
    ]
    assert [(cliff.before, cliff.after) for cliff in result.cliffs] == [(8, 16), (8, 16)]
    assert result.missing == 0


def test_a_knee_at_the_largest_load_may_lie_beyond(write: Write) -> None:
    (knee,) = found(write, *[point(load, 10.0 * load) for load in THROUGHPUT]).knees
    assert knee.at_end


def test_two_loads_are_no_curve_and_failed_points_are_left_out(write: Write) -> None:
    assert found(write, point(1, 10), point(2, 20)).knees == ()
    failed = PointResult(settings={"max_num_seqs": 4, "concurrency": 4}, reason="out of memory")
    study = read(write(max_num_seqs="[4, 8]", concurrency="[1, 2, 4]"))
    (curve,) = curves(study.space, [point(1, 10), point(2, 20), point(8, 70), failed])
    assert curve.loads == [1, 2, 8]


def test_a_knee_names_the_loads_that_it_was_found_without(write: Write) -> None:
    failed = PointResult(settings={"max_num_seqs": 4, "concurrency": 16}, reason="out of memory")
    void = point(2, 20, problems=(Problem("clocks", "the clock fell"),))
    (knee,) = found(write, failed, void, point(1, 10), point(4, 40), point(8, 41)).knees
    assert (knee.load, knee.without) == (4, (2, 16))


def test_loads_are_sorted_whatever_the_order_of_measuring(write: Write) -> None:
    points = [point(load, THROUGHPUT[load]) for load in (16, 4, 1, 8, 2)]
    (knee,) = found(write, *points).knees
    assert knee.load == 4


def test_the_front_is_of_all_three_figures(write: Write) -> None:
    result = found(write, *[point(load, level) for load, level in THROUGHPUT.items()])
    assert [result.figures[place].result.settings["concurrency"] for place in result.front] == [1, 2, 4, 8]
    assert result.figures[0].per_user == 10.0


def test_p95_stands_in_where_requests_are_few(write: Write) -> None:
    assert found(write, point(1, 10)).ttft == "ttft.p99"
    few = found(write, point(1, 10, requests=99))
    assert (few.ttft, few.figures[0].ttft) == ("ttft.p95", 0.01)


def test_missing_points_are_counted(write: Write) -> None:
    assert found(write, point(1, 10)).missing == 9


def test_an_undecided_curve_is_measured_again_as_a_whole_or_where_a_round_was_cut(write: Write) -> None:
    engine = EngineSamples(discarded=0, iterations=3, samples={"output_throughput": [60.0, 100.0, 140.0]})
    study = read(write(max_num_seqs="[4, 8]", concurrency="[1, 2, 4]"))
    points = [point(load, 1.0, engines=(engine,)) for load in (1, 2, 4, 8)]
    (curve,) = curves(study.space, points)
    assert not curve.knee.decided
    assert curve.undecided() == points
    points[0] = point(1, 1.0, engines=(engine, engine))
    (cut,) = curves(study.space, points)
    assert cut.undecided() == points[1:]

"""Single requests as columns, against a schedule done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from pytest_vllmperf.metrics.requests import request_columns
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.records.requests import RequestColumns, Requests
from pytest_vllmperf.records.run import RequestRecord, RunResult
from tests.metrics.test_reduce import request, result

UNFINISHED = RequestRecord(1, 0, 0, 0, None, 0.0, 0.0, 0.0, 0.0)


def failed(index: int, due: float, failure: str = "status", detail: str = "HTTP 500: no") -> RequestRecord:
    """One that a server did not answer."""
    answer = Answer(index, int(due * 1e9), failure=failure, detail=detail)
    return replace(UNFINISHED, index=index, queued_ts=due, answer=answer)


def test_by_hand() -> None:
    first = result(request(0), request(1, queued_ts=11.0, output_tokens=1, last_token_ts=12.0, prompt_tokens=50))
    second = result(request(0, queued_ts=21.0000004, first_token_ts=21.5, last_token_ts=22.5))
    found = request_columns([first, second])
    assert found == RequestColumns(
        iteration=(1, 1, 2),
        index=(0, 1, 0),
        started=(0.0, 1.0, 0.0),
        ttft=(2.0, 1.0, 0.5),
        tpot=(0.5, None, 0.1),
        e2e=(7.0, 1.0, 1.5),
        prompt_tokens=(100, 50, 100),
        output_tokens=(11, 1, 11),
    )


def test_a_request_that_did_not_finish_has_no_times() -> None:
    found = request_columns([result(request(0), UNFINISHED)])
    assert (found.started, found.ttft, found.e2e) == ((0.0, None), (2.0, None), (7.0, None))
    assert (found.prompt_tokens, found.output_tokens, found.errors) == ((100, None), (11, None), {1: "not finished"})


def test_a_request_that_a_server_refused_says_when_and_why() -> None:
    # The first one that was due begins the iteration, be it answered or not.
    answered = request(1, queued_ts=10.5, answer=Answer(1, 10_500_000_000))
    found = request_columns([result(failed(0, 10.0), answered, failed(2, 12.0, "cut", "x" * 1000))])
    assert found.started == (0.0, 0.5, 2.0)
    assert found.errors[0] == "status: HTTP 500: no"
    assert found.errors[2].startswith("cut: xxx")
    assert len(found.errors[2]) == 200


def test_an_answer_that_came_whole_has_no_tpot() -> None:
    assert request_columns([result(request(0, first_token_ts=17.0))]).tpot == (None,)


def many(iterations: int, requests: int) -> list[RunResult]:
    """Requests of which every second is slow."""
    one = result(*(request(at, last_token_ts=17.0 + at % 2) for at in range(requests)))
    return [one] * iterations


def test_of_many_requests_an_even_choice_is_kept() -> None:
    found = request_columns(many(10, 1000), 2000)
    assert (len(found), found.left_out) == (2000, 8000)
    assert [found.iteration.count(number) for number in range(1, 11)] == [200] * 10
    assert [row // 5 for row in found.index] == list(range(200)) * 10
    assert found == request_columns(many(10, 1000), 2000)  # the same choice every time


def test_the_choice_does_not_keep_step_with_the_workload() -> None:
    # With a step of two, every request that is kept would be a fast one.
    found = request_columns(many(10, 1000), 5000)
    slow = sum(one == 8.0 for one in found.e2e)
    assert 2300 < slow < 2700
    assert len(set(found.index)) > 900


def test_errors_belong_to_the_rows_that_are_kept() -> None:
    one = result(*(failed(at, 10.0 + at, detail=str(at)) for at in range(100)))
    found = request_columns([one], 10)
    assert found.errors == {row: f"status: {index}" for row, index in enumerate(found.index)}


def test_nothing_is_left_out_of_as_many_as_may_be_kept() -> None:
    assert request_columns(many(2, 5), 10) == request_columns(many(2, 5))
    assert len(request_columns(many(2, 5), 10)) == 10
    assert len(request_columns([], 10)) == 0


def test_columns_of_all_engine_starts() -> None:
    start = request_columns([result(request(0), UNFINISHED)])
    requests = Requests.of([start, None, start.model_copy(update={"left_out": 7})])
    assert requests.engine == (1, 1, 3, 3)
    assert requests.request == (0, 1, 0, 1)
    assert requests.e2e == (7.0, None, 7.0, None)
    assert requests.error == ("", "not finished", "", "not finished")
    assert (len(requests), requests.left_out) == (4, 7)
    assert repr(requests) == "<4 requests of 2 engine starts, 2 failed, 7 left out>"
    assert [row["error"] for row in requests.rows()] == [None, "not finished", None, "not finished"]


@pytest.mark.parametrize("damage", [{"ttft": (1.0,)}, {"errors": {2: "x"}}, {"errors": {-1: "x"}}])
def test_columns_that_do_not_fit_are_refused(damage: dict[str, object]) -> None:
    whole = request_columns([result(request(0), UNFINISHED)]).model_dump()
    with pytest.raises(ValidationError):
        RequestColumns.model_validate({**whole, **damage})

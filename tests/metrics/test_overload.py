"""Figures of an overload, from requests whose times are known."""

from __future__ import annotations

import pytest

from pytest_vllmperf.metrics import overload as figures
from pytest_vllmperf.records.answers import Answer
from pytest_vllmperf.records.run import RequestRecord
from pytest_vllmperf.records.served import Slo

S = 10**9
PROMISE = Slo(ttft=1.0)
FOUR = dict.fromkeys(range(100), 4)


def record(
    index: int = 0, due: float = 0.0, ttft: float = 0.5, last: float = 1.0, tokens: int = 4, failure: str = ""
) -> RequestRecord:
    """A request that was due at a time; `last` counts from then."""
    answer = Answer(
        index,
        round(due * S),
        sent_ns=round(due * S),
        end_ns=round((due + last) * S),
        output_tokens=tokens,
        failure=failure,
        detail="what happened" if failure else "",
    )
    finish = None if failure else "length"
    return RequestRecord(index, 8, tokens, 0, finish, due, None, due + ttft, due + last, answer)


def test_each_request_is_counted_once() -> None:
    records = [
        record(0),
        record(1, ttft=1.5, last=2.0),
        record(2, failure="shed"),
        record(3, failure="connect"),
        record(4, failure="cut"),
        record(5, failure="cut"),
        record(6, tokens=3),
    ]
    found = figures.counts(records, PROMISE, FOUR)
    assert (found.due, found.answered, found.kept, found.late) == (7, 2, 1, 1)
    assert (found.shed, found.refused, found.broken) == (1, 1, {"cut": 2, "short": 1})
    assert found.example == "what happened"
    assert found.failed == 5
    assert found.answered + found.shed + found.refused + sum(found.broken.values()) == found.due


def test_where_a_server_may_end_early_few_tokens_are_no_failure() -> None:
    assert figures.counts([record(tokens=3)], PROMISE, {}).answered == 1


def test_an_answer_without_a_count_of_tokens_is_not_short() -> None:
    one = record(tokens=3)
    assert one.answer is not None
    unknown = RequestRecord(0, 8, 3, 0, "length", 0.0, None, 0.5, 1.0, Answer(0, 0, sent_ns=0, end_ns=S))
    assert figures.complete(unknown, FOUR)
    assert not figures.complete(one, FOUR)


def test_the_rate_of_work_counts_what_lies_in_the_window() -> None:
    # Two slots, each busy without a break from 0 to 10 s, with requests of 2 s: 1 request/s, wherever one looks.
    records = [record(number, due=2.0 * number, ttft=0.5, last=2.0) for number in range(5)] * 2
    for window in ((0.0, 10.0), (1.0, 9.0), (1.5, 4.2)):
        assert figures.rate_within(records, window, 0.5, 4.0) == pytest.approx(1.0)


def test_the_rate_of_work_leaves_waiting_out() -> None:
    # All were due at 0; one slot serves them one after the other, 2 s each.
    records = [record(number, ttft=2.0 * number + 0.5, last=2.0 * number + 2.0) for number in range(5)]
    assert figures.rate_within(records, (0.0, 10.0), 0.5, 4.0) == pytest.approx(0.5)
    assert figures.rate_within(records, (4.0, 10.0), 0.5, 4.0) == pytest.approx(0.5)


def test_a_request_counts_by_its_length() -> None:
    """Long requests of one phase and short ones of another are the same work in the same time."""
    long, short = [record(last=8.0, tokens=80)], [record(due=2.0 * n, last=2.0, tokens=20) for n in range(4)]
    assert figures.rate_within(long, (0.0, 8.0), 0.5, 20.0) == pytest.approx(0.5)
    assert figures.rate_within(short, (0.0, 8.0), 0.5, 20.0) == pytest.approx(0.5)
    assert figures.mean_tokens([*long, *short]) == 32.0
    assert figures.mean_tokens([]) == 1.0


def test_an_answer_that_comes_at_once_counts_where_it_came() -> None:
    records = [record(number, due=float(number), ttft=0.0, last=0.0) for number in range(10)]
    assert figures.rate_within(records, (0.0, 4.5), 0.0, 4.0) == pytest.approx(5 / 4.5)
    assert figures.rate_within(records, (3.0, 3.0), 0.0, 4.0) == 0.0


@pytest.mark.parametrize(
    ("concurrency", "longest", "begin"),
    [
        (3, 9.0, 3.0),
        (4, 4.0, 5.0),  # so many never were
        (3, 1.0, 2.0),  # it took longer than filling takes: the server refused them
        (4, 99.0, 6.0),  # half of the span at most
        (0, 9.0, 1.0),
    ],
)
def test_the_window_begins_when_the_server_is_full_or_should_be(concurrency: int, longest: float, begin: float) -> None:
    changes = [(S // 2, 0), (1 * S, 1), (2 * S, 2), (3 * S, 3), (4 * S, 2)]
    assert figures.full_window(changes, concurrency, (1.0, 11.0), longest) == (begin, 11.0)


def test_the_ttft_of_before_has_room_for_its_margin_and_its_noise() -> None:
    assert figures.as_before([1.0, 1.0, 1.0], 0.1) == pytest.approx(1.1)
    assert figures.as_before([0.001] * 3, 0.1) == pytest.approx(0.003)
    assert figures.as_before([1.0, 1.0, 1.0, 1.0, 2.0], 0.1) > 1.1


def probes(*ttfts: float | None) -> list[RequestRecord]:
    """One a second from 10 s on; None for one that was shed."""
    return [
        record(number, due=11.0 + number, ttft=ttft or 0.0, last=(ttft or 0.0) + 0.5, failure="" if ttft else "shed")
        for number, ttft in enumerate(ttfts)
    ]


@pytest.mark.parametrize(
    ("ttfts", "seconds"),
    [
        ((0.1, 0.1, 0.1), 1.0),
        ((0.9, 0.5, 0.1, 0.1), 3.0),
        ((None, None, 0.1, 0.1), 3.0),
        ((0.1, None, 0.1, 0.1), 3.0),  # a relapse
        ((0.1, 0.1, 0.1, None), None),  # and one at the end
        ((0.1, 0.5, 0.1, 0.1), 1.0),  # one slow request is none
        ((0.5, 0.5, 0.5, 0.1), None),  # a single one may be luck
        ((0.1, 0.5, 0.5, 0.5), None),
        ((None, None), None),
        ((), None),
    ],
)
def test_a_server_has_recovered_from_the_request_on_from_which_it_stays_so(
    ttfts: tuple[float | None, ...], seconds: float | None
) -> None:
    found = figures.recovery(probes(*ttfts), PROMISE, {}, 10.0, 0.15)
    assert found.seconds == seconds
    assert found.counts.due == len(ttfts)


def test_a_server_whose_streams_crawl_has_not_recovered_where_that_breaks_the_promise() -> None:
    crawling = [record(number, due=11.0 + number, ttft=0.1, last=9.0) for number in range(5)]
    assert figures.recovery(crawling, Slo(ttft=1.0, tpot=0.1), {}, 10.0, 0.15).seconds is None
    assert figures.recovery(crawling, Slo(ttft=1.0), {}, 10.0, 0.15).seconds == 1.0


def test_the_ttft_afterwards_is_of_the_last_requests() -> None:
    assert figures.recovery(probes(0.9, 0.9, 0.3, 0.2, 0.4), PROMISE, {}, 10.0, 0.15).ttft == pytest.approx(0.3)
    assert figures.recovery(probes(0.1, None, None, None), PROMISE, {}, 10.0, 0.15).ttft is None

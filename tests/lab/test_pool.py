"""The engine pool."""

import pytest

from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.lab.pool import EnginePool, Key
from pytest_vllmperf.records.spec import EngineSpec


class Engine(SimulatedEngine):
    def __init__(self, key: Key, book: list[str]) -> None:
        super().__init__(key[0])
        self.book = book
        self.name = key[0].model + "".join(key[1])
        book.append(f"start {self.name}")

    def close(self) -> None:
        self.book.append(f"close {self.name}")

    def kill(self) -> None:
        self.book.append(f"kill {self.name}")


def key(model: str, *devices: str) -> Key:
    return EngineSpec.create(model, backend="simulated"), devices


@pytest.fixture
def book() -> list[str]:
    return []


@pytest.fixture
def pool(book: list[str]) -> EnginePool:
    def start(wanted: Key) -> Engine:
        if wanted[0].model == "broken":
            raise EngineStartError("refused")
        return Engine(wanted, book)

    return EnginePool(start)


def test_an_engine_starts_once_however_often_it_is_asked_for(pool: EnginePool, book: list[str]) -> None:
    engines = [pool.get([key("a")]) for _ in range(3)]
    assert engines[0][0] is engines[1][0] is engines[2][0]
    assert (book, pool.started) == (["start a"], 1)


def test_another_engine_starts_after_the_first_has_stopped(pool: EnginePool, book: list[str]) -> None:
    pool.get([key("a")])
    pool.get([key("b")])
    assert book == ["start a", "close a", "start b"]


def test_another_device_is_another_engine(pool: EnginePool, book: list[str]) -> None:
    pool.get([key("a", "0")])
    pool.get([key("a", "1")])
    assert book == ["start a0", "close a0", "start a1"]
    assert pool.started == 2


def test_two_run_together_in_the_order_asked_for(pool: EnginePool, book: list[str]) -> None:
    a, b = pool.get([key("a"), key("b")])
    assert [engine.spec.model for engine in (a, b)] == ["a", "b"]
    assert pool.get([key("b"), key("a")]) == [b, a]
    assert book == ["start a", "start b"]


def test_one_that_is_needed_again_stays(pool: EnginePool, book: list[str]) -> None:
    pool.get([key("a"), key("b")])
    pool.get([key("b"), key("c")])
    assert book == ["start a", "start b", "close a", "start c"]


def test_all_that_is_not_needed_stops_before_anything_starts(pool: EnginePool, book: list[str]) -> None:
    pool.get([key("a"), key("b")])
    pool.get([key("c"), key("d")])
    assert sorted(book[2:4]) == ["close a", "close b"]
    assert book[4:] == ["start c", "start d"]


def test_a_discarded_engine_is_killed_and_started_afresh(pool: EnginePool, book: list[str]) -> None:
    pool.get([key("a"), key("b")])
    pool.discard([key("a"), key("never started")])
    pool.get([key("a"), key("b")])
    assert book == ["start a", "start b", "kill a", "start a"]
    assert pool.started == 3


def test_an_engine_that_does_not_start_is_not_kept(pool: EnginePool, book: list[str]) -> None:
    with pytest.raises(EngineStartError):
        pool.get([key("a"), key("broken")])
    with pytest.raises(EngineStartError):
        pool.get([key("a"), key("broken")])
    assert (book, pool.started) == (["start a"], 1)


def test_close_stops_all_once(pool: EnginePool, book: list[str]) -> None:
    pool.get([key("a"), key("b")])
    pool.close()
    pool.close()
    assert sorted(book[2:]) == ["close a", "close b"]

"""Slots: which engines are started, put to sleep, woken and ended, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from pytest_vllmperf.engines.backends import Backends
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import EngineDiedError, EngineStartError, SpecError
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab import leases, slots
from pytest_vllmperf.lab.slots import Slot, Slots
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.engine import Progress, Timeouts
from pytest_vllmperf.records.redactor import Redactor
from pytest_vllmperf.records.spec import EngineSpec
from tests.lab.conftest import A6000, H200, ScriptedNvml

BROKEN = "broken"


class Noted(SimulatedEngine):
    """Writes down what is done to it; only one called `light` can sleep."""

    def __init__(self, spec: EngineSpec, name: str, book: list[str]) -> None:
        super().__init__(EngineSpec.create(spec.model, backend="simulated"))
        self.book, self.name = book, name
        book.append(f"start {name}")

    def close(self) -> None:
        self.book.append(f"close {self.name}")

    def kill(self) -> None:
        self.book.append(f"kill {self.name}")


class Light(Noted):
    def sleep(self) -> None:
        self.book.append(f"sleep {self.name}")

    def wake_up(self) -> None:
        self.book.append(f"wake {self.name}")


class BookLauncher:
    """Starts engines that write into a book."""

    def __init__(self, book: list[str]) -> None:
        self.book = book

    def start(self, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        if spec.model == BROKEN:
            raise EngineStartError("refused")
        progress("loading weights", 0.0)
        kind = Light if spec.args.get("enable_sleep_mode") else Noted
        return kind(spec, spec.model + device_env.get("CUDA_VISIBLE_DEVICES", ""), self.book)

    def close(self) -> None:
        self.book.append("close launcher")


@pytest.fixture
def book() -> list[str]:
    return []


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def made(
    tmp_path: Path, book: list[str], told: list[str], nvml: ScriptedNvml, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Slots]:
    def launcher(timeouts: Timeouts, backends: Backends) -> BookLauncher:
        return BookLauncher(book)

    monkeypatch.setenv(leases.VARIABLE, str(tmp_path))
    monkeypatch.setattr(slots, "Launcher", launcher)
    opened = Slots(Timeouts(), lambda doing, waited: told.append(doing), Redactor({}))
    yield opened
    opened.shut_down()


def target(model: str, *gpus: GpuDevice, **engine_args: object) -> Target:
    return Target(EngineSpec.create(model, **engine_args), gpus)


def light(model: str) -> Target:
    return target(model, H200, enable_sleep_mode=True)


def get(made: Slots, *targets: Target, asleep: bool = False) -> Sequence[Engine]:
    with made.engines(targets, asleep=asleep) as engines:
        return engines


A, B, C, D = (target(model) for model in "abcd")


def test_an_engine_starts_once_however_often_it_is_asked_for(made: Slots, book: list[str]) -> None:
    engines = [get(made, A) for _ in range(3)]
    assert engines[0][0] is engines[1][0] is engines[2][0]
    assert book == ["start a"]


def test_a_person_is_told_which_start_of_an_engine_it_is(made: Slots, told: list[str]) -> None:
    for wanted in (A, B, A, B):
        get(made, wanted)
    assert told == [f"{name}: loading weights" for name in ("a", "b", "a (engine start 2)", "b (engine start 2)")]


def test_all_starts_are_counted_also_those_that_fail_and_no_server_that_ran_already(made: Slots) -> None:
    assert made.all_starts == 0
    for wanted in ((A,), (A,), (B,), (A,), (A, C)):
        get(made, *wanted)
    with pytest.raises(EngineStartError):
        get(made, target(BROKEN))
    get(made, target("served", backend="endpoint", url="http://127.0.0.1:1/v1"))
    made.close()
    assert made.all_starts == 5


def test_one_that_was_profiled_is_replaced_before_anything_is_timed(made: Slots, book: list[str]) -> None:
    get(made, A)
    made.was_profiled(A)
    get(made, A)
    assert book == ["start a"]
    for _ in range(2):
        with made.engines([A], timed=True):
            pass
    assert book == ["start a", "close a", "start a"]


def test_another_engine_starts_after_the_first_has_stopped(made: Slots, book: list[str]) -> None:
    get(made, A)
    get(made, B)
    assert book == ["start a", "close a", "start b"]


def test_another_device_is_another_engine(made: Slots, book: list[str]) -> None:
    get(made, target("a", H200))
    get(made, target("a", A6000))
    assert book == ["start aGPU-1", "close aGPU-1", "start aGPU-2"]


def test_two_run_together_in_the_order_asked_for(made: Slots, book: list[str]) -> None:
    a, b = get(made, A, B)
    assert [engine.spec.model for engine in (a, b)] == ["a", "b"]
    assert get(made, B, A) == [b, a]
    assert book == ["start a", "start b"]


def test_one_that_is_needed_again_stays(made: Slots, book: list[str]) -> None:
    get(made, A, B)
    get(made, B, C)
    assert book == ["start a", "start b", "close a", "start c"]


def test_all_that_is_not_needed_stops_before_anything_starts(made: Slots, book: list[str]) -> None:
    get(made, A, B)
    get(made, C, D)
    assert book == ["start a", "start b", "close a", "close b", "start c", "start d"]


def test_a_discarded_engine_is_killed_and_started_afresh(made: Slots, book: list[str]) -> None:
    get(made, A, B)
    made.discard([A, C])
    get(made, A, B)
    assert book == ["start a", "start b", "kill a", "start a"]


def test_what_fails_while_engines_are_used_ends_them(made: Slots, book: list[str]) -> None:
    get(made, C)
    with pytest.raises(EngineDiedError), made.engines([A, B]):
        raise EngineDiedError("died")
    assert book[1:] == ["close c", "start a", "start b", "kill a", "kill b"]


def test_an_engine_that_does_not_start_ends_the_one_beside_it(made: Slots, book: list[str]) -> None:
    for _ in range(2):
        with pytest.raises(EngineStartError):
            get(made, A, target(BROKEN))
    assert book == ["start a", "kill a"] * 2
    assert made.running == ()


def test_the_first_start_alone_is_cold(made: Slots) -> None:
    cold = []
    for _ in range(2):
        get(made, A)
        cold.append(made.cold(A))
        made.retire([A, B])
    assert cold == [True, False]


def test_the_start_after_one_that_failed_is_warm(made: Slots, monkeypatch: pytest.MonkeyPatch) -> None:
    """What failed may have compiled before."""

    def refuse(self: BookLauncher, spec: EngineSpec, device_env: Mapping[str, str], progress: Progress) -> Engine:
        raise EngineStartError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(BookLauncher, "start", refuse)
        with pytest.raises(EngineStartError):
            get(made, A)
    get(made, A)
    assert not made.cold(A)


def test_close_stops_all_once_the_latest_first(made: Slots, book: list[str]) -> None:
    get(made, A, B)
    made.close()
    made.close()
    assert book[2:] == ["close b", "close a"]


def test_a_fresh_engine_is_awake(made: Slots, book: list[str]) -> None:
    one, other = light("a"), light("b")
    get(made, one, other, asleep=True)
    made.retire([one, other])
    book.clear()
    get(made, one)
    made.wake([one, other], 0)
    assert book == ["start aGPU-1"]


def test_an_engine_that_cannot_sleep_is_refused_in_a_line(made: Slots, book: list[str]) -> None:
    with pytest.raises(SpecError, match=r"^a: an engine of backend='simulated' cannot sleep$"):
        get(made, target("a", H200), target("b", H200), asleep=True)
    assert book == ["start aGPU-1"]


def test_what_is_leased_while_an_engine_runs() -> None:
    endpoint = EngineSpec.create("m", backend="endpoint", url="http://127.0.0.1:8000/v1")
    leases = {
        spec.backend: Slot(Target(spec)).lease
        for spec in (
            EngineSpec.create("m"),
            EngineSpec.create("m", backend="serve"),
            endpoint,
            EngineSpec.create("m", backend="simulated"),
        )
    }
    assert leases == {
        "offline": ("cpu",),
        "serve": ("cpu",),
        "endpoint": ("endpoint-127.0.0.1-8000",),
        "simulated": (),
    }

"""What backend='serve' refuses before a start, and where its engines listen."""

from __future__ import annotations

import pytest

from pytest_vllmperf.engines import over_http
from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.engines.base import CachesPrefixes, Generates, Renders, Scores, Serves, Sleeps
from pytest_vllmperf.engines.serve import ServedEngine
from pytest_vllmperf.errors import EngineStartError, SpecError
from pytest_vllmperf.records.engine import Sampling, Timeouts
from pytest_vllmperf.records.spec import EngineSpec


def served(**engine_args: object) -> EngineSpec:
    return EngineSpec.create("org/model", backend="serve", **engine_args)


@pytest.mark.parametrize("name", ["host", "port", "uds", "api_key", "root_path", "ssl_keyfile", "ssl_certfile"])
def test_where_a_server_listens_and_whom_it_lets_in_is_not_the_tests_to_say(name: str) -> None:
    with pytest.raises(SpecError, match=f"^{name}= cannot be set for backend='serve'.*vllmperf.endpoint"):
        BACKENDS.checked(served(**{name: "x"}))


@pytest.mark.parametrize(("name", "value"), [("api_server_count", 2), ("data_parallel_size", 4), ("headless", True)])
def test_several_server_processes_are_refused(name: str, value: object) -> None:
    with pytest.raises(SpecError, match=f"^{name}={value} is not supported by backend='serve'"):
        BACKENDS.checked(served(**{name: value}))
    assert BACKENDS.checked(served(**{name: False if value is True else 1}))


def test_the_servers_own_figures_stay() -> None:
    with pytest.raises(SpecError, match="disable_log_stats=True"):
        BACKENDS.checked(served(disable_log_stats=True))


def test_all_other_arguments_are_vllms_to_check() -> None:
    assert BACKENDS.checked(served(enable_auto_tool_choice=True, tool_call_parser="hermes", max_num_seqs=8))


def test_a_served_engine_claims_no_operation_that_it_has_not() -> None:
    can = {kind for kind in (CachesPrefixes, Sleeps) if issubclass(ServedEngine, kind)}
    assert can == {CachesPrefixes, Sleeps}
    assert not any(issubclass(ServedEngine, kind) for kind in (Generates, Scores, Renders))
    assert isinstance(ServedEngine.address, property)  # what `Serves` asks for
    assert Serves.address


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(100.0, 107.0, 7.0), (None, None, None), (None, 5.0, None), ("absent", "absent", None)],
)
def test_instructions_of_an_iteration_are_the_difference_of_two_readings(
    monkeypatch: pytest.MonkeyPatch, before: float | str | None, after: float | str | None, told: float | None
) -> None:
    uses: list[over_http.ServerUse] = []
    readings = [{"cpu_seconds": 1.0, "resident_bytes": 1, **({} if one == "absent" else {"instructions": one})}
                for one in (before, after)]  # fmt: skip
    monkeypatch.setattr(over_http, "send", lambda *_: None)
    monkeypatch.setattr(over_http, "run_result", lambda sent, use: uses.append(use))
    monkeypatch.setattr(ServedEngine, "ask", lambda self, message: readings.pop(0))
    monkeypatch.setattr(ServedEngine, "address", property(lambda self: None))
    engine = ServedEngine.__new__(ServedEngine)
    engine._timeouts = Timeouts(1.0, 1.0)
    engine.run([], Sampling())
    assert [use.instructions for use in uses] == [told]


def test_libraries_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    over_http.check_installed()
    monkeypatch.setattr(over_http, "find_spec", lambda name: None if name in ("uvloop", "orjson") else name)
    with pytest.raises(
        EngineStartError, match=r"^the load generator needs uvloop, orjson, .*pytest-vllmperf\[serve\]'$"
    ):
        over_http.check_installed()

"""How many processes of the load generator drive a server: by flag and ini file, and as a measurement tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.service import Service

USED = "print('used', {len(result.served.audit.processes) for results in run.iterations for result in results})"
TWO = "--vllmperf-client-processes=2"


def test_flag_over_ini_over_as_many_as_are_needed(service: Service, workers: list[str]) -> None:
    assert _used(service, *workers) == 1
    assert _used(service, TWO, *workers) == _two()
    service.project.ini("vllmperf_client_processes = 2")
    assert _used(service, *workers) == _two()
    assert _used(service, "--vllmperf-client-processes=1", *workers) == 1


def test_two_send_every_request_once(service: Service, workers: list[str]) -> None:
    service.chat(work="WORK.at(concurrency=4)")
    service.record(TWO, *workers)
    for engine in service.stored()["sessions"][0]["engines"]:
        assert engine["samples"]["output_tokens"] == [6 * 5]
        assert engine["samples"]["failed_requests"] == [0]


@pytest.mark.parametrize("word", ["0", "-1", "two", "1.5", ""])
def test_a_number_that_is_none(service: Service, word: str, workers: list[str]) -> None:
    service.chat()
    _refused(service, "--vllmperf-client-processes", f"--vllmperf-client-processes={word}", *workers)
    if word:
        service.project.ini(f"vllmperf_client_processes = {word}")
        _refused(service, "ini setting vllmperf_client_processes", *workers)


def _two() -> int:
    """Two, where there are as many processors: more processes than these only wait for each other."""
    return min(2, len(os.sched_getaffinity(0)))


def _used(service: Service, *args: str) -> int:
    """With how many client processes each iteration was measured."""
    service.chat(then=USED)
    result = service.project.run("--vllmperf", "-rP", *args)
    result.assert_outcomes(passed=1)
    (told,) = [line for line in result.outlines if line.startswith("used ")]
    return int(told.removeprefix("used {").removesuffix("}"))


def _refused(service: Service, where: str, *args: str) -> None:
    result = service.project.run("--vllmperf-update", *args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (told,) = [line for line in result.errlines if line.startswith("ERROR: ")]
    assert told.startswith(f"ERROR: {where}: ")
    assert service.project.files() == {}

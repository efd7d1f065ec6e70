"""Machines of equal hardware that share baselines."""

from __future__ import annotations

import os

import pytest

from pytest_vllmperf.lab import fleet
from pytest_vllmperf.records.samples import Environment


def test_a_machine_is_told_by_a_hash_of_its_host_name() -> None:
    one, two = fleet.machine({}, "runner-1"), fleet.machine({}, "runner-2")
    assert one == fleet.machine({}, "runner-1")
    assert one != two
    assert (len(one), set(one) <= set("0123456789abcdef")) == (8, True)


def test_a_machine_with_a_name_of_its_own_keeps_it() -> None:
    assert fleet.machine({"VLLMPERF_MACHINE": " Rack 7/GPU \n"}, "container-1f") == "rack-7-gpu"
    assert fleet.machine({"VLLMPERF_MACHINE": " "}, "a") == fleet.machine({}, "a")


def test_an_environment_of_a_fleet_keeps_what_must_match(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet, "cpu_model", lambda: "EPYC 9654")
    alone = Environment(hard={"gpu": "NVIDIA H100"}, soft={"driver": "580"})
    found = fleet.named(alone, "h100-lab")
    assert found.hard == alone.hard
    assert set(found.soft) == {"driver", "host processor", "machine", "profile name"}
    assert found.soft["host processor"] == f"EPYC 9654, {os.cpu_count()} cores"
    on_cpu = fleet.named(Environment(hard={"cpu": "EPYC 9654"}, soft={}), "epyc")
    assert set(on_cpu.soft) == {"machine", "profile name"}

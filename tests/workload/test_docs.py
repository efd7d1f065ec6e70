"""docs/workloads.md tells of every way to make a workload and to set its load."""

import inspect
from pathlib import Path

from pytest_vllmperf.workload import Workload

PAGE = (Path(__file__).parents[2] / "docs" / "workloads.md").read_text()


def test_every_constructor_and_load_is_told() -> None:
    made = {name for name, member in inspect.getmembers(Workload, inspect.ismethod) if not name.startswith("_")}
    loads = {"at", "streamed", "over", "asking"}
    assert made >= {"synthetic", "trace"}
    assert [name for name in sorted(made) if f"Workload.{name}(" not in PAGE] == []
    assert [name for name in sorted(loads) if f".{name}(" not in PAGE] == []


def test_every_setting_of_a_load_is_told() -> None:
    settings = [name for method in (Workload.at, Workload.asking, Workload.over) for name in _settings(method)]
    assert "burstiness" in settings
    assert [name for name in settings if f"{name}=" not in PAGE] == []


def test_every_setting_of_a_constructor_is_told() -> None:
    makers = [Workload.synthetic, Workload.sharegpt, Workload.conversations, Workload.dataset, Workload.trace]
    named = {name for make in makers for name in _settings(make)} - {"path", "source", "folder", "column"}
    assert sorted(name for name in named if f"{name}=" not in PAGE) == []


def _settings(call: object) -> list[str]:
    assert callable(call)
    return [name for name in inspect.signature(call).parameters if name != "self"]

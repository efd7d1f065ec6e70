"""Whether everything that a test used is still there after the next test has been set up."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from typing import Any

import pytest

from pytest_vllmperf.harness.flags import FIXTURE

_NEVER_TORN_DOWN = (FIXTURE, "request")


def outlives(item: pytest.Item, nextitem: pytest.Item) -> bool:
    """Whether every fixture that a test has used lives on until the next test has run.

    A fixture of a wider scope lives as long as the next test is in that scope and has the same parameter of it. One
    of the test's own scope is gone, unless it only returned a value: such as a workload, and a parameter. A test that
    takes `request` may have added a finalizer to it.

    Args:
        item: a test that has run; fixtures that it asked for while running count too.
        nextitem: the test after it.
    """
    if "request" in _arguments(item):
        return False
    definitions: dict[str, Any] = getattr(getattr(item, "_request", None), "_fixture_defs", {})
    return all(
        _lives(name, definition, item, nextitem)
        for name, definition in definitions.items()
        if name not in _NEVER_TORN_DOWN
    )


def _arguments(item: pytest.Item) -> Collection[str]:
    """The names of what the test function takes."""
    function = getattr(item, "obj", None)
    return inspect.signature(function).parameters if callable(function) else ()


def _lives(name: str, definition: Any, item: pytest.Item, nextitem: pytest.Item) -> bool:
    if _only_returns(definition):
        return True
    node = _scope_node(definition.scope, item)
    return node in nextitem.listchain() and _parameter(name, item) == _parameter(name, nextitem)


def _only_returns(definition: Any) -> bool:
    """Whether nothing is torn down: a plain function that has no request to add a finalizer to.

    Those of pytest itself that take a request, such as `record_property`, add none.
    """
    function = definition.func
    waits = (inspect.isgeneratorfunction, inspect.isasyncgenfunction, inspect.iscoroutinefunction)
    if any(kind(function) for kind in waits):
        return False
    return "request" not in definition.argnames or getattr(function, "__module__", "").startswith("_pytest.")


def _scope_node(scope: str, item: pytest.Item) -> pytest.Item | pytest.Collector | pytest.Session | None:
    """The node at whose end a fixture of this scope is torn down."""
    if scope == "session":
        return item.session
    if scope in ("module", "package"):  # a package ends with its last module at the earliest
        return item.getparent(pytest.Module)
    if scope == "class":
        return item.getparent(pytest.Class) or item.getparent(pytest.Module)
    return item


def _parameter(name: str, item: pytest.Item) -> object:
    return getattr(getattr(item, "callspec", None), "indices", {}).get(name)

"""The programs of bench/ that tests hold to their figures."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def bench(name: str) -> ModuleType:
    """A program of bench/ as a module."""
    spec = importlib.util.spec_from_file_location(f"vllmperf_bench_{name}", ROOT / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # they import one another as `bench.NAME`
        spec.loader.exec_module(module)
    return module

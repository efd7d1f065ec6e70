"""What tests on real engines share: the arguments of a tiny engine, and a session to import as a fixture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.settings import DEFAULTS, Settings, Update

TINY: dict[str, Any] = {
    "dtype": "float32",
    "enforce_eager": True,
    "max_model_len": 512,
    "max_num_seqs": 8,
    "kv_cache_memory_bytes": 64 * 2**20,
}
"""Engine arguments of the tiny model: a small cache, no compilation."""


@pytest.fixture(scope="module")
def perf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("measured")
    opened = Lab(Settings(Update.NONE, folder, DEFAULTS, 600.0, 300.0), lambda doing, waited: None)
    yield opened
    opened.close()

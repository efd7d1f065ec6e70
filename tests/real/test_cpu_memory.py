"""The CPU build's first test starts without a word about memory, and a refusal says what to write in a test."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.engines.launcher import Launcher
from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.records.spec import EngineSpec

from .conftest import MODEL, TINY, quiet

SILENT: dict[str, Any] = {name: value for name, value in TINY.items() if name != "kv_cache_memory_bytes"}


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)


def test_an_engine_starts_with_a_default_that_its_facts_show(launcher: Launcher) -> None:
    engine = launcher.start(EngineSpec.create(MODEL, **SILENT), {}, quiet)
    try:
        size = engine.facts.resolved["kv_cache_memory_bytes"]
        assert engine.facts.kv_cache_bytes == size
        assert 1 <= size / 2**30 <= 8
    finally:
        engine.close()


def test_what_the_user_says_counts(launcher: Launcher) -> None:
    engine = launcher.start(EngineSpec.create(MODEL, **TINY), {}, quiet)
    engine.close()
    assert engine.facts.kv_cache_bytes == TINY["kv_cache_memory_bytes"]
    assert "kv_cache_memory_bytes" not in engine.facts.resolved


def test_a_share_that_is_not_free_is_refused_with_one_that_starts(launcher: Launcher) -> None:
    with pytest.raises(EngineStartError) as caught:
        launcher.start(EngineSpec.create(MODEL, **SILENT, gpu_memory_utilization=0.999), {}, quiet)
    message = str(caught.value)
    assert "\n" not in message
    before, share = message.split("; in a test: @pytest.mark.vllm(..., gpu_memory_utilization=")
    assert "less than desired CPU memory utilization" in before
    assert 0 < float(share.rstrip(")")) < 0.999

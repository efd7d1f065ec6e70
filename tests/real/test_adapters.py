"""LoRA adapters on real vLLM in process: the requests that name one get its answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.offline import OfflineEngine
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.lab.driving import measure
from pytest_vllmperf.models import make_adapter
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.workload import Workload

WORK = Workload.synthetic(requests=4, input_tokens=16, output_tokens=8)
ONCE = MeasureSettings(warmup=0, iterations=1)


def test_requests_get_the_adapter_that_they_name(start: Callable[..., Engine], tmp_path: Path) -> None:
    """None is mixed with the model itself: the CPU build of vLLM 0.32 gives such a batch's adapter to all of it."""
    modules = {name: str(make_adapter(tmp_path / name, seed=seed)) for seed, name in enumerate(("sql", "chat"))}
    engine = start(enable_lora=True, max_lora_rank=8, max_loras=2, lora_modules=modules)
    assert isinstance(engine, OfflineEngine)
    try:
        plain, sql, chat, mixed = (
            engine.generate(work.requests(2048)).outputs
            for work in (WORK, *(WORK.asking(model=model) for model in ("sql", "chat", ["sql", "chat"])))
        )
        assert all(len({one, two, three}) == 3 for one, two, three in zip(plain, sql, chat, strict=True))
        assert list(mixed) == [sql[0], chat[1], sql[2], chat[3]]
        done = measure(engine, WORK.asking(model="sql"), ONCE, lambda _: None)
        assert [one.output_tokens for one in done.iterations[0].requests] == [8] * 4
        with pytest.raises(WorkloadError, match=r"asks for the model 'other'.*it has chat, sql\."):
            measure(engine, WORK.asking(model="other"), ONCE, lambda _: None)
    finally:
        engine.close()

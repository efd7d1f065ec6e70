"""LoRA adapters on real vLLM in process: the requests that name one get its answers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.offline import OfflineEngine
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.lab.driving import measure
from pytest_vllmperf.models import make_adapter
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.workload import Workload

WORK = Workload.synthetic(requests=4, input_tokens=16, output_tokens=8)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_adapter(tmp_path_factory.mktemp("adapters") / "sql"))


def test_in_process_only_the_requests_that_name_it_get_it(start: Callable[..., Engine], adapter: str) -> None:
    engine = start(enable_lora=True, max_lora_rank=8, lora_modules={"sql": adapter})
    assert isinstance(engine, OfflineEngine)
    try:
        plain = engine.generate(WORK.requests(2048))
        mixed = engine.generate(WORK.asking(model=[None, "sql"]).requests(2048))
        same = [one == other for one, other in zip(plain.outputs, mixed.outputs, strict=True)]
        assert same == [True, False, True, False]
        done = measure(engine, WORK.asking(model="sql"), MeasureSettings(warmup=0, iterations=1), lambda _: None)
        assert [one.output_tokens for one in done.iterations[0].requests] == [8] * 4
        with pytest.raises(WorkloadError, match=r"asks for the model 'chat'.*it has sql"):
            measure(engine, WORK.asking(model="chat"), MeasureSettings(warmup=0, iterations=1), lambda _: None)
    finally:
        engine.close()

"""Five prompts together take far less than five times as long as one.

Published: "5 prompts together take far less than five times one prompt's time".
"""

from __future__ import annotations

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import CLAIM, Study, Tell, claim

PROMPTS = 5
LEAST_SPEEDUP = 2.0


@pytest.mark.vllmperf(iterations=4, warmup=2, device_pass="off")
def test_five_prompts_together_over_one_after_the_other(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    output = 256 if study.on_gpu else 64
    together = vllmperf.engine(**study.light(max_num_seqs=PROMPTS))
    in_series = vllmperf.engine(**study.light(max_num_seqs=1))
    work = Workload.synthetic(requests=PROMPTS, input_tokens=64, output_tokens=output)
    compared = vllmperf.compare(together, in_series, work)
    try:
        compared.assert_speedup(LEAST_SPEEDUP)
    finally:
        show(tell, compared)
    assert study.are_steps(compared.a, output)
    assert study.are_steps(compared.b, PROMPTS * output)


def show(tell: Tell, compared: EngineComparison) -> None:
    found = compared.speedup()
    tell(
        f"{PROMPTS} prompts together, and one after the other",
        ["", "engine steps", "tok/s", "times one prompt's time"],
        [
            ["together", compared.a.engine_steps, compared.a.output_throughput, PROMPTS / found.ratio],
            ["in series", compared.b.engine_steps, compared.b.output_throughput, float(PROMPTS)],
        ],
    )
    tell("together over in series", CLAIM, [claim("throughput", compared)])

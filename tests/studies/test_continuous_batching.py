"""Five prompts together take far less than five times as long as one.

Published: "5 prompts together take far less than five times one prompt's time".
"""

from __future__ import annotations

import pytest

from pytest_vllmperf import Workload
from pytest_vllmperf.harness.fixture import VllmPerf

from .conftest import Study, Tell

PROMPTS = 5
LEAST_SPEEDUP = 2.0


@pytest.mark.vllmperf(iterations=4, warmup=2)
def test_five_prompts_together_over_one_after_the_other(vllmperf: VllmPerf, study: Study, tell: Tell) -> None:
    output = 256 if study.on_gpu else 64
    together = vllmperf.engine(**study.light(max_num_seqs=PROMPTS))
    in_series = vllmperf.engine(**study.light(max_num_seqs=1))
    work = Workload.synthetic(requests=PROMPTS, input_tokens=64, output_tokens=output)
    compared = vllmperf.compare(together, in_series, work)
    found = compared.assert_speedup(LEAST_SPEEDUP)
    assert compared.a.engine_steps == output
    assert compared.b.engine_steps == PROMPTS * output
    tell(
        f"{PROMPTS} prompts together: {found.ratio:.2f} times as fast as in series [{found.low:.2f}, {found.high:.2f}]",
        ["", "engine steps", "tok/s", "times one prompt's time"],
        [
            ["together", compared.a.engine_steps, compared.a.output_throughput, PROMPTS / found.ratio],
            ["in series", compared.b.engine_steps, compared.b.output_throughput, float(PROMPTS)],
        ],
    )

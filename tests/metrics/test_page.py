"""docs/metrics.md says what the declarations say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from pytest_vllmperf.metrics.table import DECLARATIONS, METRICS

DOCS = Path(__file__).parents[2] / "docs"

_spec = importlib.util.spec_from_file_location("vllmperf_docs_generate", DOCS / "generate.py")
assert _spec is not None
assert _spec.loader is not None
generate = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(generate)


def test_every_metric_has_its_row() -> None:
    table = generate.metrics()
    for declared in DECLARATIONS:
        assert f"| `{declared.name}{'.*' if len(declared.metrics) > 1 else ''}` |" in table
    assert len(table.splitlines()) == 2 + len(DECLARATIONS) < len(METRICS)


def test_the_sets_name_their_metrics() -> None:
    assert "| `energy` | energy per output token | `joules_per_token` |" in generate.gates()
    assert "| `device` | GPU time, where it was measured | `gpu_time` where measured |" in generate.gates()
    auto = "`clock` and `device` on a GPU and for a server, `exact` for an engine in process on a CPU"
    assert f"| `auto` | {auto} | |" in generate.gates()


def test_a_class_with_a_margin_of_its_own_says_so() -> None:
    assert "| gpu_time | by the rule | 1 %, whatever the margin for all is |" in generate.classes()
    assert "| tail | by the rule | 10 % |" in generate.classes()

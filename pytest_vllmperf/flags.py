"""Names and declarations of flags, ini settings and markers. Imported in every pytest run: nothing heavy here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PREFIX = "vllmperf_"
FIXTURE = "vllmperf"
NOT_ARMED = "needs --vllmperf"
MARKERS = (
    "vllm(model, *, backend='offline', python=None, env=None, **engine_args): the engine of a vllmperf test; "
    "engine arguments are vLLM's own and passed through untouched",
    "gpu(name='', *, min_vram=None, min_compute=None, count=1): the GPU that the test needs; without arguments any",
    "vllmperf(*, iterations=None, warmup=None, margin=None, gate=None): how the test measures and what decides it",
)

SETTINGS = {
    "baselines": "folder of the baselines, from the root directory (baselines)",
    "iterations": "iterations counted per measurement (10)",
    "warmup": "iterations discarded before (2)",
    "margin": "tolerated relative change for the worse (0.05)",
    "gate": "metrics that decide: names, or the sets auto, exact, clock, cpu (auto)",
    "start_timeout": "seconds for an engine to come up (900)",
    "operation_timeout": "seconds for one iteration (600)",
}
"""What can be set by flag or ini, and the text that explains it."""


def add_options(parser: pytest.Parser) -> None:
    """Declare flags and ini settings."""
    group = parser.getgroup("vllmperf", "performance tests for vLLM")
    flag = group.addoption
    flag("--vllmperf", action="store_true", help="run performance tests and compare with the stored baselines")
    flag("--vllmperf-update", action="store_true", help="run performance tests and record what ran as the baseline")
    flag("--vllmperf-update-new", action="store_true",
         help="run performance tests, record those without a baseline and compare the others")  # fmt: skip
    for name, text in SETTINGS.items():
        flag(f"--vllmperf-{name.replace('_', '-')}", default=None, metavar="VALUE", help=text)
        if name == "gate":
            parser.addini(PREFIX + name, text, type="args", default=None)
        else:
            parser.addini(PREFIX + name, text, default=None)


def armed(config: pytest.Config) -> bool:
    """Whether any flag asks for performance tests to run."""
    return any(config.getoption(name) for name in ("vllmperf", "vllmperf_update", "vllmperf_update_new"))

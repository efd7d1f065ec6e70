"""Names and declarations of flags, ini settings and markers. Imported in every pytest run: nothing heavy here."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

PREFIX = "vllmperf_"
FIXTURE = "vllmperf"
NOT_ARMED = "needs --vllmperf"
MARKERS = (
    "vllm(model, *, backend='offline', python=None, env=None, per_gpu=None, **engine_args): the engine of a vllmperf "
    "test; engine arguments are vLLM's own and passed through untouched; per_gpu={'RTX 4060': {...}} has more of them "
    "for GPUs of that name; backend 'transformers' is the reference",
    "gpu(name='', *, min_vram=None, min_compute=None, count=1, mig=None): the GPU that the test needs; without "
    "arguments any; mig=True asks for a MIG device, mig='1g.10gb' for one of that name, mig=False for a whole GPU",
    "vllmperf(*, iterations=None, warmup=None, margin=None, gate=None, unsupported=None, allow=None): how the test "
    "measures and what decides it; unsupported='skip' skips it where build or GPU cannot run the engine; "
    "allow='preemptions' measures in spite of them",
    "scorecard(name, *, baseline, configuration=None): what the test measures is a row of that table; the row is "
    "called after the test's parameters unless it has a name of its own",
)

SETTINGS = {
    "baselines": "folder of the baselines, from the root directory (baselines)",
    "iterations": "iterations counted per measurement (10)",
    "warmup": "iterations discarded before: a number, or auto (auto: 2 to 8, until three agree within 2 %%)",
    "margin": "tolerated relative change for the worse, for all metrics or by name: '0.05 ttft.p50=0.1' (0.05)",
    "gate": "metrics that decide: names, or the sets auto, exact, clock, cpu (auto)",
    "allow": "validity rules that are turned off: preemptions, throttling, ... (none)",
    "gpu_hour_price": "what an hour of one GPU costs, in your currency (not said)",
    "engines": "fresh engines that a recorded session is measured on (3)",
    "max_engines": "fresh engines at most until a verdict is given up as NOISY (6)",
    "max_time": "seconds at most for the fresh engines of one kind (1800)",
    "scorecards": "folder that scorecards are written to, as Markdown and JSON (none are written)",
    "noisy": "what a NOISY verdict does to its test: warn or fail (warn)",
    "start_timeout": "seconds for an engine to come up (900)",
    "operation_timeout": "seconds for one iteration (600)",
}
"""What can be set by flag or ini, and the text that explains it."""

_LISTS = ("gate", "allow")
_REQUIRE_GPU = "fail tests that find no GPU, or not the one that they need, instead of skipping them"


def add_options(parser: pytest.Parser) -> None:
    """Declare flags and ini settings."""
    group = parser.getgroup("vllmperf", "performance tests for vLLM")
    flag = group.addoption
    flag("--vllmperf", action="store_true", help="run performance tests and compare with the stored baselines")
    flag("--vllmperf-update", action="store_true", help="run performance tests and record what ran as the baseline")
    flag("--vllmperf-update-new", action="store_true",
         help="run performance tests, record those without a baseline and compare the others")  # fmt: skip
    flag("--vllmperf-append", action="store_true",
         help="run performance tests and add what agrees with its baseline (the newest 20 sessions stay)")  # fmt: skip
    flag("--vllmperf-reason", default=None, metavar="TEXT", help="why baselines are recorded anew; kept in the file")
    flag("--vllmperf-require-gpu", action="store_true", help=_REQUIRE_GPU)
    parser.addini(PREFIX + "require_gpu", _REQUIRE_GPU, type="bool", default=False)
    for name, text in SETTINGS.items():
        flag(f"--vllmperf-{name.replace('_', '-')}", default=None, metavar="VALUE", help=text)
        if name in _LISTS:
            parser.addini(PREFIX + name, text, type="args", default=None)
        else:
            parser.addini(PREFIX + name, text.replace("%%", "%"), default=None)


def armed(config: pytest.Config) -> bool:
    """Whether any flag asks for performance tests to run."""
    names = ("vllmperf", "vllmperf_update", "vllmperf_update_new", "vllmperf_append")
    return any(config.getoption(name) for name in names)

"""Performance tests for vLLM as ordinary pytest tests.

Importing this package must stay cheap: pytest loads it in every run, armed or not. The public names are
therefore resolved on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_vllmperf.errors import DriftedWarning, NoisyWarning, VllmPerfError, VllmPerfWarning
    from pytest_vllmperf.harness.fixture import VllmPerf
    from pytest_vllmperf.harness.session_fixture import VllmPerfSession
    from pytest_vllmperf.metrics.measurement import Measurement
    from pytest_vllmperf.records.fit import Fit
    from pytest_vllmperf.records.report import RunReport
    from pytest_vllmperf.records.spec import EngineSpec
    from pytest_vllmperf.storage.runs import load
    from pytest_vllmperf.workload import Workload

__version__ = "0.1.0"
__all__ = [
    "DriftedWarning",
    "EngineSpec",
    "Fit",
    "Measurement",
    "NoisyWarning",
    "RunReport",
    "VllmPerf",
    "VllmPerfError",
    "VllmPerfSession",
    "VllmPerfWarning",
    "Workload",
    "__version__",
    "load",
]

_HOME = {
    "DriftedWarning": "pytest_vllmperf.errors",
    "EngineSpec": "pytest_vllmperf.records.spec",
    "Fit": "pytest_vllmperf.records.fit",
    "Measurement": "pytest_vllmperf.metrics.measurement",
    "NoisyWarning": "pytest_vllmperf.errors",
    "RunReport": "pytest_vllmperf.records.report",
    "VllmPerf": "pytest_vllmperf.harness.fixture",
    "VllmPerfError": "pytest_vllmperf.errors",
    "VllmPerfSession": "pytest_vllmperf.harness.session_fixture",
    "VllmPerfWarning": "pytest_vllmperf.errors",
    "Workload": "pytest_vllmperf.workload",
    "load": "pytest_vllmperf.storage.runs",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)

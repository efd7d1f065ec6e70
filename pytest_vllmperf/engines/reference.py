"""The reference engine: plain transformers in a child process, in static batches."""

from __future__ import annotations

from pytest_vllmperf.engines.child_engine import Program
from pytest_vllmperf.engines.forkserver import Library
from pytest_vllmperf.engines.in_process import InProcessEngine
from pytest_vllmperf.engines.profiling import ProfiledEngine


class ReferenceEngine(ProfiledEngine, InProcessEngine):
    """The engine with a model of transformers."""


PROGRAM = Program(
    Library("transformers", "transformers", "pip install 'pytest-vllmperf[reference]'"),
    "vllmperf_reference",
    ReferenceEngine,
)

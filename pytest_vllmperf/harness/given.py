"""What a test passes to the fixture's methods: refused in one line if it is not valid."""

from __future__ import annotations

import os

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.sharing import Way
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload

_SHOWN = 60


def check_workload(call: str, workload: object) -> None:
    """Refuse what is no workload.

    Raises:
        SpecError: naming the method.
    """
    if not isinstance(workload, Workload):
        raise SpecError(f"{call}() takes a Workload, not {shown(workload)}; make one with Workload.synthetic(...)")


def check_engine(call: str, engine: object) -> None:
    """Refuse what is neither an engine nor None.

    Raises:
        SpecError: naming the method.
    """
    if engine is not None and not isinstance(engine, EngineSpec):
        raise SpecError(f"{call}() takes engines made by vllmperf.engine(...), not {shown(engine)}")


def check_requirement(call: str, gpu: object) -> None:
    """Refuse what is neither a GPU that is asked for nor None.

    Raises:
        SpecError: naming the method.
    """
    if gpu is not None and not isinstance(gpu, GpuRequirement):
        raise SpecError(f"{call}() takes gpu=vllmperf_session.gpu(NAME, ...), not {shown(gpu)}")


def one_of(call: str, engine: EngineSpec | None, endpoint: EngineSpec | None) -> EngineSpec | None:
    """The engine that is named one way or the other; None where none is.

    Raises:
        SpecError: for both, or something that is no engine.
    """
    if engine is not None and endpoint is not None:
        raise SpecError(f"{call}() takes engine= or endpoint=, not both")
    named = engine if endpoint is None else endpoint
    check_engine(call, named)
    return named


def check_measurement(run: object, call: str = "check", argument: str = "") -> None:
    """Refuse what is no measurement.

    Args:
        run: what was given.
        call: the method.
        argument: what it was given as, such as `run=`; empty for the first argument.

    Raises:
        SpecError: naming the method.
    """
    if not isinstance(run, Measurement):
        raise SpecError(
            f"{call}() takes the result of measure(), as in vllmperf.{call}({argument}vllmperf.measure(workload)), "
            f"not {shown(run)}"
        )


def check_compared(a: object, b: object, workload: object) -> None:
    """Refuse what cannot be compared.

    Raises:
        SpecError: for it.
    """
    check_workload("compare", workload)
    for one in (a, b):
        check_engine("compare", one)


def way_of(word: str) -> Way:
    """How two engines share a device, by its name.

    Raises:
        SpecError: for another word.
    """
    known = {way.name.lower(): way for way in Way}
    if not isinstance(word, str) or word not in known:
        raise SpecError(f"way={shown(word)} is not valid; choose one of {', '.join(known)}")
    return known[word]


def model_of(call: str, model: object) -> str:
    """The path or name of a model, as a text.

    Raises:
        SpecError: for what is neither, naming the method.
    """
    found = os.fspath(model) if isinstance(model, (str, os.PathLike)) else None
    if not isinstance(found, str):
        raise SpecError(f"{call}() takes the path or name of a model, not {shown(model)}")
    return found


def shown(value: object) -> str:
    """What was given, as Python writes it, and cut where it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

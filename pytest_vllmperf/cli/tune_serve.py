"""`vllmperf tune serve`: the engine arguments with the highest goodput."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_vllmperf.cli.tune import Waiting, arguments_of, value_of
from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.records.parsing import count, number
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.settings import AUTO, DEFAULTS, Settings, Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.tuning import Tuned
from pytest_vllmperf.report import tunings
from pytest_vllmperf.sweep import asking, serving
from pytest_vllmperf.sweep.measuring import PointMeasurer
from pytest_vllmperf.sweep.results import opened
from pytest_vllmperf.sweep.serving import ServeStudy
from pytest_vllmperf.sweep.tuned import Findings, nothing_measured
from pytest_vllmperf.sweep.tuner import Tuner
from pytest_vllmperf.validity.allowed import rule_names

FOUND = 0
NOT_KEPT = 1
NOTHING_MEASURED = 3


@dataclass(frozen=True)
class Asked:
    """What the command line asks for: see `cli.tune_arguments`, which has a line of help for each."""

    model: str
    slo: str
    goodput: float
    axes: Sequence[str]
    arguments: Sequence[str]
    input_tokens: str
    output_tokens: str
    shared_prefix_tokens: str | None
    requests: str | None
    trials: str
    replicates: str
    iterations: str
    warmup: str
    seed: str
    backend: str
    gpu: str | None
    allow: str
    results: str | None
    retry: bool
    start_timeout: float
    operation_timeout: float
    yes: bool

    @property
    def first_seed(self) -> int:
        """Of the search and of the workload."""
        return count(0)("--seed", self.seed)

    def meant(self) -> serving.Asked:
        """The same, parsed.

        Raises:
            SpecError: for what cannot be meant.
        """
        warmup = None if self.warmup == AUTO else count(0)("--warmup", self.warmup)
        workload = self._workload()
        return serving.Asked(
            model=self.model,
            arguments=arguments_of(self.arguments),
            axes=_axes(self.axes),
            promise=serving.parse_promise(self.slo, self.goodput, workload["output_tokens"]),
            workload=workload,
            backend=self.backend,
            gpu=None if self.gpu is None else GpuRequirement(self.gpu),
            measuring=MeasureSettings(warmup, count(1)("--iterations", self.iterations)),
            replicates=count(2)("--replicates", self.replicates),
            trials=count(1)("--trials", self.trials),
            allow=rule_names("--allow", self.allow),
            results=Path(self.results or f"{EngineSpec.create(self.model).name.replace(':', '-')}.tune.json"),
            many=self.yes,
        )

    def _workload(self) -> dict[str, Any]:
        lengths = {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens}
        made: dict[str, Any] = {name: _length(name, value) for name, value in lengths.items()}
        made["seed"] = self.first_seed
        if self.shared_prefix_tokens is not None:
            made["shared_prefix_tokens"] = count(0)("--shared-prefix-tokens", self.shared_prefix_tokens)
        if self.requests is not None:
            made["requests"] = count(1)("--requests", self.requests)
        return made


def serve(asked: Asked, told: Callable[[str], None], *, as_json: bool) -> tuple[str, int]:
    """Search, and tell what was found.

    Args:
        asked: what the command line asks for.
        told: called with a line for each point.
        as_json: whether the result is for a program.

    Returns:
        The result, and the exit code: 0 found, 1 no point meets the SLO, 3 nothing could be measured.

    Raises:
        SpecError: for input that cannot be meant.
        WorkloadError: for a workload that cannot be sent.
        BaselineError: for a results file that cannot be used or written, or is of another search.
        NoGpuError: when a GPU is needed that is not there.
    """
    meant = asked.meant()
    study = serving.study(meant)
    if asking.larger(study.axes, meant.trials):
        asking.optuna()  # said before a device is waited for
    found = _searched(asked, meant, study, told)
    text = tunings.as_json(found) if as_json else "\n".join(tunings.lines(found))
    if found.best is not None:
        return text, FOUND
    return text, NOTHING_MEASURED if nothing_measured(found) else NOT_KEPT


def _searched(asked: Asked, meant: serving.Asked, study: ServeStudy, told: Callable[[str], None]) -> Tuned:
    seconds = number(0, exclusive=True)
    timeouts = (
        seconds("--start-timeout", asked.start_timeout),
        seconds("--operation-timeout", asked.operation_timeout),
    )
    settings = Settings(Update.NONE, Path(), DEFAULTS, *timeouts)
    with opened(study) as results, closing(Lab(settings, Waiting(told))) as lab:
        if asked.retry:
            results.forget_failed()
        measurer = PointMeasurer(study, lab)
        tuner = Tuner(study, meant.promise, results, measurer, told)
        tuner.run(meant.trials, asked.first_seed)
        return Findings(study, meant.promise, results, measurer, tuner).tuned()


def _axes(given: Sequence[str]) -> dict[str, list[Any]]:
    """Axes of a command line: values as `--set` reads them, or a JSON list where a value has a comma."""
    axes: dict[str, list[Any]] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if not equals or not name.isidentifier():
            raise SpecError(f"--axis {one}: this is not NAME=V1,V2,..., such as max_num_seqs=16,64")
        if name in axes:
            raise SpecError(f"--axis {name} is given twice; put all values into one")
        axes[name] = list(_values(text))
    return axes


def _values(text: str) -> Iterator[Any]:
    whole = value_of(text)
    if isinstance(whole, list):
        yield from whole
    elif isinstance(whole, dict):
        yield whole
    else:
        yield from (value_of(part.strip()) for part in text.split(",") if part.strip())


def _length(name: str, text: str) -> Any:
    """A number of tokens, or a range."""
    option = f"--{name.replace('_', '-')}"
    low, colon, high = text.partition(":")
    first = count(1)(option, low)
    return [first, count(first)(option, high)] if colon else first

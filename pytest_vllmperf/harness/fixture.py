"""What a test calls: the `vllmperf` fixture's methods. Brings session, verdict and baseline together."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import Any, Literal

import pytest

from pytest_vllmperf import models
from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.checking.plan import InRun, plan
from pytest_vllmperf.comparing.answers import checked_chats, first_requests
from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.comparing.quality import first_difference
from pytest_vllmperf.engines.backends import BACKENDS
from pytest_vllmperf.engines.base import Generates, Renders, able
from pytest_vllmperf.errors import EngineUnsupportedError, ReferenceEngineError, SpecError
from pytest_vllmperf.harness.context import TestContext
from pytest_vllmperf.harness.markers import CardEntry
from pytest_vllmperf.harness.options import call_settings
from pytest_vllmperf.lab import taking
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.promised import promised
from pytest_vllmperf.lab.searching import rate_search, unusable
from pytest_vllmperf.lab.sharing import Way, share
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.promises import promise
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.records.settings import AUTO
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.verdict import Verdict
from pytest_vllmperf.report import verdicts
from pytest_vllmperf.report.escaping import terminal_line
from pytest_vllmperf.verdict.priors import Priors
from pytest_vllmperf.workload import Message, Workload

_SCORECARD_PROMPTS = 8
_SCORECARD_TOKENS = 32
_SHOWN = 60


class VllmPerf:
    """The `vllmperf` fixture.

    Args:
        session: measures.
        test: the running test.
        in_run: what the whole run knows.
    """

    def __init__(self, session: Lab, test: TestContext, in_run: InRun) -> None:
        self._session = session
        self._test = test
        self._in_run = in_run

    def engine(self, model: str | os.PathLike[str], **kwargs: Any) -> EngineSpec:
        """An engine for `measure` or `compare`; takes what `@pytest.mark.vllm` takes and starts nothing yet.

        Raises:
            SpecError: for arguments that cannot be meant.
        """
        spec = EngineSpec.create(model, **kwargs)
        self._session.redactor.learn(spec)
        return BACKENDS.checked(spec)

    def endpoint(
        self,
        url: str,
        *,
        model: str,
        api_key_env: str | None = None,
        name: str | None = None,
        vocab_size: int | None = None,
        vllm: bool = True,
    ) -> EngineSpec:
        """A server that runs already, for `measure` or `compare`; nothing is sent yet.

        Args:
            url: up to the path in front of `/completions`, such as `http://127.0.0.1:8000/v1`.
            model: the served name.
            api_key_env: name of the environment variable that holds the key.
            name: what its baselines' folder is called; host and port unless given.
            vocab_size: synthetic prompts have token ids below it; 1000 unless given.
            vllm: whether it takes vLLM's own fields, such as `ignore_eos`; False for other servers.

        Raises:
            SpecError: for a URL that is none.
        """
        given = {"url": url, "api_key_env": api_key_env, "name": name, "vocab_size": vocab_size}
        own = {word: value for word, value in given.items() if value is not None}
        return self.engine(model, backend="endpoint", **own, **({} if vllm else {"vllm": False}))

    def measure(
        self,
        workload: Workload,
        *,
        engine: EngineSpec | None = None,
        endpoint: EngineSpec | None = None,
        iterations: int | None = None,
        warmup: int | Literal["auto"] | None = None,
    ) -> Measurement:
        """Measure a workload on the marker's engine, or on `engine`.

        With `--vllmperf-against` it is measured in turns with the same engine on another interpreter's vLLM.

        Args:
            workload: what to send.
            engine: which engine instead of the marker's.
            endpoint: the same, for a server that runs already.
            iterations: counted iterations; default from marker, option or ini.
            warmup: discarded iterations before them.

        Raises:
            SpecError: when no engine is named.
            WorkloadError: when the workload does not fit the engine.
            EngineError: when the engine does not start, or fails on the way.
            NoGpuError: when no GPU meets the `gpu` marker.
            CheckFailed: when the reference interpreter cannot run the engine.
        """
        __tracebackhide__ = True
        _check_workload("measure", workload)
        engine = _one_of(engine, endpoint)
        _check_engine("measure", engine)
        take = self._take(workload, engine, self._measure_settings(iterations, warmup))
        with self._where_supported():
            run = self._measured(take)
            if self._test.card is not None:
                self._test.rows.append(self._row(self._test.card, take, run))
        self._test.measured.append(run)
        return run

    def find_max_rate(
        self,
        workload: Workload,
        *,
        ttft: float | None = None,
        tpot: float | None = None,
        e2e: float | None = None,
        goodput: float = 0.99,
        engine: EngineSpec | None = None,
        endpoint: EngineSpec | None = None,
        replicates: int = 3,
        arrivals: Literal["poisson", "constant"] = "poisson",
        warmup: int | Literal["auto"] | None = None,
    ) -> Measurement:
        """Find the highest rate of arrivals at which requests keep a promise; `check` gates it as any metric.

        The rate is doubled until the promise breaks or requests pile up. Rates between the last two are then tried,
        each `replicates` times. An isotonic fit through the shares says where the promise breaks; `run.rates` has what
        was tried and the interval, `run.max_rate` the value.

        Args:
            workload: what is sent at each rate; several hundred requests tell 99 % from 98 %.
            ttft: most seconds until the first token.
            tpot: most seconds for each token after the first.
            e2e: most seconds until the last token.
            goodput: share of all requests that have to keep all parts of it.
            engine: which engine instead of the marker's.
            endpoint: the same, for a server that runs already.
            replicates: how often each rate is tried.
            arrivals: the arrival process.
            warmup: discarded iterations before the first rate.

        Raises:
            SpecError: when no engine is named, it is not driven over HTTP, or a figure is not valid.
            WorkloadError: when the workload does not fit the engine, or has too few requests to tell the share.
            EngineError: when the engine does not start, or fails on the way.
            CheckFailed: when no rate that was tried keeps the promise, or all do.
        """
        __tracebackhide__ = True
        _check_workload("find_max_rate", workload)
        engine = _one_of(engine, endpoint)
        _check_engine("find_max_rate", engine)
        search = rate_search(promise(ttft, tpot, e2e, goodput), goodput, replicates, arrivals, workload.count)
        take = Take(
            self._target(engine),
            workload,
            self._measure_settings(replicates, warmup),
            self._test.settings.allow or (),
            search=search,
        )
        with self._where_supported():
            run = self._measured(take)
        self._test.measured.append(run)
        if not run.problems and (reason := unusable(run.rates[-1], search)):
            fail(f"{self._test.nodeid}: {reason}")
        return run

    def _measured(self, take: Take) -> Measurement:
        """A measurement; where it is void for what another engine would not meet, of one more engine, once."""
        __tracebackhide__ = True
        try:
            run = taking.measure(self._session, take)
            if not run.transient:
                return run
            self._session.retire(take.targets)
            return taking.measure(self._session, take, 2).without(run)
        except ReferenceEngineError as error:
            fail(f"INVALID  {self._test.nodeid}: {error}", log_tail=error.log_tail)

    def _take(self, workload: Workload, engine: EngineSpec | None, settings: MeasureSettings) -> Take:
        """How to measure: in turns with a reference, where there is one."""
        own = self._test.settings
        take = Take(self._target(engine), workload, settings, own.allow or ())
        return taking.in_turns(self._session, take, own.against) if own.against else take

    def _row(self, card: CardEntry, take: Take, run: Measurement) -> Row:
        """A measurement as a row of the scorecard, with what its engine says to the first requests."""
        made = taking.ask(
            self._session,
            take,
            lambda engine: able(engine, Generates).generate(
                first_requests(engine, take.workload, _SCORECARD_PROMPTS, _SCORECARD_TOKENS)
            ),
        )
        return Row(
            card=card.name,
            configuration=card.configuration,
            baseline=card.baseline,
            engine=run.spec_label,
            profile=run.profile,
            workload=dict(run.workload),
            engines=run.engines,
            outputs=made.outputs,
            problems=run.problems,
            takes_the_rest=run.gpus > 0 and take.target.backend.fills_memory,
            gpus=run.gpus,
            gpu_hour_price=self._session.settings.gpu_hour_price,
        )

    @contextmanager
    def _where_supported(self) -> Iterator[None]:
        """Skip the test where the build or GPU cannot run an engine, if its marker says so."""
        try:
            yield
        except EngineUnsupportedError as error:
            if self._test.settings.unsupported != "skip":
                raise
            raise pytest.skip.Exception(terminal_line(str(error)), _use_item_location=True) from None

    def assert_same_chat_template(
        self, reference: str | os.PathLike[str], chats: Sequence[Sequence[Message]], *, engine: EngineSpec | None = None
    ) -> None:
        """Fail the test unless the engine renders chats into the token ids that a reference model's tokenizer gives.

        Args:
            reference: path or name of the model whose tokenizer is right.
            chats: each a list of `{"role": …, "content": …}`.
            engine: which engine instead of the marker's.

        Raises:
            WorkloadError: for a chat that is none, or a tokenizer without chat template.
            EngineError: when the engine does not start.
            ModelError: for a built-in reference that does not exist.
        """
        __tracebackhide__ = True
        self._test.claims += 1
        target, model = self._target(engine), models.resolve(os.fspath(reference))
        rendered = checked_chats(chats)
        with self._where_supported():
            own, wanted = self._session.ask(
                target, lambda engine: tuple(able(engine, Renders).render(rendered, by) for by in (None, model))
            )
        for number, (seen, right) in enumerate(zip(own, wanted, strict=True)):
            if difference := first_difference(seen, right):
                fail(verdicts.template_line(target.spec.label, os.fspath(reference), number, difference))

    def check(
        self,
        run: Measurement,
        *,
        name: str | None = None,
        margin: float | Mapping[str, float] | None = None,
        gate: str | Sequence[str] | None = None,
    ) -> Verdict:
        """Judge a measurement by this hardware's stored baseline, or record it as one.

        A regression, a missing or incomparable baseline and a void measurement fail the test with a line each. Where
        one engine does not decide it, the same is measured again on fresh engines once the test function has
        returned, together with all other open checks on the same engine; the test fails then.

        Args:
            run: what `measure` returned.
            name: needed in a test with several checks, so that each keeps its baseline.
            margin: tolerated relative change, one for all or by metric.
            gate: metrics that decide, or the sets `auto`, `exact`, `clock`, `cpu`.

        Returns:
            The verdict as it stands: UNDECIDED while more engines are wanted, RECORDED for one that is recorded.

        Raises:
            SpecError: for something that is no measurement, a metric, margin or name that is not valid, or a gate that
                can never be judged.
            BaselineError: for a baseline file that cannot be read.
            CheckFailed: where it is decided that the check does not hold.
        """
        __tracebackhide__ = True
        _check_measurement(run)
        own = call_settings(margin=margin, gate=gate).over(self._test.settings)
        site = self._test.site(name, _line_above(inspect.currentframe()))
        run = promised(asked := run, asked.promised)
        stored = self._session.store.read(run.profile, site.module).tests.get(site.name)
        check = Check(plan(site, run, stored, own, self._session.settings, self._in_run), run)
        self._test.add(check, asked)
        if not check.open and (failure := self._test.conclude(check)):
            fail(failure.text, failure.line, failure.log_tail)
        return check.verdict

    def compare(
        self,
        a: EngineSpec,
        b: EngineSpec,
        workload: Workload,
        *,
        iterations: int | None = None,
        warmup: int | Literal["auto"] | None = None,
        way: Literal["resident", "sleep", "restart"] | None = None,
    ) -> EngineComparison:
        """Measure two engines in turns (ABBA), so that drift falls on both alike.

        They may be of any backend and any interpreter. Both run at once where the GPU holds them, on a fixed split of
        its memory unless they name their own; else one sleeps while the other works, where both are vLLM; else each
        is started for its turn. That is one round; two are measured at once. An assertion that they do not decide
        starts a fresh engine of each and measures another round, up to `--vllmperf-max-engines` rounds. `b` may be the
        same engine as `a`: such an A/A comparison shows what noise alone does.

        Args:
            a: the engine that is claimed to be better.
            b: the reference.
            workload: what to send to both.
            iterations: counted iterations of each engine in a round; an odd number is raised by one.
            warmup: discarded iterations before them.
            way: how they share the GPU; chosen by what fits unless given.

        Raises:
            SpecError: when they cannot share the GPU in that way.
            WorkloadError: when the workload does not fit one of them.
            EngineError: when an engine does not start, or fails on the way.
        """
        _check_compared(a, b, workload)
        # An engine may be compared with itself: the reference is then another start of it.
        targets = (self._target(a), replace(self._target(b), reference=a == b))
        sharing = share(targets, self._session.weight_bytes(targets), None if way is None else _way(way))
        settings, limits = self._measure_settings(iterations, warmup), self._session.settings
        pair = Pair(self._session, sharing, workload, settings, self._test.settings.allow or ())
        with self._where_supported():
            compared = EngineComparison(pair, limits.max_engines, limits.max_time, self._priors)
        self._test.compared.append(compared.record)
        return compared

    def _priors(self, run: Measurement) -> Priors:
        """What the baselines of a measurement's profile say of noise."""
        return self._in_run.priors(run.profile, run.environment.hard)

    def _target(self, engine: EngineSpec | None) -> Target:
        spec = engine or self._test.spec
        if spec is None:
            raise SpecError(
                f"{self._test.nodeid}: no engine; mark the test with @pytest.mark.vllm(model, ...) or pass engine="
            )
        return self._session.target(spec, self._test.gpu)

    def _measure_settings(self, iterations: int | None, warmup: int | Literal["auto"] | None) -> MeasureSettings:
        own = call_settings(iterations=iterations, warmup=warmup).over(self._test.settings)
        assert own.iterations is not None
        warm = None if own.warmup == AUTO else own.warmup
        return MeasureSettings(warm, own.iterations, self._session.settings.client_processes)


def _line_above(frame: FrameType | None) -> tuple[str, int]:
    """The file and line that called the function of this frame."""
    caller = frame.f_back if frame is not None else None
    return (caller.f_code.co_filename, caller.f_lineno) if caller is not None else ("", 0)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _check_workload(call: str, workload: object) -> None:
    if not isinstance(workload, Workload):
        raise SpecError(f"{call}() takes a Workload, not {_shown(workload)}; make one with Workload.synthetic(...)")


def _check_engine(call: str, engine: object) -> None:
    if engine is not None and not isinstance(engine, EngineSpec):
        raise SpecError(f"{call}() takes engines made by vllmperf.engine(...), not {_shown(engine)}")


def _one_of(engine: EngineSpec | None, endpoint: EngineSpec | None) -> EngineSpec | None:
    if engine is not None and endpoint is not None:
        raise SpecError("measure() takes engine= or endpoint=, not both")
    return engine if endpoint is None else endpoint


def _check_measurement(run: object) -> None:
    if not isinstance(run, Measurement):
        raise SpecError(f"check() takes what measure() returned, not {_shown(run)}")


def _check_compared(a: EngineSpec, b: EngineSpec, workload: Workload) -> None:
    _check_workload("compare", workload)
    for one in (a, b):
        _check_engine("compare", one)


def _way(word: str) -> Way:
    known = {way.name.lower(): way for way in Way}
    if word not in known:
        raise SpecError(f"way={word!r} is none of {', '.join(known)}")
    return known[word]

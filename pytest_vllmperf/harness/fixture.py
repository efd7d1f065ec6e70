"""The methods of the `vllmperf` fixture, which tests call."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pytest_vllmperf import models
from pytest_vllmperf.checking.check import Check
from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.checking.plan import plan
from pytest_vllmperf.comparing.answers import checked_chats, first_requests
from pytest_vllmperf.comparing.comparison import EngineComparison
from pytest_vllmperf.comparing.quality import first_difference
from pytest_vllmperf.engines.base import Generates, Renders, able
from pytest_vllmperf.harness import foretold
from pytest_vllmperf.harness.failures import line_above
from pytest_vllmperf.harness.given import check_compared, check_measurement, check_workload, model_of, one_of, way_of
from pytest_vllmperf.harness.markers import CardEntry
from pytest_vllmperf.harness.options import call_settings
from pytest_vllmperf.harness.recording import RecordsMetrics
from pytest_vllmperf.lab import taking
from pytest_vllmperf.lab.pair import Pair
from pytest_vllmperf.lab.promised import promised
from pytest_vllmperf.lab.sharing import share
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.gates import LIMITS
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.ids import TestId
from pytest_vllmperf.records.run import MeasureSettings
from pytest_vllmperf.records.scorecard import Row
from pytest_vllmperf.records.settings import Update
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.records.verdict import Verdict
from pytest_vllmperf.report import verdicts
from pytest_vllmperf.verdict.priors import Priors
from pytest_vllmperf.workload import Message, Workload

_SCORECARD_PROMPTS = 8
_SCORECARD_TOKENS = 32


class VllmPerf(RecordsMetrics):
    """The `vllmperf` fixture."""

    def measure(
        self,
        workload: Workload,
        *,
        engine: EngineSpec | None = None,
        endpoint: EngineSpec | None = None,
        iterations: int | None = None,
        warmup: int | Literal["auto"] | None = None,
        device_pass: int | Literal["off"] | None = None,
    ) -> Measurement:
        """Measure a workload on the marker's engine, or on `engine`.

        With `--vllmperf-against`, the engine is measured in turns with the same engine on another interpreter's vLLM.

        Args:
            workload: what to send.
            engine: the engine to use instead of the marker's.
            endpoint: a running server to use instead.
            iterations: measured iterations; default from marker, option or ini.
            warmup: warm-up iterations, which are discarded.
            device_pass: extra iterations in which the GPU is profiled; "off", 0 or False: none.

        Raises:
            SpecError: when no engine is named.
            WorkloadError: when the workload does not fit the engine.
            EngineError: when the engine does not start, or fails on the way.
            NoGpuError: when no GPU meets the `gpu` marker.
            CheckFailed: when the reference interpreter cannot run the engine.
        """
        __tracebackhide__ = True
        check_workload("measure", workload)
        engine = one_of("measure", engine, endpoint)
        take = self._take(workload, engine, self._measure_settings(iterations, warmup, device_pass))
        self._foretell(take)
        with self._where_supported():
            run = self._measured(take)
            if self._test.card is not None:
                self._test.rows.append(self._row(self._test.card, take, run))
        self._test.measured.append(run)
        return run

    def _take(self, workload: Workload, engine: EngineSpec | None, settings: MeasureSettings) -> Take:
        """How to measure: in turns with a reference, where there is one."""
        own = self._test.settings
        take = Take(self._target(engine), workload, settings, own.allow or ())
        return taking.in_turns(self._session, take, own.against) if own.against else take

    def _foretell(self, take: Take) -> None:
        """Say before measuring, which may take long, that a check of it cannot be judged."""
        judged = take.sharing is None and self._test.settings.gate != (LIMITS,)
        if self._test.run_settings.update is not Update.ALL and judged:
            test = TestId.parse(self._test.nodeid)
            foreseen = foretold.of_measurement(test, take, self._session.store, self._test.run_settings.profile_name)
            new = self._test.run_settings.update is Update.NEW
            self._test.foretell("" if new and foreseen.missing else foreseen.text)

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

    def assert_same_chat_template(
        self, reference: str | os.PathLike[str], chats: Sequence[Sequence[Message]], *, engine: EngineSpec | None = None
    ) -> None:
        """Fail the test unless the engine renders chats into the same token ids as a reference model's tokenizer.

        Args:
            reference: path or name of the model to compare with.
            chats: each a list of `{"role": …, "content": …}`.
            engine: the engine to use instead of the marker's.

        Raises:
            SpecError: for a reference that is neither a path nor a name.
            WorkloadError: for an invalid chat, or a tokenizer without a chat template.
            EngineError: when the engine does not start.
            ModelError: for a built-in reference that does not exist.
        """
        __tracebackhide__ = True
        self._test.claims += 1
        named = model_of("assert_same_chat_template", reference)
        target, model = self._target(engine), models.resolve(named)
        rendered = checked_chats(chats)
        with self._where_supported():
            own, wanted = self._session.ask(
                target, lambda engine: tuple(able(engine, Renders).render(rendered, by) for by in (None, model))
            )
        for number, (seen, right) in enumerate(zip(own, wanted, strict=True)):
            if difference := first_difference(seen, right):
                fail(verdicts.template_line(target.spec.label, named, number, difference))

    def check(
        self,
        run: Measurement,
        *,
        name: str | None = None,
        margin: float | Mapping[str, float] | None = None,
        gate: str | Sequence[str] | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> Verdict:
        """Compare a measurement with this hardware's stored baseline, or record it as one.

        A regression, a missing or incomparable baseline, or a void measurement fails the test. If one engine start does
        not decide the check, it is measured again on fresh engines after the test function returns, together with all
        other undecided checks on the same engine. The test can still fail then.

        Args:
            run: what `measure` returned.
            name: the name of the check in the baseline; needed if a test has several checks.
            margin: tolerated relative change, for all metrics or by metric; recorded ones by the names of `record`.
            gate: metrics to gate, or the sets `auto`, `exact`, `clock`, `cpu`, `device`; `limits` for limits alone.
            limits: absolute limits by metric, in the units of docs/metrics.md, over those of the marker and the run.

        Returns:
            The current verdict: UNDECIDED while more engine starts are needed, RECORDED if it was recorded.

        Raises:
            SpecError: for an argument that is not a measurement, an invalid metric, margin or name, or a gate
                that can never be judged.
            BaselineError: for a baseline file that cannot be read.
            CheckFailed: if the check has failed.
        """
        __tracebackhide__ = True
        check_measurement(run)
        self._test.check_reference(run)
        own = call_settings(margin=margin, gate=gate, limits=limits).over(self._test.settings)
        site = self._test.site(name, line_above(inspect.currentframe()))
        run = promised(self._test.recordings.of(asked := run), asked.promised)
        stored = self._session.store.read(run.profile, site.module).tests.get(site.name)
        check = Check(plan(site, run, stored, own, self._session.settings, self._in_run), run)
        self._test.add(check, asked)
        if not check.open and (failure := self._test.conclude(check)):
            fail(failure.text, failure.line, failure.log_tail, verdict=failure.verdict)
        return check.verdict

    def compare(
        self,
        a: EngineSpec,
        b: EngineSpec,
        workload: Workload,
        *,
        iterations: int | None = None,
        warmup: int | Literal["auto"] | None = None,
        device_pass: int | Literal["off"] | None = None,
        way: Literal["resident", "sleep", "restart"] | None = None,
    ) -> EngineComparison:
        """Measure two engines in turns (ABBA), so that changes of the machine affect both alike.

        They may be of any backend and any interpreter. If the GPU has room for both, they run side by side, with a
        fixed split of its memory unless they set their own shares. Otherwise one sleeps while the other works, if both
        are vLLM, or each is started for its turn. That is one round; two rounds are measured first. If an assertion is
        not decided by them, further rounds with fresh engines follow, up to `--vllmperf-max-engines` rounds. `b` may
        be the same engine as `a`: such an A/A comparison shows the noise.

        Args:
            a: the engine that should be better.
            b: the reference.
            workload: what to send to both.
            iterations: measured iterations of each engine in a round; an odd number is increased by one.
            warmup: warm-up iterations, which are discarded.
            device_pass: extra iterations in which the GPU is profiled; "off", 0 or False: none.
            way: how they share the GPU; by default chosen by what fits.

        Raises:
            SpecError: when they cannot share the GPU in that way.
            WorkloadError: when the workload does not fit one of them.
            EngineError: when an engine does not start, or fails on the way.
        """
        check_compared(a, b, workload)
        # An engine may be compared with itself: the reference is then another start of it.
        targets = (self._target(a), replace(self._target(b), reference=a == b))
        sharing = share(targets, self._session.weight_bytes(targets), None if way is None else way_of(way))
        limits = self._session.settings
        settings = self._measure_settings(iterations, warmup, device_pass)
        pair = Pair(self._session, sharing, workload, settings, self._test.settings.allow or ())
        with self._where_supported():
            compared = EngineComparison(pair, limits.max_engines, limits.max_time, self._priors)
        self._test.compared.append(compared)
        return compared

    def _priors(self, run: Measurement) -> Priors:
        """What the baselines of a measurement's profile say of noise."""
        return self._in_run.priors(run.profile, run.environment.hard)

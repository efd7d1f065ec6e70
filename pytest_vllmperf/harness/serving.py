"""What a test asks of servers: endpoints, the highest rate that keeps a promise, and an overload."""

from __future__ import annotations

from typing import Literal

from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.harness.engines import TestEngines
from pytest_vllmperf.harness.given import check_workload, one_of
from pytest_vllmperf.harness.overloads import overload_plan, overloaded, why_failed
from pytest_vllmperf.lab.searching import rate_search, unusable
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.promises import promise
from pytest_vllmperf.records.overload import Overload
from pytest_vllmperf.records.results import OverloadRecord
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload


class Serving(TestEngines):
    """The methods of the fixture that need a server."""

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
            SpecError: for a URL that is not valid.
        """
        given = {"url": url, "api_key_env": api_key_env, "name": name, "vocab_size": vocab_size}
        own = {word: value for word, value in given.items() if value is not None}
        return self.engine(model, backend="endpoint", **own, **({} if vllm else {"vllm": False}))

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
        check_workload("find_max_rate", workload)
        engine = one_of("find_max_rate", engine, endpoint)
        slo = promise(ttft, tpot, e2e, goodput, streamed=workload.stream)
        search = rate_search(slo, goodput, replicates, arrivals, workload.count)
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

    def overload(
        self,
        workload: Workload,
        *,
        engine: EngineSpec | None = None,
        endpoint: EngineSpec | None = None,
        factor: float = 3.0,
        seconds: float = 30.0,
        ttft: float | None = None,
        tpot: float | None = None,
        e2e: float | None = None,
        margin: float = 0.1,
        recovery: float = 10.0,
    ) -> Overload:
        """Offer more load than a server can serve, and fail the test unless it comes through.

        Goodput stays within a margin of that at capacity, requests are answered whole or refused at once, and the
        server is as before soon afterwards; docs/overload.md says how each is found.

        Args:
            workload: what is sent; its concurrency, where it has one, is that at which the capacity is measured.
            engine: which engine instead of the marker's.
            endpoint: the same, for a server that runs already.
            factor: offered rate over capacity, above 1.
            seconds: for which it is offered.
            ttft: most seconds until the first token of a request that is accepted.
            tpot: most seconds for each token after the first.
            e2e: most seconds until the last token.
            margin: tolerated relative loss of goodput, and rise of the TTFT after the recovery.
            recovery: seconds within which the server has to be as before.

        Raises:
            SpecError: when no engine is named, it is not driven over HTTP, or a figure is not valid.
            WorkloadError: when the workload does not fit the engine, or the load is too small to be judged.
            EngineError: when the engine does not start, or fails on the way.
            CheckFailed: for all that does not hold, and where the load generator was the limit.
        """
        __tracebackhide__ = True
        check_workload("overload", workload)
        engine = one_of("overload", engine, endpoint)
        limits = self._session.settings
        slo = promise(ttft, tpot, e2e, 1.0, streamed=workload.stream)
        plan = overload_plan(slo, factor, seconds, margin, recovery, limits.operation_timeout)
        self._test.claims += 1
        target = self._target(engine)
        with self._where_supported():
            seen = overloaded(self._session, target, workload, plan)
        reason = why_failed(self._test.nodeid, seen, plan, self._test.settings.allow or ())
        self._test.overloads.append(OverloadRecord(engine=target.spec.label, seen=seen, problem=reason))
        if reason:
            fail(reason)
        return seen

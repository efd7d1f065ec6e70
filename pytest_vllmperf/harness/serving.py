"""The fixture's methods for servers: those of `Rates`, and overload."""

from __future__ import annotations

from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.harness.given import check_workload, one_of
from pytest_vllmperf.harness.overloads import overload_plan, overloaded, why_failed
from pytest_vllmperf.harness.rates import Rates
from pytest_vllmperf.metrics.promises import promise
from pytest_vllmperf.records.overload import Overload
from pytest_vllmperf.records.results import OverloadRecord
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload


class Serving(Rates):
    """The methods of the fixture that need a server."""

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
        """Send more load than a server can serve, and fail the test unless the server handles it.

        Goodput must stay within a margin of that at capacity. Requests must be answered completely or refused at once.
        The server must recover soon afterwards. docs/overload.md says how each is measured.

        Args:
            workload: what is sent; if it has a concurrency, the capacity is measured with it.
            engine: the engine to use instead of the marker's.
            endpoint: a running server to use instead.
            factor: offered rate over capacity, above 1.
            seconds: for which it is offered.
            ttft: maximum seconds until the first token of an accepted request.
            tpot: maximum seconds for each token after the first.
            e2e: maximum seconds until the last token.
            margin: tolerated relative loss of goodput, and rise of the TTFT after the recovery.
            recovery: seconds within which the server must recover.

        Raises:
            SpecError: when no engine is named, it is not driven over HTTP, or a figure is not valid.
            WorkloadError: when the workload does not fit the engine, or the load is too small to be judged.
            EngineError: when the engine does not start, or fails on the way.
            CheckFailed: for every violation, and if the load generator was the bottleneck.
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

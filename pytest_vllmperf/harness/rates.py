"""The methods for servers that a session has as well: endpoints, and the highest rate that meets an SLO."""

from __future__ import annotations

from typing import Literal

from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.harness.engines import TestEngines
from pytest_vllmperf.harness.given import check_workload, one_of
from pytest_vllmperf.lab.searching import rate_search, unusable
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.promises import promise
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Workload


class Rates(TestEngines):
    """The methods that name a server, and look for its highest rate."""

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
        """A running server, for `measure` or `compare`; nothing is sent yet.

        Args:
            url: up to the path in front of `/completions`, such as `http://127.0.0.1:8000/v1`.
            model: the served name.
            api_key_env: name of the environment variable that holds the key.
            name: the name of its baselines' folder; default: host and port.
            vocab_size: synthetic prompts have token ids below it; 1000 unless given.
            vllm: whether it accepts vLLM's own fields, such as `ignore_eos`; False for other servers.

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
        """Find the highest arrival rate that meets an SLO; `check` gates it like any metric.

        The rate is doubled until the SLO is missed or requests pile up. Rates between the last two are then tried, each
        `replicates` times. An isotonic fit through the shares gives the highest rate. `run.max_rate` is its value;
        `run.rates` has all rates that were tried, and the interval.

        Args:
            workload: what is sent at each rate; several hundred requests are needed to distinguish 99 % from 98 %.
            ttft: maximum seconds until the first token.
            tpot: maximum seconds for each token after the first.
            e2e: maximum seconds until the last token.
            goodput: share of all requests that must meet all parts of the SLO.
            engine: the engine to use instead of the marker's.
            endpoint: a running server to use instead.
            replicates: how often each rate is tried.
            arrivals: the arrival process.
            warmup: discarded iterations before the first rate.

        Raises:
            SpecError: when no engine is named, it is not driven over HTTP, or a figure is not valid.
            WorkloadError: when the workload does not fit the engine, or has too few requests to measure the share.
            EngineError: when the engine does not start, or fails on the way.
            CheckFailed: when no rate that was tried meets the SLO, or all do.
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
        run = self._taken(take)
        if not run.problems and (reason := unusable(run.rates[-1], search)):
            fail(f"{self._test.nodeid}: {reason}")
        return run

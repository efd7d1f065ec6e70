"""What a test asks of memory: the largest share of it, and the longest requests, that an engine works with."""

from __future__ import annotations

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.harness.given import check_engine
from pytest_vllmperf.harness.serving import Serving
from pytest_vllmperf.records.fit import Fit
from pytest_vllmperf.records.results import FitRecord
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.sweep.bounds import LEAVE_MIB, Bounds
from pytest_vllmperf.sweep.fitting import fit


class Fitting(Serving):
    """The methods of the fixture that look for a limit."""

    def fit(
        self,
        engine: EngineSpec | None = None,
        *,
        gpu_memory_utilization: tuple[float, float] | None = None,
        kv_cache_memory_bytes: tuple[int, int] | None = None,
        max_model_len: tuple[int, int] | None = None,
        leave_mib: int = LEAVE_MIB,
    ) -> Fit:
        """Find the largest memory and the longest max_model_len with which an engine starts and serves.

        Each try is a fresh engine under a load that fills it; docs/memory-limit.md says how the limit is found. What
        the engine's own arguments name is not searched. On a GPU the memory is `gpu_memory_utilization`, in steps of
        .01; elsewhere it is `kv_cache_memory_bytes`.

        Args:
            engine: which engine instead of the marker's.
            gpu_memory_utilization: the smallest and the largest share to try.
            kv_cache_memory_bytes: the smallest and the largest size to try.
            max_model_len: the smallest and the largest length to try, in tokens.
            leave_mib: MiB of the device's memory that stay free for other processes.

        Raises:
            SpecError: when no engine is named, its backend has no such arguments, or bounds cannot be meant.
            ModelError: for a model that is nowhere.
            EngineError: when nothing works, with the last reason.
            NoGpuError: when no GPU meets the `gpu` marker.
        """
        __tracebackhide__ = True
        check_engine("fit", engine)
        bounds = Bounds(gpu_memory_utilization, kv_cache_memory_bytes, max_model_len, leave_mib)
        spec = engine or self._test.spec
        if spec is None:
            raise SpecError(
                f"{self._test.nodeid}: no engine; mark the test with @pytest.mark.vllm(model, ...) or pass engine="
            )
        self._test.claims += 1
        with self._where_supported():
            found = fit(self._session, spec, bounds, self._test.gpu)
        self._test.fits.append(FitRecord.of(found))
        return found

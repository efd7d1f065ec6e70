"""Studies: what people ask first, answered by measuring. Armed with `--vllmperf`, as any performance test.

On a GPU they run an 8B model, elsewhere the tiny one; `VLLMPERF_STUDY_SHAPE` chooses another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from tabulate import tabulate

from pytest_vllmperf import Measurement, Workload, gpu
from pytest_vllmperf.comparing.comparison import EngineComparison

from . import results

P = TypeVar("P")
Tell = Callable[[str, Sequence[str], Iterable[Sequence[object]]], None]
CLAIM: Final = ("", "ratio", "low", "high", "rounds")
"""Of a table of speedups with their 99 % intervals."""
MODELS: Final = Path(__file__).parent / "models"
HELD = pytest.StashKey[bool]()
"""Whether a study's claims held."""


@dataclass(frozen=True)
class Study:
    """What a study runs on this machine.

    Attributes:
        shape: of the model.
        on_gpu: whether there is a GPU.
        quick: whether only a few points of each study are measured, to see that it runs.
    """

    shape: str
    on_gpu: bool
    quick: bool = False

    @property
    def plain(self) -> str:
        """The dtype of the full weights: what the GPU's kernels like, and what any CPU computes in."""
        return "float16" if self.on_gpu else "float32"

    def vllm(self, quantization: str, dtype: str) -> dict[str, Any]:
        """Model and arguments of a vLLM engine."""
        model = f"vllmperf:{self.shape}" + ("" if quantization == "none" else f"-{quantization}")
        if not self.on_gpu:
            return {
                "model": model,
                "dtype": dtype,
                "enforce_eager": True,
                "max_model_len": 512,
                "kv_cache_memory_bytes": 64 * 2**20,
            }
        graphs = {"cudagraph_capture_sizes": [1, 2, 4, 8, 64, 256, 512]}
        return {"model": model, "dtype": dtype, "max_model_len": 1024, "compilation_config": graphs}

    def points(self, every: Sequence[P], few: Sequence[P]) -> tuple[P, ...]:
        """The points of a study: all of them, or the few that show that it runs."""
        return tuple(few if self.quick else every)

    def light(self, **arguments: Any) -> dict[str, Any]:
        """Model and arguments of a vLLM engine that starts fast: Qwen3-0.6B's shape on a GPU, the tiny model elsewhere.

        Args:
            arguments: engine arguments over the usual ones.
        """
        usual: dict[str, Any]
        if not self.on_gpu:
            usual = {"enforce_eager": True, "max_model_len": 2048, "kv_cache_memory_bytes": 256 * 2**20}
            return {"model": "vllmperf:tiny", "dtype": "float32", **usual, **arguments}
        dummy: dict[str, Any] = {"load_format": "dummy", "skip_tokenizer_init": True}
        if "speculative_config" not in arguments:  # few graphs are captured sooner; there vLLM chooses its sizes
            largest = arguments.get("max_num_seqs", 1)  # sizes above it may be left out: it needs one of its own
            sizes = {1, 2, 4, 8, 16, 32, 64, 128, 256, largest}
            dummy["compilation_config"] = {"cudagraph_capture_sizes": sorted(sizes)}
        usual = {"max_model_len": 8192, "gpu_memory_utilization": 0.45}
        return {"model": str(MODELS / "qwen3-0.6b"), "dtype": "bfloat16", **dummy, **usual, **arguments}

    def are_steps(self, run: Measurement, expected: int) -> bool:
        """Whether an engine took so many steps; on a GPU nearly so.

        There the engine core is a process of its own: it begins before all requests have arrived, and schedules a step
        before it knows which requests the one before it has ended.
        """
        steps = run.engine_steps
        return expected <= steps <= 1.25 * expected + 8 if self.on_gpu else steps == expected

    def reference(self, quantization: str | None, dtype: str, batch_size: int) -> dict[str, Any]:
        """Model and arguments of a transformers engine."""
        asked = {} if quantization is None else {"quantization": quantization}
        return {
            "model": f"vllmperf:{self.shape}",
            "backend": "transformers",
            "dtype": dtype,
            "batch_size": batch_size,
            **asked,
        }

    def batch(self) -> Workload:
        """Seven prompts of 256 tokens each, at once, as in the comparisons that are published."""
        output = 256 if self.on_gpu else 32
        return Workload.synthetic(requests=7, input_tokens=64, output_tokens=output)

    def classification(self) -> Workload:
        """Short items with short answers: 512 of the 30,000 that a day brings; fewer on a CPU."""
        return Workload.synthetic(requests=512 if self.on_gpu else 48, input_tokens=96, output_tokens=8)


@pytest.fixture(scope="session")
def study() -> Study:
    on_gpu = bool(gpu.devices())
    shape = os.environ.get("VLLMPERF_STUDY_SHAPE") or ("llama-8b" if on_gpu else "tiny")
    return Study(shape, on_gpu, bool(os.environ.get("VLLMPERF_STUDY_QUICK")))


def claim(name: str, compared: EngineComparison, metric: str = "output_throughput") -> list[object]:
    """How many times better the first engine of a comparison is, with its interval, as a row."""
    found = compared.speedup(metric)
    return [name, found.ratio, found.low, found.high, found.rounds]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember whether a study failed, for its results file."""
    report = yield
    if call.when == "call":
        item.stash[HELD] = report.passed
    return report


@pytest.fixture
def tell(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Tell]:
    """Prints a table of what a study measured, whether it passes or not.

    All tables of a test go to a file in the folder that `VLLMPERF_STUDY_RESULTS` names, too, where it is set.
    """
    tables: list[dict[str, Any]] = []

    def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        tables.append(results.table(title, headers, rows))
        written = [[_cell(value) for value in row] for row in tables[-1]["rows"]]
        shown = tabulate(written, headers=headers, disable_numparse=True, tablefmt="github", stralign="right")
        with capsys.disabled():
            print(f"\n{title}\n{shown}")  # noqa: T201

    yield print_table
    folder = os.environ.get("VLLMPERF_STUDY_RESULTS")
    if folder and tables:
        held = request.node.stash.get(HELD, False)
        results.write(Path(folder), request.path.stem, request.node.name, tables, passed=held)


def _cell(value: object) -> str:
    """A number with three digits at least, thousands with a comma; nothing for what was not measured."""
    if not isinstance(value, float):
        return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
    return f"{value:,.0f}" if value.is_integer() or abs(value) >= 100 else f"{value:.3g}"

"""The reference engine's child at work: batches, timestamps, continuations, scores. numpy stands in for torch."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_process", "vllmperf_prompts", "vllmperf_weights", "vllmperf_reference")
END = 9
GREEDY = {"temperature": 0.0, "seed": 7, "ignore_eos": True}
STOPPING = {**GREEDY, "ignore_eos": False}


class Tensor(np.ndarray[Any, Any]):
    """As much of torch's as is used."""

    def to(self, device: str) -> Tensor:
        assert device == Model.device
        return self

    def float(self) -> Tensor:
        return self

    def gather(self, dim: int, index: Tensor) -> Any:
        return np.take_along_axis(self, index, dim)

    def argmax(self, *, dim: int) -> Any:  # type: ignore[override]
        return np.argmax(np.asarray(self), axis=dim)


def tensor(values: Any, device: str | None = None) -> Tensor:
    return np.asarray(values).view(Tensor)


class Model:
    """Counts on from a prompt's last token, one second a step, until all rows have ended or are long enough.

    Attributes:
        now: the time.
        batches: ids, mask and settings of each call.
        breaks: whether it fails.
    """

    device = "the model's"

    def __init__(self) -> None:
        self.generation_config = SimpleNamespace(eos_token_id=END, repetition_penalty=1.5)
        self.now, self.breaks = 100.0, False
        self.batches: list[tuple[list[list[int]], list[list[int]], dict[str, Any]]] = []

    def generate(self, ids: Tensor, *, attention_mask: Tensor, generation_config: Any, streamer: Any) -> Tensor:
        said = {name: value for name, value in vars(generation_config).items() if value is not None}
        settings = {**vars(self.generation_config), **said}  # as in transformers: the model's own where nothing is said
        self.batches.append((ids.tolist(), attention_mask.tolist(), settings))
        if self.breaks:
            raise RuntimeError("CUDA error")
        ends = set(settings.get("eos_token_id", []))
        rows, ended = ids.tolist(), [False] * len(ids)
        streamer.put(ids)
        for _ in range(settings["max_new_tokens"]):
            if all(ended):
                break
            self.now += 1
            for number, row in enumerate(rows):
                row.append(settings["pad_token_id"] if ended[number] else row[-1] + 1)
                ended[number] |= row[-1] in ends
            streamer.put([row[-1] for row in rows])
        streamer.end()
        return tensor(rows)

    def __call__(self, ids: Tensor) -> Any:
        """Of eight tokens, the one behind `n` is `n + 1` with thirteen times the probability of any other."""
        logits = [[np.log(13.0) if token == one + 1 else 0.0 for token in range(8)] for one in ids[0].tolist()]
        return SimpleNamespace(logits=tensor([logits]))


def torch(seeds: list[int]) -> dict[str, Any]:
    return {
        "long": int,
        "zeros": lambda shape, dtype: np.zeros(shape, dtype).view(Tensor),
        "zeros_like": np.zeros_like,
        "tensor": tensor,
        "manual_seed": seeds.append,
        "inference_mode": nullcontext,
        "log_softmax": lambda values, dim: values - np.log(np.exp(values).sum(dim, keepdims=True)),
    }


@pytest.fixture
def seeds() -> list[int]:
    """What the generator of random numbers was started from."""
    return []


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, model: Model, seeds: list[int]) -> Iterator[Any]:
    """An engine of batches of two, as it is once it has been loaded."""
    for name, content in {"torch": torch(seeds), "transformers": {"GenerationConfig": SimpleNamespace}}.items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    script = importlib.import_module("vllmperf_reference")
    monkeypatch.setattr(script, "time", SimpleNamespace(perf_counter=lambda: model.now))
    monkeypatch.setattr(script.vllmperf_process, "tree_cpu_seconds", lambda: model.now / 4)
    monkeypatch.setattr(script.vllmperf_process, "tree_resident_bytes", lambda: 4096)
    made = script.ReferenceEngine()
    made.model, made.batch_size, made.max_model_len = model, 2, 16
    yield made
    for name in SCRIPTS:
        sys.modules.pop(name, None)


def requests(*wanted: tuple[list[int], int]) -> list[dict[str, Any]]:
    """Prompts, and how many tokens they are to get."""
    return [
        {"index": index, "prompt_token_ids": prompt, "output_tokens": tokens}
        for index, (prompt, tokens) in enumerate(wanted)
    ]


THREE = requests(([1, 2], 3), ([5], 1), ([3], 2))


def stamps(record: dict[str, Any]) -> tuple[float, ...]:
    return tuple(record[f"{name}_ts"] for name in ("queued", "scheduled", "first_token", "last_token"))


def test_batches_are_static_and_padded_in_front(engine: Any, model: Model) -> None:
    engine.run(requests(([5], 1), ([1, 2], 3), ([3], 2)), None, GREEDY)
    assert [(ids, mask) for ids, mask, _ in model.batches] == [([[0, 5], [1, 2]], [[0, 1], [1, 1]]), ([[3]], [[1]])]
    assert [settings["max_new_tokens"] for _, _, settings in model.batches] == [3, 2]  # as long as its longest request


@pytest.mark.parametrize(("concurrency", "sizes"), [(None, [2, 2, 1]), (1, [1] * 5), (2, [2, 2, 1]), (9, [2, 2, 1])])
def test_a_batch_holds_no_more_than_are_wanted_at_once(
    engine: Any, model: Model, concurrency: int | None, sizes: list[int]
) -> None:
    engine.run(requests(*[([1], 2)] * 5), concurrency, GREEDY)
    assert [len(ids) for ids, _, _ in model.batches] == sizes


@pytest.mark.parametrize(("concurrency", "queued"), [(None, 100.0), (2, 103.0)])
def test_each_request_is_timed_by_the_steps_of_its_own_tokens(
    engine: Any, concurrency: int | None, queued: float
) -> None:
    told = engine.run(THREE, concurrency, GREEDY)
    assert [stamps(record) for record in told["requests"]] == [
        (100.0, 100.0, 101.0, 103.0),
        (100.0, 100.0, 101.0, 101.0),
        (queued, 103.0, 104.0, 105.0),
    ]
    assert told["itl_ns"] == [10**9] * 3  # two of the first request, one of the last


def test_an_iteration_is_told_whole(engine: Any) -> None:
    told = engine.run(THREE, None, GREEDY)
    lengths = [(one["prompt_tokens"], one["output_tokens"], one["cached_tokens"]) for one in told["requests"]]
    assert lengths == [(2, 3, 0), (1, 1, 0), (1, 2, 0)]
    assert {name: value for name, value in told.items() if name not in ("requests", "itl_ns")} == {
        "busy_seconds": 5.0,
        "cpu_seconds": 1.25,
        "instructions": None,
        "resident_bytes": 4096,
        "engine_steps": 5,
        "preemptions": None,
        "prefix_cache_hit_tokens": None,
    }


def test_instructions_of_an_iteration_are_told_where_they_are_counted(engine: Any) -> None:
    engine.instructions = SimpleNamespace(read=lambda: 100.0, since=lambda before: 7.0 if before == 100.0 else None)
    assert engine.run(THREE, None, GREEDY)["instructions"] == 7.0


@pytest.mark.parametrize(
    ("ends", "sampling", "lengths", "steps"),
    [
        (END, STOPPING, [(3, "stop"), (2, "length")], 4),  # 7, 8, 9; the row that has its two goes on to 9 as well
        ([8, END], STOPPING, [(2, "stop"), (2, "length")], 3),
        ((END,), STOPPING, [(3, "stop"), (2, "length")], 4),
        (END, GREEDY, [(5, "length"), (2, "length")], 5),
        (None, STOPPING, [(5, "length"), (2, "length")], 5),
    ],
)
def test_a_request_ends_at_its_end_token_or_its_length(
    engine: Any, model: Model, ends: Any, sampling: dict[str, Any], lengths: list[tuple[int, str]], steps: int
) -> None:
    model.generation_config.eos_token_id = ends
    told = engine.run(requests(([6], 5), ([5], 2)), None, sampling)
    assert [(one["output_tokens"], one["finish_reason"]) for one in told["requests"]] == lengths
    assert told["engine_steps"] == steps
    assert told["itl_ns"] == [10**9] * (sum(count for count, _ in lengths) - 2)


PLAIN = {"max_new_tokens": 2, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("sampling", "settings"),
    [
        (GREEDY, {"do_sample": False}),
        (STOPPING, {"do_sample": False, "eos_token_id": [END]}),
        ({**GREEDY, "temperature": 0.7}, {"do_sample": True, "temperature": 0.7, "top_k": 0}),
    ],
)
def test_nothing_of_the_models_own_settings_is_in_force(
    engine: Any, model: Model, seeds: list[int], sampling: dict[str, Any], settings: dict[str, Any]
) -> None:
    own = model.generation_config
    engine.run(requests(([1], 2), ([2], 2), ([3], 2)), None, sampling)
    assert [used for _, _, used in model.batches] == [{**PLAIN, **settings}] * 2
    assert seeds == [7, 7]
    assert model.generation_config is own


def test_the_models_own_settings_are_back_after_a_failure(engine: Any, model: Model) -> None:
    own, model.breaks = model.generation_config, True
    with pytest.raises(RuntimeError, match="CUDA error"):
        engine.run(THREE, None, GREEDY)
    assert model.generation_config is own


@pytest.mark.parametrize("operation", ["run", "generate"])
def test_a_request_that_does_not_fit_is_refused_before_anything_runs(engine: Any, model: Model, operation: str) -> None:
    asked = requests(([1], 15), ([1, 2], 15))
    with pytest.raises(
        ValueError, match=r"^request 1 takes 2 prompt \+ 15 output tokens = 17, more than max_model_len=16$"
    ):
        engine.run(asked, None, GREEDY) if operation == "run" else engine.generate(asked)
    assert model.batches == []


def test_continuations_are_made_one_by_one_past_any_end_token(engine: Any, model: Model) -> None:
    told = engine.generate(requests(([6], 5), ([1, 2], 2)))
    assert told == {"prompts": [[6], [1, 2]], "outputs": [[7, 8, 9, 10, 11], [3, 4]]}
    assert [ids for ids, _, _ in model.batches] == [[[6]], [[1, 2]]]  # nothing is padded
    assert {settings["do_sample"] for _, _, settings in model.batches} == {False}


def test_each_token_is_scored_after_those_before_it(engine: Any) -> None:
    likely, other = np.log(13 / 20), np.log(1 / 20)
    first, second = engine.score([[1, 2, 5, 6], [3, 3]])
    assert first["logprobs"] == pytest.approx([likely, other, likely])
    assert first["top"] == [2, 3, 6]
    assert (second["logprobs"], second["top"]) == (pytest.approx([other]), [4])

"""How a child tells what the weights really are; layers stand in for vLLM's and torch's."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    yield importlib.import_module("vllmperf_weights")
    sys.modules.pop("vllmperf_weights", None)


class Tensor:
    def __init__(self, numbers: int, size: int = 2) -> None:
        self.numbers, self.size = numbers, size

    def numel(self) -> int:
        return self.numbers

    def element_size(self) -> int:
        return self.size


class Opaque(Tensor):
    """A tensor in a layout of a kernel's own."""

    def numel(self) -> int:
        raise RuntimeError("Cannot access data pointer of Tensor that doesn't have storage")


def part(name: str, **attributes: Any) -> Any:
    """An object whose class has this name."""
    return type(name, (SimpleNamespace,), {})(**attributes)


class Layer:
    """A module with parameters of its own; `parts` are other attributes."""

    def __init__(self, method: Any = None, parameters: dict[str, Tensor] | None = None, **parts: Any) -> None:
        if method is not None:
            self.quant_method = part(method) if isinstance(method, str) else method
        self.__dict__.update({**(parameters or {}), **parts})
        self._parameters = parameters or {}

    def named_parameters(self, *, recurse: bool) -> list[tuple[str, Tensor]]:
        assert recurse is False  # what is below is a module of its own
        return list(self._parameters.items())


def linear(method: Any, parameters: dict[str, Tensor] | None = None, size: int = 100, **parts: Any) -> Layer:
    return Layer(method, parameters, input_size=size, output_size=10, **parts)


def model(*layers: Any, **attributes: Any) -> Any:
    return SimpleNamespace(modules=lambda: iter(layers), **attributes)


def group(method: str, layers: int, numbers: int | None, held: int | None, *, quantized: bool = True) -> dict[str, Any]:
    return {"method": method, "quantized": quantized, "layers": layers, "weights": numbers, "held_bytes": held}


class Dtype:
    def __repr__(self) -> str:
        return "torch.bfloat16"


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, {}),
        ({"quantization_config": None}, {}),
        ({"quantization_config": {"bits": 4}}, {"bits": 4}),
        ({"quantization_config": SimpleNamespace(to_dict=lambda: {"bits": 4})}, {"bits": 4}),
        ({"compression_config": {"format": "int-quantized"}}, {"format": "int-quantized"}),
        ({"quantization_config": {"bits": 4}, "compression_config": {"bits": 8}}, {"bits": 4}),
        ({"quantization_config": {"compute": Dtype(), "skip": ("a",)}}, {"compute": "torch.bfloat16", "skip": ["a"]}),
        ({"quantization_config": "awq"}, {}),
    ],
)
def test_what_the_models_own_configuration_declares(weights: Any, config: dict[str, Any], told: dict[str, Any]) -> None:
    found = weights.declared(SimpleNamespace(**config))
    assert found == json.loads(json.dumps(found)) == told


LISTS = {
    "layer_types": ["full_attention"],
    "attn_type_list": [0, 1],
    "block_configs": [],
    "ssm_cfg": {"layer": "Mamba2"},
}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"num_hidden_layers": 28, "model_type": "qwen3", "tie": True, "theta": 1e6}, None),
        ({"sliding_window": None, "dtype": Dtype(), "layers": 1}, {"layers": 1}),
        ({"layer_types": ("full_attention", 3)}, {"layer_types": ["full_attention", "3"]}),
        (LISTS, {**LISTS, "attn_type_list": True, "block_configs": False, "ssm_cfg": True}),
    ],
)
@pytest.mark.parametrize("method", [True, False])
def test_what_a_configuration_tells_of_the_kv_cache_can_be_sent(
    weights: Any, method: bool, config: dict[str, Any], told: dict[str, Any] | None
) -> None:
    made = SimpleNamespace(to_dict=lambda: config, other=1) if method else SimpleNamespace(**config)
    found = weights.kv_config(made)
    assert found == json.loads(json.dumps(found)) == (config if told is None else told)


def embedding(kind: str, weight: Tensor | None = None) -> Any:
    return part(kind) if weight is None else part(kind, weight=weight)


TABLE, HEAD = Tensor(1000), Tensor(1000)


@pytest.mark.parametrize(
    ("modules", "size"),
    [
        ([embedding("VocabParallelEmbedding", TABLE), embedding("ParallelLMHead", HEAD)], 2000),
        ([embedding("VocabParallelEmbedding", TABLE), embedding("ParallelLMHead", TABLE)], 0),  # tied
        ([embedding("VocabParallelEmbedding", TABLE)], 0),  # the table is the head
        ([embedding("ParallelLMHead", HEAD)], 0),
        ([embedding("VocabParallelEmbedding"), embedding("ParallelLMHead")], 0),  # a kernel has packed them away
        (
            [
                embedding("VocabParallelEmbedding", TABLE),
                embedding("VocabParallelEmbedding", TABLE),
                embedding("VocabParallelEmbedding", Tensor(10, 4)),
                embedding("Embedding", Tensor(7)),
                embedding("ParallelLMHead", HEAD),
            ],
            2040,
        ),
    ],
)
def test_a_step_does_not_read_the_input_embedding_whole(weights: Any, modules: list[Any], size: int) -> None:
    assert weights.input_embedding_bytes(model(*modules)) == size


PLAIN = "UnquantizedLinearMethod"
INT4 = {"qweight": Tensor(125, 4), "scales": Tensor(20), "bias": Tensor(1000)}  # 540 bytes for 1000 weights


@pytest.mark.parametrize(
    ("layers", "told"),
    [
        pytest.param(
            [linear(PLAIN, {"weight": Tensor(1000)}), linear(PLAIN, {"weight": Tensor(500)}, size=50)],
            [group(PLAIN, 2, 1500, 3000, quantized=False)],
            id="layers of one kind together",
        ),
        pytest.param(
            [linear(PLAIN, {"weight": Tensor(1, 4)})],
            [group(PLAIN, 1, 1000, 4000, quantized=False)],
            id="a plain weight that a kernel has packed away",
        ),
        pytest.param([linear(PLAIN)], [group(PLAIN, 1, 1000, None, quantized=False)], id="a plain weight that is gone"),
        pytest.param(
            [linear("GPTQLinearMethod", INT4), linear(PLAIN, {"weight": Tensor(1000)})],
            [group("GPTQLinearMethod", 1, 1000, 540), group(PLAIN, 1, 1000, 2000, quantized=False)],
            id="levels and scales count and the bias does not",
        ),
        pytest.param(
            [linear("GPTQLinearMethod", INT4, size=800, input_size_per_partition=50, output_size_per_partition=20)],
            [group("GPTQLinearMethod", 1, 1000, 540)],
            id="of several ranks its own part",
        ),
        pytest.param(
            [linear("AWQLinearMethod", {"qweight": Opaque(125, 4)}), linear("AWQLinearMethod", INT4)],
            [group("AWQLinearMethod", 2, 2000, None)],
            id="a sum with an unknown part is unknown",
        ),
        pytest.param(
            [linear("AWQLinearMethod", INT4), linear("AWQLinearMethod", {"qweight": Opaque(125, 4)})],
            [group("AWQLinearMethod", 2, 2000, None)],
            id="in any order",
        ),
        pytest.param([linear("Fp8LinearMethod")], [group("Fp8LinearMethod", 1, 1000, None)], id="no parameters left"),
        pytest.param(
            [linear("Fp8LinearMethod", {"scales": Tensor(62)})],
            [group("Fp8LinearMethod", 1, 1000, None)],
            id="only the scales left",
        ),
        pytest.param(
            [linear("Fp8LinearMethod", {"weight": Tensor(125, 1)})],
            [group("Fp8LinearMethod", 1, 1000, 125)],
            id="one bit each",
        ),
        pytest.param(
            [Layer("Fp8MoEMethod", {"w13": Tensor(900, 1)}), Layer("ExpertsInt8Method", {"w13": Tensor(70, 1)})],
            [group("Fp8MoEMethod", 1, None, 900), group("ExpertsInt8Method", 1, None, 70)],
            id="experts",
        ),
        pytest.param(
            [Layer("UnquantizedFusedMoEMethod", {"w13_weight": Tensor(900)})],
            [group("UnquantizedFusedMoEMethod", 1, None, None, quantized=False)],
            id="plain experts",
        ),
        pytest.param(
            [Layer(), Layer("Fp8KVCacheMethod"), linear("UnquantizedEmbeddingMethod", {"weight": Tensor(1000)})],
            [],
            id="norms and attention and embeddings are of no interest",
        ),
    ],
)
def test_the_layers_of_vllm(weights: Any, layers: list[Layer], told: list[dict[str, Any]]) -> None:
    assert weights.vllm_layers(model(*layers)) == told


@pytest.mark.parametrize(
    ("method", "parts", "name"),
    [
        (part("AWQMarlinLinearMethod", kernel=part("MacheteKernel")), {}, "AWQMarlinLinearMethod (MacheteKernel)"),
        (part("CTMethod"), {"scheme": part("W4A16")}, "CTMethod (W4A16)"),
        (part("CTMethod"), {"scheme": part("W4A16", kernel=part("Marlin"))}, "CTMethod (W4A16, Marlin)"),
        (part("CTMethod", kernel=None), {"scheme": part("W8A8", kernel=None)}, "CTMethod (W8A8)"),
    ],
)
def test_the_scheme_and_the_kernel_are_told(weights: Any, method: Any, parts: dict[str, Any], name: str) -> None:
    assert weights.vllm_layers(model(linear(method, INT4, **parts))) == [group(name, 1, 1000, 540)]


def test_layers_of_two_kernels_are_told_apart(weights: Any) -> None:
    layers = [linear(part("M", kernel=part(kernel)), INT4) for kernel in ("Fast", "Slow", "Fast")]
    assert weights.vllm_layers(model(*layers)) == [group("M (Fast)", 2, 2000, 1080), group("M (Slow)", 1, 1000, 540)]


class Linear(Layer):
    """In the place of `torch.nn.Linear`, of 1000 weights."""

    in_features, out_features = 100, 10


class Linear4bit(Linear):
    """In the place of bitsandbytes' own."""


@pytest.fixture
def _torch(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("torch")
    module.__dict__["nn"] = SimpleNamespace(Linear=Linear)
    monkeypatch.setitem(sys.modules, "torch", module)


def transformers_model(*layers: Any, output: Any = None, itemsize: int = 2) -> Any:
    return model(*layers, get_output_embeddings=lambda: output, dtype=SimpleNamespace(itemsize=itemsize))


def torch_linear(numbers: int, size: int = 2, kind: type[Linear] = Linear) -> Linear:
    return kind(None, {"weight": Tensor(numbers, size), "bias": Tensor(10)})


@pytest.mark.usefixtures("_torch")
def test_the_layers_of_transformers(weights: Any) -> None:
    output = torch_linear(1000)
    layers = [torch_linear(1000), torch_linear(500, 1, Linear4bit), Layer(None, {"weight": Tensor(9)}), output]
    assert weights.torch_layers(transformers_model(*layers, output=output)) == [
        group("Linear", 1, 1000, 2000, quantized=False),
        group("Linear4bit", 1, 1000, 500),
    ]


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize(
    ("size", "itemsize", "packed"),
    [
        (4, 4, False),
        (2, 4, False),  # a model told as float32 may hold some layers in half precision
        (1, 4, True),
        (2, 2, False),
        (1, 2, True),
        (1, 1, False),  # a model that is of bytes as a whole
    ],
)
def test_a_layer_with_fewer_bytes_than_its_numbers_take_is_quantized(
    weights: Any, size: int, itemsize: int, packed: bool
) -> None:
    found = weights.torch_layers(transformers_model(torch_linear(1000, size), itemsize=itemsize))
    assert found == [group("Linear", 1, 1000, 1000 * size, quantized=packed)]


@pytest.mark.usefixtures("_torch")
@pytest.mark.parametrize("turned", [False, True])
def test_plain_layers_are_told_apart_from_packed_ones_of_the_same_class(weights: Any, turned: bool) -> None:
    layers = [torch_linear(1000), torch_linear(1000, 1), torch_linear(1000, 1)]
    found = weights.torch_layers(transformers_model(*(layers[::-1] if turned else layers)))
    assert sorted(found, key=lambda one: one["quantized"]) == [
        group("Linear", 1, 1000, 2000, quantized=False),
        group("Linear", 2, 2000, 2000),
    ]


@pytest.mark.usefixtures("_torch")
def test_a_layer_without_numbers_of_its_own_is_of_unknown_size(weights: Any) -> None:
    found = weights.torch_layers(transformers_model(Linear(None, {}), Linear(None, {"weight": Opaque(5)})))
    assert found == [group("Linear", 2, 2000, None, quantized=False)]

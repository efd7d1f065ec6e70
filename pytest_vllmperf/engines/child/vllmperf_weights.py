"""What the weights of a loaded model really are: by layer, how they are held and in how many bytes."""

from __future__ import annotations

import json
from typing import Any

Groups = dict[tuple[str, bool], dict[str, Any]]
"""Layers by method and by whether that quantizes them: one class of torch's may hold both kinds."""


def declared(config: Any) -> dict[str, Any]:
    """The quantization that the model's own `config.json` tells of, as JSON; empty for none."""
    found: Any = getattr(config, "quantization_config", None) or getattr(config, "compression_config", None)
    found = found.to_dict() if hasattr(found, "to_dict") else found
    return json.loads(json.dumps(found, default=str)) if isinstance(found, dict) else {}


def kv_config(config: Any) -> dict[str, Any]:
    """What the model's configuration tells of its KV cache: numbers and words, as JSON.

    Of most lists and tables only whether there is something in them, which may say that layers differ.
    """
    whole = config.to_dict() if hasattr(config, "to_dict") else dict(vars(config))
    told: dict[str, Any] = {}
    for name, value in whole.items():
        if isinstance(value, (int, float, str)):
            told[name] = value
        elif isinstance(value, (list, tuple, dict)):
            told[name] = list(map(str, value)) if name == "layer_types" else bool(value)
    return told


def vllm_layers(model: Any) -> list[dict[str, Any]]:
    """The layers of a vLLM model that can be quantized, those of one kind together.

    A linear layer's sizes are its own part of it under tensor parallelism. Of experts only the method is known here.
    """
    groups: Groups = {}
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if method is None:
            continue
        name = type(method).__name__
        if "Embedding" in name:
            continue  # tokens in, logits out: no format quantizes them by default
        if hasattr(module, "input_size") and hasattr(module, "output_size"):
            inputs = getattr(module, "input_size_per_partition", module.input_size)
            outputs = getattr(module, "output_size_per_partition", module.output_size)
            weights: int | None = int(inputs) * int(outputs)
        elif "moe" in name.lower() or "Experts" in name:
            weights = None
        else:
            continue  # embeddings and attention have such a method too
        quantized = not name.startswith("Unquantized")
        size = held_bytes(module) if quantized else _plain_bytes(module, weights)
        if size is not None and weights is not None and 8 * size < weights:
            size = None  # less than a bit each: the scales are left, a kernel has packed the levels away
        add(groups, _with_kernel(name, module, method), quantized, weights, size)
    return list(groups.values())


def input_embedding_bytes(model: Any) -> int:
    """Bytes of the input embedding, of which a step reads some rows; 0 where the output layer reads it whole too."""
    tables = [module for module in model.modules() if type(module).__name__ == "VocabParallelEmbedding"]
    heads = [module for module in model.modules() if type(module).__name__ == "ParallelLMHead"]
    weights = {id(weight): weight for module in tables if (weight := getattr(module, "weight", None)) is not None}
    for head in heads:
        weights.pop(id(getattr(head, "weight", None)), None)
    return sum(weight.numel() * weight.element_size() for weight in weights.values()) if heads else 0


def torch_layers(model: Any) -> list[dict[str, Any]]:
    """The linear layers of a torch model, those of one kind together; bitsandbytes' are subclasses of torch's."""
    import torch

    groups: Groups = {}
    output = model.get_output_embeddings()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear) and module is not output:
            name, weights = type(module).__name__, module.in_features * module.out_features
            held = held_bytes(module)
            # Formats that transformers unpacks on the fly keep torch's own class, with fewer bytes in it.
            packed = held is not None and held < weights * min(2, model.dtype.itemsize) * 0.9
            add(groups, name, name != "Linear" or packed, weights, held)
    return list(groups.values())


def add(groups: Groups, method: str, quantized: bool, weights: int | None, size: int | None) -> None:
    """Count one layer; a sum with an unknown part is unknown."""
    group = groups.setdefault(
        (method, quantized), {"method": method, "quantized": quantized, "layers": 0, "weights": 0, "held_bytes": 0}
    )
    group["layers"] += 1
    for key, value in (("weights", weights), ("held_bytes", size)):
        group[key] = None if value is None or group[key] is None else group[key] + value


def held_bytes(module: Any) -> int | None:
    """Bytes of a layer's own parameters without the bias; None where a kernel has packed them away."""
    total, largest = 0, 0
    for name, parameter in module.named_parameters(recurse=False):
        if name == "bias":
            continue
        try:
            size = parameter.numel() * parameter.element_size()
        except (RuntimeError, NotImplementedError):  # an opaque tensor of a kernel's own
            return None
        total += size
        largest = max(largest, size)
    return total if largest > 0 else None


def _plain_bytes(module: Any, weights: int | None) -> int | None:
    """Of a layer as it is: the element size stays known when the tensor itself has been packed away."""
    weight = getattr(module, "weight", None)
    return None if weight is None or weights is None else weights * int(weight.element_size())


def _with_kernel(name: str, module: Any, method: Any) -> str:
    """The method, with the scheme and the kernel that it chose where it has one."""
    scheme = getattr(module, "scheme", None)
    kernel = getattr(method, "kernel", None) or getattr(scheme, "kernel", None)
    parts = [type(part).__name__ for part in (scheme, kernel) if part is not None]
    return f"{name} ({', '.join(parts)})" if parts else name

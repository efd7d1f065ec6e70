"""Real checkpoints whose weights are not what their configuration says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_vllmperf import models
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.errors import EngineStartError
from pytest_vllmperf.records.engine import WeightFacts
from pytest_vllmperf.validity.quantization import mismatch


def weights(start: Callable[..., Engine], model: str, **engine_args: object) -> WeightFacts:
    engine = start(model=model, **engine_args)
    try:
        assert engine.facts.weights is not None
        return engine.facts.weights
    finally:
        engine.close()


def complaint(start: Callable[..., Engine], model: Path) -> str:
    """Why the model cannot be measured: vLLM refuses it, or the check does."""
    try:
        return mismatch(weights(start, str(model), dtype="float16")) or ""
    except EngineStartError as error:
        return str(error)


@pytest.fixture
def liar(tmp_path: Path) -> Callable[[str, str], Path]:
    """A folder with the configuration of one built-in model and the tensors of another, or none."""

    def make(configuration: str, tensors: str) -> Path:
        folder = tmp_path / "liar"
        shutil.copytree(models.resolve(configuration), folder, ignore=shutil.ignore_patterns("*.safetensors"))
        for file in Path(models.resolve(tensors)).glob("*.safetensors") if tensors else ():
            shutil.copy(file, folder)
        return folder

    return make


def test_int8_is_sound(start: Callable[..., Engine]) -> None:
    found = weights(start, "vllmperf:tiny-int8", dtype="bfloat16")
    assert mismatch(found) is None
    assert all(layer.quantized for layer in found.layers)


def test_gptq_with_made_up_weights_is_void_where_it_runs_in_full(
    start: Callable[..., Engine], liar: Callable[[str, str], Path]
) -> None:
    """Versions that read from the tensors which layers are quantized silently quantize none where there are none."""
    found = weights(start, str(liar("vllmperf:tiny-gptq", "")), dtype="float16", load_format="dummy")
    assert (found.resolved, found.weight_bytes) == ("auto_gptq", None)
    assert (mismatch(found) is None) == all(layer.quantized for layer in found.layers)


def test_plain_tensors_under_a_gptq_configuration_are_refused_or_void(
    start: Callable[..., Engine], liar: Callable[[str, str], Path]
) -> None:
    reason = complaint(start, liar("vllmperf:tiny-gptq", "vllmperf:tiny"))
    assert reason.startswith(
        ("vLLM refused liar: There is no module or parameter named", "gptq of 4 bits was requested")
    )
    assert "\n" not in reason


def test_a_quantization_that_leaves_this_model_as_it_is_is_void(start: Callable[..., Engine]) -> None:
    found = weights(start, "vllmperf:tiny", dtype="bfloat16", quantization="experts_int8")
    assert "experts_int8 was requested, but 16 of 16 layers run unquantized" in (mismatch(found) or "")


def test_quantized_tensors_under_a_plain_configuration_are_refused_in_one_line(
    start: Callable[..., Engine], liar: Callable[[str, str], Path]
) -> None:
    folder = liar("vllmperf:tiny-awq", "vllmperf:tiny-awq")
    config = json.loads((folder / "config.json").read_text())
    del config["quantization_config"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(EngineStartError, match=r"vLLM refused liar: .*q(weight|zeros|_idx)|scales") as caught:
        start(model=str(folder), dtype="float16")
    assert "\n" not in str(caught.value)

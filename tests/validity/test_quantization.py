"""Weights that are not what their configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.models.quantization import QUANTIZATIONS
from pytest_vllmperf.records.engine import WeightFacts, WeightLayers
from pytest_vllmperf.validity.quantization import (
    Precision,
    declared_precision,
    effective_bits,
    mismatch,
    quantized_share,
)

SIZE = 4096 * 4096
PLAIN = WeightLayers("UnquantizedLinearMethod", False, 28, SIZE, 2 * SIZE)
PACKED = WeightLayers("GPTQMarlinLinearMethod", True, 28, SIZE, SIZE * 33 // 64)  # 4.125 bits
EXPERTS = WeightLayers("GPTQMarlinMoEMethod", True, 4, None, None)
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128}
PRECISION_OF_GPTQ = Precision(low=3.6, high=4.4 + 40 / 128)


def facts(
    declared: Mapping[str, Any] | None = None,
    *layers: WeightLayers,
    asked: str | None = None,
    resolved: str | None = "something",
) -> WeightFacts:
    return WeightFacts(declared or {}, asked, resolved, False, None, layers, None)


def holding(bits: float, method: str = "SomeLinearMethod") -> WeightLayers:
    return WeightLayers(method, True, 28, SIZE, int(SIZE * bits / 8))


def compressed(*schemes: Mapping[str, Any] | None) -> dict[str, Any]:
    groups = {f"group_{number}": {"targets": ["Linear"], "weights": scheme} for number, scheme in enumerate(schemes)}
    return {"quant_method": "compressed-tensors", "config_groups": groups, "ignore": ["lm_head"]}


def assert_precision(found: Precision | None, low: float, high: float) -> None:
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    ("declared", "low", "high"),
    [
        (GPTQ, 3.6, 4.7125),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, 7.2, 9.8),  # a scale for a whole column
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, 3.6, 5.025),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 3.6, 5.025),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False}, 3.6, 5.025),
        ({"quant_method": "bitsandbytes", "_load_in_4bit": True}, 3.6, 5.025),
        ({"quant_method": "bitsandbytes", "load_in_4bit": False, "load_in_8bit": True}, 7.2, 9.8),
        ({"quant_method": "bitsandbytes", "_load_in_8bit": True}, 7.2, 9.8),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 7.2, 9.8),
        ({"quant_method": "mxfp4"}, 3.6, 5.4),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, 7.2, 9.8),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "group_size": 16}, 3.6, 6.9),
        (compressed({"num_bits": 4, "group_size": 32}), 3.6, 5.65),
        (compressed({"num_bits": 8, "group_size": None}), 7.2, 9.8),
        (compressed({"num_bits": 4, "group_size": 128}, {"num_bits": 8, "group_size": None}), 3.6, 9.8),
        (compressed({"num_bits": 8, "group_size": None}, None), 7.2, 9.8),  # activations alone in the second
    ],
)
def test_a_configuration_says_how_many_bits_a_weight_takes(declared: dict[str, Any], low: float, high: float) -> None:
    assert_precision(declared_precision(facts(declared)), low, high)


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        ("fp8", 7.2, 9.8),
        ("FP8", 7.2, 9.8),
        ("ptpc_fp8", 7.2, 9.8),
        ("experts_int8", 7.2, 9.8),
        ("mxfp4", 3.6, 5.4),
        ("bitsandbytes", 3.6, 5.4),
        ("BitsAndBytes", 3.6, 5.4),
        ("awq_marlin", 3.6, 5.4),
    ],
)
def test_without_a_configuration_the_arguments_name_says_it(asked: str, low: float, high: float) -> None:
    assert_precision(declared_precision(facts(asked=asked)), low, high)


def test_the_configuration_outdoes_the_arguments_name() -> None:
    assert_precision(declared_precision(facts(GPTQ, asked="fp8")), PRECISION_OF_GPTQ.low, PRECISION_OF_GPTQ.high)


@pytest.mark.parametrize(
    "unknown",
    [
        facts(),
        facts(asked="gguf"),
        facts({"quant_method": "aqlm", "group_size": 8}),
        facts({"quant_method": "gptq", "bits": "auto"}),
        facts(compressed(None)),
        facts(compressed()),
    ],
)
def test_nobody_knows_how_many_bits(unknown: WeightFacts) -> None:
    assert declared_precision(unknown) is None


def test_bits_are_those_of_the_quantized_layers_together() -> None:
    eight, four = WeightLayers("A", True, 1, 1000, 1000), WeightLayers("B", True, 3, 3000, 1500)
    assert effective_bits([eight]) == 8
    assert effective_bits([eight, four, PLAIN]) == 5


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [PLAIN],
        [PACKED, EXPERTS],
        [PACKED, replace(PACKED, held_bytes=None)],
        [PACKED, replace(PACKED, weights=None)],
        [replace(PACKED, weights=0, held_bytes=0)],
    ],
)
def test_bits_are_unknown_where_a_size_is(layers: list[WeightLayers]) -> None:
    assert effective_bits(layers) is None


def test_the_share_counts_weights_not_layers() -> None:
    small = replace(PLAIN, layers=100, weights=SIZE // 3)
    assert quantized_share([PACKED, small]) == pytest.approx(0.75)
    assert quantized_share([PACKED]) == 1
    assert quantized_share([PLAIN]) == 0


@pytest.mark.parametrize("layers", [[], [PACKED, EXPERTS], [PACKED, replace(PLAIN, weights=None)]])
def test_the_share_is_unknown_where_a_size_is(layers: list[WeightLayers]) -> None:
    assert quantized_share(layers) is None


def test_the_share_of_nothing_is_unknown() -> None:
    assert quantized_share([replace(PLAIN, weights=0)]) is None


def test_what_was_asked_for_is_what_is_held() -> None:
    assert mismatch(facts(GPTQ, PACKED)) is None


def test_16_bits_under_a_gptq_configuration_are_told() -> None:
    assert mismatch(facts(GPTQ, PLAIN)) == (
        "gptq of 4 bits was requested, but 28 of 28 layers run unquantized (UnquantizedLinearMethod, 16 bits "
        "per weight)"
    )


def test_plain_layers_of_several_kinds_are_all_named() -> None:
    unknown = WeightLayers("UnquantizedFusedMoEMethod", False, 4, None, None)
    assert mismatch(facts(None, PLAIN, unknown, asked="fp8")) == (
        "fp8 was requested, but 32 of 32 layers run unquantized "
        "(UnquantizedLinearMethod, UnquantizedFusedMoEMethod, 16 bits per weight)"
    )


def test_bits_that_nobody_knows_are_not_told() -> None:
    opaque = replace(PLAIN, held_bytes=None)
    assert mismatch(facts(GPTQ, opaque)) == (
        "gptq of 4 bits was requested, but 28 of 28 layers run unquantized (UnquantizedLinearMethod)"
    )


def test_nothing_asked_for_is_nothing_missed() -> None:
    assert mismatch(facts(None, PLAIN, resolved=None)) is None
    assert mismatch(facts(None, PACKED)) is None
    assert mismatch(facts(None, resolved=None)) is None


def test_a_quantized_kv_cache_leaves_the_weights_alone() -> None:
    cache = {"quant_method": "compressed-tensors", "config_groups": {}, "kv_cache_scheme": {"num_bits": 8}}
    assert mismatch(facts(cache, PLAIN)) is None
    del cache["config_groups"]
    assert mismatch(facts(cache, PLAIN)) is None
    assert mismatch(facts({**compressed({"num_bits": 8}), "kv_cache_scheme": {"num_bits": 8}}, PLAIN)) is not None


@pytest.mark.parametrize("asked", ["fp8", "bitsandbytes", "experts_int8", "gguf"])
def test_the_engine_argument_alone_is_held_to_its_word(asked: str) -> None:
    found = mismatch(facts(None, PLAIN, asked=asked))
    assert found is not None
    assert found.startswith(f"{asked} was requested, but 28 of 28 layers run unquantized")
    assert mismatch(facts(None, holding({"bitsandbytes": 4.5}.get(asked, 8.0)), asked=asked)) is None


def test_quantized_experts_are_enough() -> None:
    assert mismatch(facts(None, PLAIN, EXPERTS, asked="experts_int8")) is None


def test_no_layers_known_and_nothing_resolved_is_told() -> None:
    assert mismatch(facts(GPTQ, resolved=None)) == ("gptq of 4 bits was requested, but the engine uses no quantization")
    assert mismatch(facts(None, asked="fp8", resolved=None)) == (
        "fp8 was requested, but the engine uses no quantization"
    )
    assert mismatch(facts(GPTQ, resolved="gptq_marlin")) is None


def test_what_the_layers_hold_outdoes_what_was_resolved() -> None:
    assert mismatch(facts(GPTQ, PACKED, resolved=None)) is None
    assert mismatch(facts(GPTQ, PLAIN, resolved="gptq")) is not None


MOSTLY_PLAIN = (PACKED, replace(PLAIN, layers=84, weights=3 * SIZE, held_bytes=6 * SIZE))


def test_few_quantized_weights_are_told() -> None:
    assert mismatch(facts(GPTQ, *MOSTLY_PLAIN)) == (
        "gptq of 4 bits was requested, but only 25% of the weights are quantized: "
        "84 of 112 layers run unquantized (UnquantizedLinearMethod, 16 bits per weight)"
    )


@pytest.mark.parametrize(
    "name",
    ["ignore", "ignored_layers", "modules_to_not_convert", "llm_int8_skip_modules", "exclude_modules", "dynamic"],
)
def test_few_are_as_they_should_be_where_layers_are_to_be_left_out(name: str) -> None:
    assert mismatch(facts({**GPTQ, name: ["re:.*mlp.*"]}, *MOSTLY_PLAIN)) is None
    assert mismatch(facts({**GPTQ, name: []}, *MOSTLY_PLAIN)) is not None


def test_an_ignore_list_does_not_excuse_leaving_out_everything() -> None:
    assert mismatch(facts({**GPTQ, "ignore": ["lm_head"]}, PLAIN)) is not None


def test_half_of_the_weights_is_enough() -> None:
    assert mismatch(facts(GPTQ, PACKED, PLAIN)) is None
    assert mismatch(facts(GPTQ, PACKED, replace(PLAIN, weights=SIZE + 1))) is not None


def test_held_bytes_that_nobody_knows_are_not_judged() -> None:
    assert mismatch(facts(GPTQ, replace(PACKED, held_bytes=None))) is None


def test_8_bits_where_4_were_declared_are_told() -> None:
    assert mismatch(facts(GPTQ, holding(8.25))) == (
        "gptq of 4 bits means 3.6 to 4.71 bits per weight, but the quantized layers hold 8.25"
    )


def test_4_bits_where_8_were_declared_are_told() -> None:
    assert mismatch(facts(compressed({"num_bits": 8, "group_size": None}), holding(4.125))) == (
        "compressed-tensors of 8 bits means 7.2 to 9.8 bits per weight, but the quantized layers hold 4.12"
    )


@pytest.mark.parametrize(("bits", "sound"), [(3.5, False), (3.7, True), (4.7, True), (4.8, False)])
def test_the_bounds_are_bounds(bits: float, sound: bool) -> None:
    assert (mismatch(facts(GPTQ, holding(bits))) is None) is sound


def test_all_widths_of_a_configuration_are_named() -> None:
    found = mismatch(facts(compressed({"num_bits": 8, "group_size": None}, {"num_bits": 4, "group_size": 128}), PLAIN))
    assert found is not None
    assert found.startswith("compressed-tensors of 4 and 8 bits was requested")


def test_a_configuration_without_a_method_is_still_one() -> None:
    found = mismatch(facts({"bits": 4}, PLAIN))
    assert found is not None
    assert found.startswith("a quantization of 4 bits was requested")


@pytest.mark.parametrize("name", QUANTIZATIONS)
def test_the_models_made_here_hold_what_they_declare(name: str) -> None:
    chosen, side = QUANTIZATIONS[name], 1024
    held = sum(layout.nbytes for layout in chosen.layouts(side, side).values())
    layer = WeightLayers(name, True, 1, side * side, held)
    assert mismatch(facts(chosen.config, layer)) is None
    assert mismatch(facts(chosen.config, replace(layer, held_bytes=2 * side * side))) is not None
    assert mismatch(facts(chosen.config, replace(layer, quantized=False))) is not None


@given(
    bits=st.integers(2, 8),
    group=st.integers(16, 256),
    groups=st.integers(1, 64),
    outputs=st.integers(1, 256).map(lambda eights: 8 * eights),
    method=st.sampled_from(["gptq", "awq", "compressed-tensors"]),
)
def test_a_packed_layer_is_sound_and_16_bits_never_are(
    bits: int, group: int, groups: int, outputs: int, method: str
) -> None:
    weights = outputs * groups * group
    packed = (weights * bits + outputs * groups * (16 + bits)) // 8
    scheme = {"num_bits": bits, "group_size": group}
    plain = {"quant_method": method, "bits": bits, "group_size": group}
    declared = compressed(scheme) if method == "compressed-tensors" else plain
    layer = WeightLayers("Packed", True, 1, weights, packed)
    assert mismatch(facts(declared, layer)) is None
    assert mismatch(facts(declared, replace(layer, held_bytes=2 * weights))) is not None
    assert mismatch(facts(declared, replace(layer, held_bytes=2 * weights, quantized=False))) is not None

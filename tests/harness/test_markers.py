"""Markers become an engine, a GPU, settings and a scorecard's row, or are refused in one line naming the test."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuRequirement
from pytest_vllmperf.harness import flags, markers
from pytest_vllmperf.harness.markers import CardEntry
from pytest_vllmperf.records.settings import CheckSettings
from pytest_vllmperf.records.spec import EngineSpec


def item(*marks: pytest.MarkDecorator) -> Any:
    marked = {decorator.mark.name: decorator.mark for decorator in marks}
    return SimpleNamespace(nodeid="test_a.py::test_b", name="test_b", get_closest_marker=marked.get)


def test_without_markers_nothing_is_asked_for() -> None:
    assert markers.engine_spec(item()) is None
    assert markers.gpu_requirement(item()) is None
    assert markers.check_settings(item()) == CheckSettings()


def test_the_vllm_marker_names_an_engine() -> None:
    marked = item(pytest.mark.vllm("org/m", backend="simulated", env={"A": "1"}, max_model_len=99))
    expected = EngineSpec.create("org/m", backend="simulated", env={"A": "1"}, max_model_len=99)
    assert markers.engine_spec(marked) == expected


def test_the_vllm_marker_has_arguments_by_gpu() -> None:
    by_gpu = {"RTX 4060": {"max_model_len": 1024}, "RTX": {"enforce_eager": True}}
    marked = item(pytest.mark.vllm("org/m", per_gpu=by_gpu, max_model_len=99))
    spec = markers.engine_spec(marked)
    assert spec == EngineSpec.create("org/m", per_gpu=by_gpu, max_model_len=99)
    assert spec.on("NVIDIA GeForce RTX 4060").args == {"max_model_len": 1024, "enforce_eager": True}


def test_the_gpu_marker_asks_for_a_gpu() -> None:
    marked = item(pytest.mark.gpu("H200", min_vram="16GiB", min_compute="8.9", count=2))
    assert markers.gpu_requirement(marked) == GpuRequirement("H200", 16 * 2**30, (8, 9), 2)
    assert markers.gpu_requirement(item(pytest.mark.gpu())) == GpuRequirement()
    assert markers.gpu_requirement(item(pytest.mark.gpu(mig="1g.10gb"))) == GpuRequirement(mig="1g.10gb")


def test_the_vllmperf_marker_sets_how_it_measures() -> None:
    marked = item(pytest.mark.vllmperf(iterations=3, warmup=0, margin={"ttft.p50": "20%"}, gate=["ttft.p50", "exact"]))
    assert markers.check_settings(marked) == CheckSettings(3, 0, None, {"ttft.p50": 0.2}, ("ttft.p50", "exact"))
    assert markers.check_settings(item(pytest.mark.vllmperf(allow="lost"))) == CheckSettings(allow=("lost",))


def test_the_scorecard_marker_names_card_and_row() -> None:
    marked = item(pytest.mark.scorecard("formats", baseline="full"))
    assert markers.card_entry(item()) is None
    assert markers.card_entry(marked) == CardEntry("formats", "full", "test_b")
    marked.callspec = SimpleNamespace(id="awq-64")
    assert markers.card_entry(marked) == CardEntry("formats", "full", "awq-64")
    named = item(pytest.mark.scorecard("formats", baseline="full", configuration="AWQ"))
    assert markers.card_entry(named) == CardEntry("formats", "full", "AWQ")


@pytest.mark.parametrize(
    ("mark", "read", "named"),
    [
        (pytest.mark.vllm(), markers.engine_spec, "takes one model, got 0"),
        (pytest.mark.vllm("a", "b"), markers.engine_spec, "takes one model, got 2"),
        (pytest.mark.vllm("a", backend="server"), markers.engine_spec, "backend='server'"),
        (pytest.mark.vllm("a", model="b"), markers.engine_spec, "model"),
        (pytest.mark.vllm("a", env=["A=1"]), markers.engine_spec, "env"),
        (pytest.mark.vllm("a", quantization={1}), markers.engine_spec, "quantization={1}"),
        (pytest.mark.vllm("a", per_gpu="RTX"), markers.engine_spec, "per_gpu must map"),
        (pytest.mark.vllm("a", per_gpu={"RTX (": {}}), markers.engine_spec, "per_gpu['RTX (']: not a regular"),
        (pytest.mark.gpu("a", "b"), markers.gpu_requirement, "takes one name, got 2"),
        (pytest.mark.gpu("RTX ("), markers.gpu_requirement, "regular expression"),
        (pytest.mark.gpu(vram="16GiB"), markers.gpu_requirement, "unknown keyword 'vram'; known are name, min_vram"),
        (pytest.mark.gpu("a", name="b"), markers.gpu_requirement, "name"),
        (pytest.mark.gpu(min_vram="16"), markers.gpu_requirement, "'16' is not a size"),
        (pytest.mark.gpu(mig="1g ("), markers.gpu_requirement, "mig='1g (': not a regular expression"),
        (pytest.mark.gpu(count=0), markers.gpu_requirement, "count=0"),
        (pytest.mark.vllmperf(3), markers.check_settings, "takes keywords only"),
        (pytest.mark.vllmperf(rounds=3), markers.check_settings, "unknown keyword 'rounds'; known are iterations"),
        (pytest.mark.vllmperf(iterations=0), markers.check_settings, "iterations: 0"),
        (pytest.mark.vllmperf(warmup=1.0), markers.check_settings, "warmup: 1.0"),
        (pytest.mark.vllmperf(margin="5 %%"), markers.check_settings, "margin: '5%%' is not a number"),
        (pytest.mark.vllmperf(margin=5), markers.check_settings, 'margin: 5 is 500 %; write 0.05 or "5%"'),
        (pytest.mark.vllmperf(margin={"tfft.p50": 0.1}), markers.check_settings, "margin: no metric has the name"),
        (pytest.mark.vllmperf(margin={"ttft.p50": -1}), markers.check_settings, "margin of ttft.p50: -1"),
        (
            pytest.mark.vllmperf(gate="clok"),
            markers.check_settings,
            "gate: no metric or set has the name 'clok'; did you mean 'clock'",
        ),
        (pytest.mark.vllmperf(gate=5), markers.check_settings, "5"),
        (
            pytest.mark.vllmperf(allow="speed"),
            markers.check_settings,
            "allow: no validity rule has the name 'speed'; rules: quant",
        ),
        (
            pytest.mark.vllmperf(unsupported="maybe"),
            markers.check_settings,
            "'maybe' is not valid; choose one of fail, skip",
        ),
        (pytest.mark.scorecard(baseline="full"), markers.card_entry, "takes one name, got 0"),
        (pytest.mark.scorecard("a"), markers.card_entry, "baseline"),
        (pytest.mark.scorecard("a", baseline=""), markers.card_entry, "baseline=''"),
        (pytest.mark.scorecard("a\nb", baseline="full"), markers.card_entry, "name="),
        (pytest.mark.scorecard("a", baseline="full", row="x"), markers.card_entry, "row"),
    ],
)
def test_a_marker_that_cannot_be_meant_names_the_test(mark: pytest.MarkDecorator, read: Any, named: str) -> None:
    with pytest.raises(SpecError) as caught:
        read(item(mark))
    assert str(caught.value).startswith(f"test_a.py::test_b: @pytest.mark.{mark.mark.name}: ")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_marker_is_declared_with_all_its_keywords() -> None:
    declared = {text.split("(")[0]: text for text in flags.MARKERS}
    assert set(declared) == {"vllm", "gpu", "vllmperf", "scorecard", "sweep"}
    for name in ("backend", "python", "env", "per_gpu"):
        assert f"{name}=" in declared["vllm"]
    assert declared["vllmperf"].startswith(
        "vllmperf(*, iterations=None, warmup=None, device_pass=None, margin=None, gate=None, limits=None, "
        "unsupported=None, allow=None, against=None): "
    )
    for name in ("min_vram", "min_compute", "count", "mig"):
        assert f"{name}=" in declared["gpu"]
    for name in ("baseline", "configuration"):
        assert re.search(rf"\b{name}\b", declared["scorecard"])

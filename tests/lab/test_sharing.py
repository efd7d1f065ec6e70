"""How two engines share a device."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_vllmperf.errors import SpecError
from pytest_vllmperf.gpu import GpuDevice
from pytest_vllmperf.lab.sharing import SHARE, Sharing, Way, share
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.spec import EngineSpec

GIB = 2**30
GPU = GpuDevice("GPU-1", "NVIDIA H200", 100 * GIB, (9, 0), "565")
OTHER = GpuDevice("GPU-2", "NVIDIA H200", 100 * GIB, (9, 0), "565")
# 1.2 times the weights and 4 GiB make 45 GiB of the device's 100: what just fits.
FITS = int(41 * GIB / 1.2)
WEIGHTS = {"small": 5 * GIB, "large": 60 * GIB, "edge": FITS, "over": FITS + 100, "unknown": None}


def target(model: str = "small", *gpus: GpuDevice, backend: str = "offline", **args: Any) -> Target:
    return Target(EngineSpec.create(model, backend=backend, **args), gpus or (GPU,))


def on_cpu(model: str = "large", backend: str = "offline") -> Target:
    return Target(EngineSpec.create(model, backend=backend))


def args(sharing: Sharing) -> list[dict[str, Any]]:
    return [one.spec.args for one in sharing.targets]


def test_two_that_fit_are_resident_on_a_split_that_is_the_same_for_both() -> None:
    a, b = target("small", quantization="awq"), target("small")
    found = share((a, b), WEIGHTS, None)
    assert (found.way, found.split) == (Way.RESIDENT, SHARE)
    assert args(found) == [{"quantization": "awq", "gpu_memory_utilization": 0.45}, {"gpu_memory_utilization": 0.45}]
    assert [one.gpus for one in found.targets] == [(GPU,), (GPU,)]
    assert found.described == "both resident, 0.45 of the memory each"


@pytest.mark.parametrize(("model", "way"), [("edge", Way.RESIDENT), ("over", Way.SLEEP)])
def test_what_fits_is_a_fifth_more_than_the_weights_and_room_to_work(model: str, way: Way) -> None:
    assert share((target("small"), target(model)), WEIGHTS, None).way is way
    assert share((target(model), target("small")), WEIGHTS, None).way is way


@pytest.mark.parametrize("model", ["large", "unknown", "never heard of"])
def test_what_does_not_fit_for_sure_sleeps_in_turns(model: str) -> None:
    found = share((target("small", seed=7), target(model)), WEIGHTS, None)
    assert (found.way, found.split) == (Way.SLEEP, None)
    assert args(found) == [{"seed": 7, "enable_sleep_mode": True}, {"enable_sleep_mode": True}]
    assert found.described == "asleep in turns"


@pytest.mark.parametrize("backend", ["transformers", "simulated"])
def test_what_cannot_sleep_is_started_in_turns(backend: str) -> None:
    pair = (target("large"), target("small", backend=backend))
    found = share(pair, WEIGHTS, None)
    assert found == Sharing(Way.RESTART, pair)
    assert found.described == "started in turns"


def test_engines_on_no_gpu_are_resident_as_they_are() -> None:
    pair = (on_cpu(), on_cpu("unknown"))
    found = share(pair, WEIGHTS, None)
    assert found == Sharing(Way.RESIDENT, pair)
    assert found.described == "both resident"


def test_engines_on_different_gpus_are_resident_as_they_are() -> None:
    pair = (target("large", GPU), target("large", OTHER))
    assert share(pair, WEIGHTS, None) == Sharing(Way.RESIDENT, pair)


def test_one_gpu_in_common_is_shared() -> None:
    assert share((target("unknown", GPU, OTHER), target("small", OTHER)), WEIGHTS, None).way is Way.SLEEP


def test_several_gpus_hold_a_model_that_is_split_over_them() -> None:
    """vLLM's share is of each GPU, so two of them hold no more of an engine that runs on one."""
    split = target("large", GPU, OTHER, tensor_parallel_size=2)
    assert share((split, replace(split, spec=split.spec.with_args(dtype="float16"))), WEIGHTS, None).split == SHARE
    whole = target("large", GPU, OTHER)
    assert share((whole, target("large", GPU, OTHER, seed=7)), WEIGHTS, None).way is Way.SLEEP


@pytest.mark.parametrize(
    ("args", "way"),
    [
        ({"kv_cache_memory_bytes": None, "gpu_memory_utilization": None}, Way.RESIDENT),  # said nothing
        ({"kv_cache_memory_bytes": "4GiB"}, Way.SLEEP),  # vLLM's to refuse
        ({"gpu_memory_utilization": "0.4"}, Way.SLEEP),
    ],
)
def test_arguments_that_say_nothing_of_memory(args: dict[str, Any], way: Way) -> None:
    both = (target("small", GPU, **args), target("small", GPU, dtype="float16", **args))
    assert share(both, WEIGHTS, None).way is way


def test_bytes_of_a_cache_beside_unknown_weights_may_be_too_many() -> None:
    both = (target("unknown", GPU, kv_cache_memory_bytes=70 * 2**30, gpu_memory_utilization=0.1), target("small", GPU))
    assert share(both, WEIGHTS, None).way is Way.SLEEP


@pytest.mark.parametrize(("theirs", "resident"), [(0.35, True), (0.36, False)])
def test_shares_that_both_name_themselves_stand_where_they_fit(theirs: float, resident: bool) -> None:
    pair = (target("large", gpu_memory_utilization=0.6), target("unknown", gpu_memory_utilization=theirs))
    found = share(pair, WEIGHTS, None)
    if resident:
        assert found == Sharing(Way.RESIDENT, pair)
    else:
        assert found.way is Way.SLEEP
        assert args(found)[0] == {"gpu_memory_utilization": 0.6, "enable_sleep_mode": True}


def test_what_one_names_for_itself_is_not_overruled() -> None:
    own = {"gpu_memory_utilization": 0.2}
    for pair in ((target(**own), target()), (target(), target(**own))):
        assert share(pair, WEIGHTS, None).way is Way.SLEEP
    assert share((target(kv_cache_memory_bytes=GIB), target()), WEIGHTS, None).way is Way.SLEEP


@pytest.mark.parametrize(("cache", "way"), [(37 * GIB, Way.RESIDENT), (38 * GIB, Way.SLEEP)])
def test_a_kv_cache_of_known_size_takes_its_bytes_beside_the_weights(cache: int, way: Way) -> None:
    # 10 GiB for the small model, and its cache; 95 GiB may be taken in all.
    pair = (target("small", kv_cache_memory_bytes=cache), target("small", kv_cache_memory_bytes=38 * GIB, seed=7))
    found = share(pair, WEIGHTS, None)
    assert (found.way, found.split) == (way, None)
    assert "gpu_memory_utilization" not in args(found)[0]


def test_the_size_of_the_cache_outdoes_the_share() -> None:
    pair = (
        target("small", kv_cache_memory_bytes=GIB, gpu_memory_utilization=0.9),
        target("small", gpu_memory_utilization=0.8),
    )
    assert share(pair, WEIGHTS, None) == Sharing(Way.RESIDENT, pair)


def test_a_cache_beside_weights_of_unknown_size_may_take_anything() -> None:
    pair = (target("unknown", kv_cache_memory_bytes=GIB), target("small", gpu_memory_utilization=0.1))
    assert share(pair, WEIGHTS, None).way is Way.SLEEP


def test_only_vllm_is_told_its_share() -> None:
    a, b = target("small"), target("small", backend="transformers")
    found = share((a, b), WEIGHTS, None)
    assert (found.way, found.split) == (Way.RESIDENT, SHARE)
    assert args(found) == [{"gpu_memory_utilization": 0.45}, {}]


@pytest.mark.parametrize(("own", "way"), [(0.22, Way.RESIDENT), (0.24, Way.RESTART)])
def test_another_backend_takes_what_its_weights_need(own: float, way: Way) -> None:
    # 1.2 * 57 GiB and 4 GiB: 0.724 of the device.
    pair = (target("unknown", gpu_memory_utilization=own), target("most", backend="transformers"))
    assert share(pair, {**WEIGHTS, "most": 57 * GIB}, None) == Sharing(way, pair)


def test_another_backend_with_weights_of_unknown_size_is_not_kept() -> None:
    pair = (target("small", gpu_memory_utilization=0.1), target("unknown", backend="transformers"))
    assert share(pair, WEIGHTS, None) == Sharing(Way.RESTART, pair)


@pytest.mark.parametrize("pair", [(target(), target()), (target("large"), target("large")), (on_cpu(), on_cpu())])
def test_restart_is_had_where_it_is_wanted(pair: tuple[Target, Target]) -> None:
    assert share(pair, WEIGHTS, Way.RESTART) == Sharing(Way.RESTART, pair)


def test_sleep_is_had_where_it_is_wanted_though_both_would_fit() -> None:
    found = share((target("small", seed=7), target("small")), WEIGHTS, Way.SLEEP)
    assert (found.way, found.split) == (Way.SLEEP, None)
    assert args(found) == [{"enable_sleep_mode": True, "seed": 7}, {"enable_sleep_mode": True}]


@pytest.mark.parametrize(
    ("pair", "reason"),
    [
        ((target(), target(backend="transformers")), "the transformers reference cannot sleep"),
        ((target(backend="simulated"), target()), "the simulated engine cannot sleep"),
        ((on_cpu(), target()), "large does not run on a GPU"),
        ((target(), on_cpu("small")), "small does not run on a GPU"),
    ],
)
def test_sleep_is_refused_where_it_cannot_be(pair: tuple[Target, Target], reason: str) -> None:
    line = f"way='sleep' is not possible: {reason}; leave way= out, or use way='restart'"
    with pytest.raises(SpecError, match=f"^{line}$"):
        share(pair, WEIGHTS, Way.SLEEP)


def test_residents_are_split_where_they_fit() -> None:
    found = share((target("small"), target("small")), WEIGHTS, Way.RESIDENT)
    assert (found.way, found.split) == (Way.RESIDENT, SHARE)


@pytest.mark.parametrize("model", ["large", "unknown"])
def test_who_insists_on_residents_gets_them_as_they_are(model: str) -> None:
    pair = (target("small"), target(model))
    assert share(pair, WEIGHTS, Way.RESIDENT) == Sharing(Way.RESIDENT, pair)


def test_engines_that_sleep_mode_alone_sets_apart_cannot_sleep_in_turns() -> None:
    spec = EngineSpec.create("m", gpu_memory_utilization=0.9)
    pair = (Target(spec, (GPU,)), Target(spec.with_args(enable_sleep_mode=True), (GPU,)))
    with pytest.raises(SpecError, match="differ only in enable_sleep_mode"):
        share(pair, {"m": 2**30}, Way.SLEEP)

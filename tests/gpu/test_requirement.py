"""Sizes, and what a test may ask of a GPU."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import NoGpuError, SpecError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement, parse_size

relaxed = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])

GIB = 2**30
POWERS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip


def device(number: int, name: str = "NVIDIA H200", gib: float = 80, compute: tuple[int, int] = (9, 0)) -> GpuDevice:
    return GpuDevice(f"GPU-{number:08d}-aaaa", name, int(gib * GIB), compute, "565.57.01")


H200 = device(1, "NVIDIA H200", 139.8, (9, 0))
RTX4090 = device(2, "NVIDIA GeForce RTX 4090", 23.99, (8, 9))
RTX3090 = device(3, "NVIDIA GeForce RTX 3090", 24, (8, 6))
A6000 = device(4, "NVIDIA RTX A6000", 48, (8, 6))
ALL = (H200, RTX4090, RTX3090, A6000)

spaces = st.sampled_from(["", " ", "  "])


@relaxed
@given(st.integers(1, 2000), st.sampled_from(sorted(POWERS)), spaces, spaces, spaces)
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, before: str, between: str, after: str) -> None:
    assert parse_size(f"{before}{number}{between}{unit}{after}") == number * POWERS[unit]


@relaxed
@given(st.integers(1, 2**50))
def test_bytes_are_bytes(number: int) -> None:
    assert parse_size(number) == parse_size(f"{number}B") == number


def test_fractions_need_a_unit() -> None:
    assert parse_size("1.5GiB") == 3 * 2**29
    for size in (1.5, "1.5"):
        with pytest.raises(SpecError):
            parse_size(size)


@pytest.mark.parametrize(
    "size",
    ["", "16", "GiB", "16 gib", "16GIB", "16 PB", "-1GiB", "0GiB", "0.0GB", "1,5GiB", "16GiB more", "1e3MB", "nanGB",
     0, -5, True, None, 2.0, [16], b"16GiB", "0.5B"],
)  # fmt: skip
def test_what_is_no_size_is_named(size: object) -> None:
    with pytest.raises(SpecError, match=re.escape(repr(size))) as caught:
        parse_size(size)
    assert "GiB" in str(caught.value)
    assert "\n" not in str(caught.value)


@relaxed
@given(st.text(max_size=12))
def test_any_text_is_a_size_above_zero_or_refused(text: str) -> None:
    with suppress(SpecError):
        assert parse_size(text) > 0


@pytest.mark.parametrize(
    ("requirement", "fitting"),
    [
        (GpuRequirement.create(), ALL),
        (GpuRequirement.create("h200"), (H200,)),
        (GpuRequirement.create("RTX 4090|A6000"), (RTX4090, A6000)),
        (GpuRequirement.create("RTX"), (RTX4090, RTX3090, A6000)),
        (GpuRequirement.create(r"RTX \d"), (RTX4090, RTX3090)),
        (GpuRequirement.create(min_vram="24GiB"), (H200, RTX4090, RTX3090, A6000)),
        (GpuRequirement.create(min_vram=48 * GIB), (H200, A6000)),
        (GpuRequirement.create(min_compute="8.9"), (H200, RTX4090)),
        (GpuRequirement.create(min_compute=9.0), (H200,)),
        (GpuRequirement.create("RTX", min_vram="30GiB", min_compute="8.6"), (A6000,)),
        (GpuRequirement.create(min_compute="10.0"), ()),
    ],
)
def test_which_devices_fit(requirement: GpuRequirement, fitting: tuple[GpuDevice, ...]) -> None:
    assert tuple(one for one in ALL if requirement.fits(one)) == fitting


@pytest.mark.parametrize(
    ("sold_with", "mebibytes", "fits"),
    [
        ("24GiB", 24564, True),  # RTX 4090
        ("48GiB", 49140, True),  # RTX A6000
        ("16GiB", 16376, True),  # RTX 4080
        ("8GiB", 8188, True),  # RTX 4060
        ("24GiB", 23034, False),  # L4, whose ECC takes a part
        ("100GiB", 98 * 1024, True),
        ("100GiB", 98 * 1024 - 1, False),
    ],
)
def test_a_card_fits_the_memory_that_it_is_sold_with(sold_with: str, mebibytes: int, fits: bool) -> None:
    card = GpuDevice("GPU-1", "a card", mebibytes * 2**20, (8, 9), "565.57.01")
    assert GpuRequirement.create(min_vram=sold_with).fits(card) is fits


@pytest.mark.parametrize(
    "size",
    ["9" * 400 + "GiB", "9" * 300 + "TiB", "8388608TiB", 2**63, 10**5000],
    ids=["infinite", "infinite in bytes", "too much", "bytes", "too long to be written"],
)
def test_a_size_beyond_any_memory_is_refused(size: object) -> None:
    with pytest.raises(SpecError, match=r"^a size of 2\*\*63 bytes or more is not valid"):
        GpuRequirement.create(min_vram=size)
    assert GpuRequirement.create(min_vram=2**63 - 1).describe() == "a GPU with 8.59e+09 GiB"


def test_the_first_that_fit_are_chosen() -> None:
    assert GpuRequirement.create("RTX", count=2).choose(ALL) == (RTX4090, RTX3090)
    assert GpuRequirement.create("RTX", count=2).choose(ALL[::-1]) == (A6000, RTX3090)
    assert GpuRequirement.create().choose(ALL) == (H200,)


def test_compute_capabilities_are_numbers_not_text() -> None:
    assert GpuRequirement.create(min_compute="9.0").fits(device(5, compute=(12, 0)))
    assert not GpuRequirement.create(min_compute="8.10").fits(device(5, compute=(8, 9)))


def test_too_few_are_told_with_what_was_found() -> None:
    wanted = GpuRequirement.create("RTX 4090", min_vram="16GiB", min_compute="8.9", count=2)
    with pytest.raises(NoGpuError) as caught:
        wanted.choose(ALL[:2])
    assert str(caught.value) == (
        "needs 2 x RTX 4090 with 16 GiB of compute capability 8.9, "
        "found NVIDIA H200 with 139.8 GiB of 9.0, NVIDIA GeForce RTX 4090 with 23.99 GiB of 8.9"
    )
    with pytest.raises(NoGpuError, match=r"^needs 2 x RTX 4090, found NVIDIA H200, NVIDIA GeForce RTX 4090$"):
        GpuRequirement.create("RTX 4090", count=2).choose(ALL[:2])  # nobody asked for more than names
    with pytest.raises(NoGpuError, match="needs a GPU, found no GPU"):
        GpuRequirement.create().choose(())


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (GpuRequirement.create(), "a GPU"),
        (GpuRequirement.create(count=2), "2 x GPU"),
        (GpuRequirement.create("H200"), "H200"),
        (GpuRequirement.create(min_vram="23.5GiB"), "a GPU with 23.5 GiB"),
    ],
)
def test_a_requirement_in_words(requirement: GpuRequirement, words: str) -> None:
    assert requirement.describe() == words


@pytest.mark.parametrize(
    ("given_", "named"),
    [
        ({"name": "RTX ("}, "gpu('RTX (')"),
        ({"name": None}, "gpu(None)"),
        ({"name": b"H200"}, "H200"),
        ({"name": re.compile("H200")}, "H200"),
        ({"count": 0}, "count=0"),
        ({"count": True}, "count=True"),
        ({"count": "2"}, "count='2'"),
        ({"min_vram": "lots"}, "'lots'"),
        ({"min_vram": 0}, "0"),
        ({"min_compute": "hopper"}, "min_compute='hopper'"),
        ({"min_compute": 9}, "min_compute=9"),
        ({"min_compute": (8, 9)}, "min_compute=(8, 9)"),
    ],
)
def test_a_requirement_that_cannot_be_meant_is_refused(given_: dict[str, Any], named: str) -> None:
    with pytest.raises(SpecError) as caught:
        GpuRequirement.create(**given_)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)

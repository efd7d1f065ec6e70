"""`@pytest.mark.gpu(mig=...)`: parts of GPUs, whole GPUs, or either."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_vllmperf.errors import NoGpuError, SpecError
from pytest_vllmperf.gpu import GpuDevice, GpuRequirement

GIB = 2**30
WHOLE = GpuDevice("GPU-1", "NVIDIA A100-SXM4-80GB", 80 * GIB, (8, 0), "570.1")
SMALL = GpuDevice("MIG-1", "NVIDIA A100-SXM4-80GB MIG 1g.10gb", 10 * GIB, (8, 0), "570.1", mig=True)
LARGE = GpuDevice("MIG-2", "NVIDIA A100-SXM4-80GB MIG 3g.40gb", 40 * GIB, (8, 0), "570.1", mig=True)
# A whole GPU whose name looks like that of a part.
LOOKALIKE = GpuDevice("GPU-2", "ACME 1g.10gb", 10 * GIB, (8, 0), "570.1")
ALL = (WHOLE, SMALL, LARGE, LOOKALIKE)


@pytest.mark.parametrize(
    ("requirement", "fitting"),
    [
        (GpuRequirement.create(), ALL),
        (GpuRequirement.create(mig=None), ALL),
        (GpuRequirement.create(mig=True), (SMALL, LARGE)),
        (GpuRequirement.create(mig=False), (WHOLE, LOOKALIKE)),
        (GpuRequirement.create(mig="1g.10gb"), (SMALL,)),
        (GpuRequirement.create(mig="1G.10GB"), (SMALL,)),
        (GpuRequirement.create(mig=r"[13]g\.\d0gb"), (SMALL, LARGE)),
        (GpuRequirement.create(mig="7g"), ()),
        (GpuRequirement.create("ACME", mig=True), ()),
        (GpuRequirement.create("A100", mig=False), (WHOLE,)),
        (GpuRequirement.create(mig=True, min_vram="16GiB"), (LARGE,)),
        (GpuRequirement.create(mig=True, min_compute="9.0"), ()),
    ],
)
def test_which_devices_fit(requirement: GpuRequirement, fitting: tuple[GpuDevice, ...]) -> None:
    assert tuple(device for device in ALL if requirement.fits(device)) == fitting


@pytest.mark.parametrize(
    ("requirement", "words"),
    [
        (GpuRequirement.create(mig=True), "a GPU (MIG devices only)"),
        (GpuRequirement.create("A100", mig=False), "A100 (whole GPUs only)"),
        (GpuRequirement.create(min_vram="16GiB", mig="1g.10gb"), "a GPU with 16 GiB (MIG devices 1g.10gb only)"),
        (GpuRequirement.create(count=3, mig=True), "3 x GPU (MIG devices only)"),
        (GpuRequirement.create(), "a GPU"),
    ],
)
def test_it_is_told_in_words(requirement: GpuRequirement, words: str) -> None:
    assert requirement.describe() == words


@pytest.mark.parametrize(("mig", "only"), [(None, ""), (True, " (MIG devices only)"), ("g", " (MIG devices g only)")])
def test_parts_are_not_taken_together(mig: bool | str | None, only: str) -> None:
    with pytest.raises(NoGpuError) as caught:
        GpuRequirement.create(mig=mig, count=2).choose((SMALL, LARGE))
    assert str(caught.value) == (
        f"needs 2 x GPU{only}, found {SMALL.name}, {LARGE.name}; MIG devices cannot be used with count=2, "
        f"because a CUDA process sees only one of them"
    )


def test_several_gpus_are_whole_ones() -> None:
    assert GpuRequirement.create(count=2).choose(ALL) == (WHOLE, LOOKALIKE)
    with pytest.raises(NoGpuError, match=r"^needs 2 x H100, found ACME 1g\.10gb$"):
        GpuRequirement.create("H100", count=2).choose((LOOKALIKE,))


@pytest.mark.parametrize(
    ("mig", "line"),
    [
        ("", "mig='' must be True, False or a regular expression such as '1g.10gb'"),
        (1, "mig=1 must be True, False or a regular expression such as '1g.10gb'"),
        (b"1g", "mig=b'1g' must be True, False or a regular expression such as '1g.10gb'"),
        (["1g"], "mig=['1g'] must be True, False or a regular expression such as '1g.10gb'"),
        ("1g [", "mig='1g [': not a regular expression: unterminated character set at position 3"),
        ("1{99999999999999}", "mig='1{99999999999999}': not a regular expression: the repetition number is too large"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(mig: Any, line: str) -> None:
    with pytest.raises(SpecError) as caught:
        GpuRequirement.create(mig=mig)
    assert str(caught.value) == line


def test_a_name_whose_repetition_is_too_large_is_refused() -> None:
    with pytest.raises(SpecError, match="not a regular expression"):
        GpuRequirement.create("A{99999999999999}")

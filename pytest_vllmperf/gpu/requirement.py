"""What a test may ask of a GPU, and which devices meet it. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_vllmperf.errors import NoGpuError, SpecError
from pytest_vllmperf.gpu.device import GpuDevice

_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
          "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}  # fmt: skip
_LARGEST = 2**63
"""Bytes; no memory has as many, and arithmetic with floats is safe below."""
# A card reports less than what it is sold with, as the driver keeps some: an RTX 4090 of 24 GiB 24,564 MiB, an RTX 4060
# of 8 GiB 8,188. One whose ECC takes a sixteenth, such as an L4 with 23,034 MiB, is really smaller.
_SHORTFALL_PERCENT = 2
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


def parse_size(text: object) -> int:
    """Bytes of a size such as `16GiB` or `24 GB`; a plain number is bytes already.

    Raises:
        SpecError: for a unit that does not exist, no unit behind a fraction, nothing above zero, or 2**63 and more.
    """
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    size = float(match[1]) * _UNITS.get(match[2], 0) if match is not None else 0.0
    if isinstance(text, int) and not isinstance(text, bool):
        size = text
    if size >= _LARGEST:  # named without its digits: there may be too many of them to be written
        raise SpecError("a size of 2**63 bytes or more is not valid; write a size such as '16GiB'")
    if size < 1:
        raise SpecError(f"{text!r} is not a size; write a number and one of {', '.join(_UNITS)}, such as '16GiB'")
    return int(size)


@dataclass(frozen=True)
class GpuRequirement:
    """What `@pytest.mark.gpu` asks for.

    Attributes:
        name: regular expression searched for in the name, without regard to case; empty for any GPU.
        min_vram: bytes of total memory; a device may lack 2 % of them.
        min_compute: lowest compute capability.
        count: how many GPUs; parts of them fit only where it is one, as a CUDA process sees no more than one.
        mig: True for MIG devices only, False for whole GPUs only; a regular expression for MIG devices in whose name
            it is found, without regard to case; None for either.
    """

    name: str = ""
    min_vram: int = 0
    min_compute: tuple[int, int] = (0, 0)
    count: int = 1
    mig: bool | str | None = None

    @classmethod
    def create(
        cls,
        name: str = "",
        *,
        min_vram: object = None,
        min_compute: object = None,
        count: object = 1,
        mig: object = None,
    ) -> GpuRequirement:
        """Check what a marker was given.

        Raises:
            SpecError: for a regular expression that does not compile, an impossible size, compute capability, count
                or part of a GPU.
        """
        if not isinstance(name, str):
            raise SpecError(f"gpu({name!r}): the name must be a string")
        _check_pattern(f"gpu({name!r})", name)
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            raise SpecError(f"count={count!r} must be a whole number of at least 1")
        vram = 0 if min_vram is None else parse_size(min_vram)
        return cls(name, vram, _compute_capability(min_compute), count, _mig(mig))

    def fits(self, device: GpuDevice) -> bool:
        """Whether one device has what is asked for."""
        named = re.search(self.name, device.name, re.IGNORECASE) is not None
        large = device.total_bytes * 100 >= self.min_vram * (100 - _SHORTFALL_PERCENT)
        able = device.compute_capability >= self.min_compute
        return named and large and able and self._divided(device)

    def _divided(self, device: GpuDevice) -> bool:
        if device.mig and self.count > 1:
            return False
        if isinstance(self.mig, str):
            return device.mig and re.search(self.mig, device.name, re.IGNORECASE) is not None
        return self.mig is None or device.mig is self.mig

    def choose(self, devices: Sequence[GpuDevice]) -> tuple[GpuDevice, ...]:
        """The first `count` devices that fit.

        Raises:
            NoGpuError: when there are not enough, naming what was found.
        """
        fitting = [device for device in devices if self.fits(device)]
        if len(fitting) < self.count:
            found = ", ".join(self._described(device) for device in devices) or "no GPU"
            parts = self.count > 1 and any(device.mig for device in devices)
            note = (
                (f"; MIG devices cannot be used with count={self.count}, because a CUDA process sees only one of them")
                if parts
                else ""
            )
            raise NoGpuError(f"needs {self.describe()}, found {found}{note}")
        return tuple(fitting[: self.count])

    def _described(self, device: GpuDevice) -> str:
        """A device that was found, with what was asked about."""
        memory = f" with {device.total_bytes / 2**30:.4g} GiB" if self.min_vram else ""
        compute = " of {}.{}".format(*device.compute_capability) if self.min_compute > (0, 0) else ""
        return f"{device.name}{memory}{compute}"

    def describe(self) -> str:
        """The requirement in words."""
        words = [self.name or "a GPU" if self.count == 1 else f"{self.count} x {self.name or 'GPU'}"]
        if self.min_vram:
            words.append(f"with {self.min_vram / 2**30:.4g} GiB")
        if self.min_compute > (0, 0):
            words.append(f"of compute capability {self.min_compute[0]}.{self.min_compute[1]}")
        if self.mig is not None:
            part = f" {self.mig}" if isinstance(self.mig, str) else ""
            words.append(f"(MIG devices{part} only)" if self.mig else "(whole GPUs only)")
        return " ".join(words)


def _compute_capability(value: object) -> tuple[int, int]:
    if value is None:
        return (0, 0)
    match = re.fullmatch(r"(\d+)\.(\d+)", str(value))
    if match is None:
        raise SpecError(f"min_compute={value!r} is not a compute capability such as '8.9'")
    return (int(match[1]), int(match[2]))


def _check_pattern(where: str, pattern: str) -> None:
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise SpecError(f"{where}: not a regular expression: {error}") from None


def _mig(value: object) -> bool | str | None:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, str) or not value:
        raise SpecError(f"mig={value!r} must be True, False or a regular expression such as '1g.10gb'")
    _check_pattern(f"mig={value!r}", value)
    return value

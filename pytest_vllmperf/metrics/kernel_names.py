"""Names of kernels, short enough to be read, and the tables that are stored under them. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Final

from pytest_vllmperf.records.kernels import STORED_KERNELS, KernelTable, KernelTime, ProfiledIteration

LONGEST: Final = 60
"""Characters of a shortened name; a digest of the whole name stands for what was left out."""

_DIGEST_BYTES: Final = 2
_SIZES: Final = 6
_COPIES: Final = ("Memcpy", "Memset")
_ANONYMOUS: Final = re.compile(r"\(anonymous namespace\)::|\{anonymous\}::")
_NAMESPACES: Final = re.compile(r"(?:[A-Za-z_]\w*::)+(?=[A-Za-z_{])")
_RETURN_TYPE: Final = re.compile(r"^(?:void|int|float|auto) ")
_WRAPPER: Final = re.compile(r"^(?:device_kernel|enable_\w+|Kernel2?|kernel_wrapper)<(.*)>$")
_CUTE_SIZE: Final = re.compile(r"\bC<(\d+)>")


def short_name(name: str) -> str:
    """A demangled kernel name without return type, namespaces, parameters and the wrappers that launch kernels.

    A name that is still too long keeps the sizes that CUTLASS gives its tiles, or else the beginning of its template
    arguments, and then a digest of the whole name. Kernels that differ only in parameters or namespaces share a short
    name that is not too long; they are added up.

    Args:
        name: as CUPTI gives it.
    """
    if name.startswith(_COPIES):
        return name
    plain = _NAMESPACES.sub("", _ANONYMOUS.sub("", _RETURN_TYPE.sub("", name))).strip()
    whole = _without_wrappers(_without_parameters(plain))
    if len(whole) <= LONGEST:
        return whole
    digest = f"#{blake2b(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()}"
    sizes = _CUTE_SIZE.findall(whole)[:_SIZES]
    if len(sizes) > 1:
        base = whole.partition("<")[0]
        return f"{base[: LONGEST // 2]} {'x'.join(sizes)} {digest}"
    return f"{whole[: LONGEST - len(digest) - 1]}…{digest}"


def _without_wrappers(name: str) -> str:
    """The first template argument of a template that only launches it, as often as there is one."""
    while match := _WRAPPER.match(name):
        name = _first_argument(match[1])
    return name


def _first_argument(arguments: str) -> str:
    """Up to the first comma outside of brackets."""
    depth = 0
    for place, letter in enumerate(arguments):
        depth += {"<": 1, "(": 1, ">": -1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            return arguments[:place].strip()
    return arguments.strip()


def _without_parameters(name: str) -> str:
    """Without the last pair of parentheses that encloses parameters; those within template arguments stay."""
    if not name.endswith(")"):
        return name
    depth = 0
    for place in range(len(name) - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(name[place], 0)
        if depth == 0:
            return name[:place] or name
    return name


def kernel_tables(iterations: Sequence[ProfiledIteration]) -> list[KernelTable]:
    """Of each rank its kernels in an iteration, the mean over all iterations; empty without any."""
    if not iterations:
        return []
    ranks = zip(*(one.ranks for one in iterations), strict=True)
    return [table((kernel for use in uses for kernel in use.kernels), len(iterations)) for uses in ranks]


def table(kernels: Iterable[KernelTime], iterations: int) -> KernelTable:
    """Kernels by their short names, the largest by name and all others together.

    Args:
        kernels: under their full names, of all iterations.
        iterations: how many these were; at least one.
    """
    sums: dict[str, tuple[float, float]] = {}
    for one in kernels:
        name = short_name(one.name)
        count, seconds = sums.get(name, (0.0, 0.0))
        sums[name] = (count + one.times, seconds + one.seconds)
    ordered = sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    means = [KernelTime(name, _digits(count / iterations), _digits(seconds / iterations))
             for name, (count, seconds) in ordered]  # fmt: skip
    largest, others = means[:STORED_KERNELS], means[STORED_KERNELS:]
    rest = None
    if others:
        count, seconds = sum(one.times for one in others), sum(one.seconds for one in others)
        rest = KernelTime(f"{len(others)} others", _digits(count), _digits(seconds))
    return KernelTable(kernels=largest, rest=rest)


def _digits(value: float) -> float:
    """Seven significant digits, as all stored figures have."""
    return float(f"{value:.7g}")

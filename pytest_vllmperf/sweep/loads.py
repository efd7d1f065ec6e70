"""The workload of a point, made of the settings of a TOML file and the values of axes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any, Final

from pytest_vllmperf.errors import SpecError, WorkloadError, did_you_mean
from pytest_vllmperf.workload import Workload
from pytest_vllmperf.workload.lengths import bounds, kept

AXES: Final = (
    "concurrency",
    "rate",
    "requests",
    "input_tokens",
    "output_tokens",
    "shared_prefix_tokens",
    "prefix_share",
)
"""Settings of the workload that can be axes; every other name is an engine argument."""
LOADS: Final = ("concurrency", "rate")
"""Those that are a load, along which a knee is looked for."""
_SENDING: Final = ("rate", "arrivals", "burstiness", "seconds")
_LENGTHS: Final = ("input_tokens", "output_tokens")
_REQUIRED: Final = ("requests", *_LENGTHS)


def workload(settings: Mapping[str, Any]) -> Workload:
    """A synthetic workload at a load.

    Args:
        settings: arguments of `Workload.synthetic` and of `Workload.at`, and `prefix_share`: the share of each prompt
            that all prompts have in common, 0 to 1. A list of two lengths is a range, a table a histogram.

    Raises:
        WorkloadError: for a setting that does not exist, is missing, or cannot be meant.
    """
    known = [*signature(Workload.synthetic).parameters, *_SENDING, "prefix_share"]
    for name in settings:
        if name not in known:
            raise WorkloadError(f"the workload has no setting {name!r}{did_you_mean(name, known)}")
    for name in _REQUIRED:
        if name not in settings:
            raise WorkloadError(f"the workload says no {name}")
    given = {name: _length(value) if name in _LENGTHS else value for name, value in settings.items()}
    sending = {name: given.pop(name) for name in _SENDING if name in given}
    if "prefix_share" in given:
        given["shared_prefix_tokens"] = _shared(given.pop("prefix_share"), given["input_tokens"])
    if "rate" in sending:
        given.pop("concurrency", None)
    made = Workload.synthetic(**given)
    return made.at(**sending) if sending else made


def check_axes(names: Sequence[str], settings: Mapping[str, Any]) -> None:
    """Refuse axes that set the same thing in two ways.

    Args:
        names: of all axes.
        settings: of the workload.

    Raises:
        SpecError: naming both.
    """
    both = {"prefix_share": "shared_prefix_tokens", "rate": "concurrency"}
    for one, other in both.items():
        if one in names and other in names:
            raise SpecError(f"{one} and {other} cannot both be axes: they set the same")
    if "prefix_share" in names and "shared_prefix_tokens" in settings:
        raise SpecError("axis 'prefix_share' and workload.shared_prefix_tokens set the same; leave one out")
    if "concurrency" in names and "rate" in settings:
        raise SpecError("axis 'concurrency' and workload.rate exclude each other; leave one out")


def _length(value: Any) -> Any:
    """A length as `Workload` takes it: TOML has no tuple, and no number as a key."""
    if isinstance(value, list):
        return tuple(value)
    if isinstance(value, Mapping):
        return {int(length) if str(length).isdecimal() else length: weight for length, weight in value.items()}
    return value


def _shared(share: Any, length: Any) -> int:
    """How many tokens prompts have in common; each keeps a token of its own."""
    if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
        raise WorkloadError(f"prefix_share={share!r} must be a number from 0 to 1")
    shortest = bounds(kept("input_tokens", length))[0]
    return min(round(share * shortest), shortest - 1)

"""Engine values from requests that are the same in every engine (TTFT): pair them by index."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from pytest_vllmperf.errors import SampleError
from pytest_vllmperf.stats.robust import FloatArray
from pytest_vllmperf.stats.samples import Direction, EngineTable, Sessions, flatten

# A normal standard deviation in units of the median absolute deviation.
_MAD_TO_SD: Final = 1.4826


@dataclass(frozen=True, slots=True)
class PairedValues:
    """One metric, paired by request: the baseline's engine values (B = 1) and those of new engines, (1, n).

    Both are median log ratios to the reference, larger is worse.
    """

    baseline: EngineTable
    new: FloatArray
    requests: int


def pair_requests(
    baseline: Sessions, new: Sequence[Sequence[float]], direction: Direction, metric: str
) -> PairedValues:
    """Engine values that compare each request with itself.

    The reference of a request is the mean of its logarithms over the baseline engines; an engine's value is the median
    over its requests of log(x / reference). A median as the reference would be one of the engines itself, and their
    spread would read far too small. Prompts of different length cancel, which is most of the spread of
    single requests. A common reference shifts all engines alike and so leaves their spread as it is.

    Args:
        baseline: sessions -> engines -> requests, positive, in any unit; the same requests in the same order.
        new: engines -> requests; may be empty.
        direction: which way the metric is better.
        metric: name used in the error.

    Raises:
        SampleError: a sample that is not a positive finite number, or engines of different request counts.
    """
    stored = flatten(baseline, metric)
    rows = [stored.values]
    if len(new):
        rows.append(flatten([new], f"{metric} (new)").values)
    requests = stored.shape[0][0]
    _check_counts(stored.shape, requests, metric)
    _check_counts((tuple(len(engine) for engine in new),), requests, f"{metric} (new)")
    logs = direction.sign * np.log(np.concatenate(rows)).reshape(-1, requests)
    engines = stored.engines
    ratios = logs - logs[:engines].mean(axis=0)
    values = np.median(ratios, axis=1)
    layout = tuple(len(session) for session in stored.shape)
    within = np.array([_sampling_variance(logs, engines)])
    table = EngineTable(values[np.newaxis, :engines], layout, within)
    return PairedValues(table, values[np.newaxis, engines:], requests)


def _check_counts(shape: tuple[tuple[int, ...], ...], requests: int, metric: str) -> None:
    for session, engines in enumerate(shape):
        for engine, count in enumerate(engines):
            if count != requests:
                raise SampleError(metric, f"{count} requests, but the first engine has {requests}", (session, engine))


def _sampling_variance(logs: FloatArray, engines: int) -> float:
    """Variance of an engine's median log ratio from its requests: pi / 2 sd^2 / requests.

    sd, of one request, is from the MAD of differences between two engines, over all pairs: against the
    reference it would come out too small, as every engine is part of that. A lone baseline engine is paired
    with the new ones.
    """
    rows = logs[:engines] if engines > 1 else logs
    if len(rows) < 2:
        return 0.0
    first, second = np.triu_indices(len(rows), k=1)
    differences = rows[first] - rows[second]
    centres = np.median(differences, axis=1, keepdims=True)
    mad = np.median(np.abs(differences - centres), axis=1)
    spread = _MAD_TO_SD * float(np.median(mad))
    # Half: a difference has the variance of two requests.
    return math.pi / 2 * spread**2 / 2 / int(logs.shape[1])

"""Samples in, noise model out: pure functions on arrays, many metrics at once.

Everything is in log units of z = -log(x) for a higher-is-better metric and +log(x) for a lower-is-better one,
so that a larger z is always worse and a difference of 0.05 is close to 5 %.
"""

from pytest_vllmperf.stats.model import (
    NoiseModel,
    Prediction,
    detectable_change,
    fit,
    location,
    location_variance,
    predict,
)
from pytest_vllmperf.stats.pairing import PairedValues, pair_requests
from pytest_vllmperf.stats.quantiles import t_quantile
from pytest_vllmperf.stats.robust import (
    BoolArray,
    FloatArray,
    hodges_lehmann,
    hodges_lehmann_variance,
    is_multimodal,
    winsorise,
    winsorised_count,
    winsorised_variance_share,
)
from pytest_vllmperf.stats.samples import Direction, Engines, EngineTable, FlatSamples, Sessions, flatten, tabulate
from pytest_vllmperf.stats.summary import PERCENTILES, center, summarize
from pytest_vllmperf.stats.warmup import WARMUP_WINDOW, warmup_length

__all__ = [
    "PERCENTILES",
    "WARMUP_WINDOW",
    "BoolArray",
    "Direction",
    "EngineTable",
    "Engines",
    "FlatSamples",
    "FloatArray",
    "NoiseModel",
    "PairedValues",
    "Prediction",
    "Sessions",
    "center",
    "detectable_change",
    "fit",
    "flatten",
    "hodges_lehmann",
    "hodges_lehmann_variance",
    "is_multimodal",
    "location",
    "location_variance",
    "pair_requests",
    "predict",
    "summarize",
    "t_quantile",
    "tabulate",
    "warmup_length",
    "winsorise",
    "winsorised_count",
    "winsorised_variance_share",
]

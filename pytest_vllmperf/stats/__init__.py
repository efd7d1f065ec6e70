"""Samples in, noise model out: pure functions on arrays, many metrics at once.

Everything is in log units of z = -log(x) for a higher-is-better metric and +log(x) for a lower-is-better one,
so that a larger z is always worse and a difference of 0.05 is close to 5 %.
"""

from pytest_vllmperf.stats.grid import fit_prior, posterior
from pytest_vllmperf.stats.model import (
    ANCHOR_SESSIONS,
    Effects,
    NoiseModel,
    Prediction,
    against_centre,
    detectable_change,
    engine_sd,
    expected_spread,
    fit,
    location,
    location_variance,
    new_engines,
    posterior_in_modes,
    predict,
)
from pytest_vllmperf.stats.pairing import PairedValues, pair_requests
from pytest_vllmperf.stats.prior import DEVICE_CLOCK, UNKNOWN, WALL_CLOCK, Prior
from pytest_vllmperf.stats.robust import (
    BoolArray,
    FloatArray,
    hodges_lehmann,
    hodges_lehmann_variance,
    is_multimodal,
)
from pytest_vllmperf.stats.samples import Direction, Engines, EngineTable, FlatSamples, Sessions, flatten, tabulate
from pytest_vllmperf.stats.spread import Spread, observe
from pytest_vllmperf.stats.summary import PERCENTILES, center, summarize
from pytest_vllmperf.stats.warmup import WARMUP_WINDOW, warmup_length

__all__ = [
    "ANCHOR_SESSIONS",
    "DEVICE_CLOCK",
    "PERCENTILES",
    "UNKNOWN",
    "WALL_CLOCK",
    "WARMUP_WINDOW",
    "BoolArray",
    "Direction",
    "Effects",
    "EngineTable",
    "Engines",
    "FlatSamples",
    "FloatArray",
    "NoiseModel",
    "PairedValues",
    "Prediction",
    "Prior",
    "Sessions",
    "Spread",
    "against_centre",
    "center",
    "detectable_change",
    "engine_sd",
    "expected_spread",
    "fit",
    "fit_prior",
    "flatten",
    "hodges_lehmann",
    "hodges_lehmann_variance",
    "is_multimodal",
    "location",
    "location_variance",
    "new_engines",
    "observe",
    "pair_requests",
    "posterior",
    "posterior_in_modes",
    "predict",
    "summarize",
    "tabulate",
    "warmup_length",
]

"""Engines that were measured in turns with a reference: sessions and hosts cancel, and what is left is engine noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pytest_vllmperf.stats import (
    BoolArray,
    Effects,
    FloatArray,
    Prediction,
    Prior,
    Spread,
    engine_sd,
    location,
    location_variance,
    observe,
    posterior_in_modes,
    predict,
)


@dataclass(frozen=True, slots=True)
class PairModel:
    """What n rounds say of B metrics; arrays of shape (B,), log units.

    difference: new engine minus reference, larger is worse. engine_variance: what the rounds alone show of one engine.
    weights: of the pairs of standard deviations. multimodal: whether rounds, or stored engines, come in groups.
    """

    difference: FloatArray
    engine_variance: FloatArray
    weights: FloatArray
    multimodal: BoolArray
    rounds: int

    @property
    def prediction(self) -> Prediction:
        """What the difference varies by where nothing changed."""
        return predict(self.weights, pair_effects(self.rounds, self.multimodal))


def pair_effects(rounds: int, multimodal: BoolArray) -> Effects:
    """A round's difference has two engine variances, and no session variance."""
    return Effects(0.0, 2 * np.where(multimodal, 1 / rounds, location_variance(rounds)))


def fit_pairs(differences: FloatArray, prior: Prior, stored: Spread | None, multimodal: BoolArray) -> PairModel:
    """Locate rounds, and learn from them, and from stored engines, what they vary by.

    A round's difference over sqrt(2) varies as one engine does.

    Args:
        differences: shape (B, n), log units.
        prior: hyperparameters of the class.
        stored: what stored engines of the same metrics show; None without a baseline.
        multimodal: shape (B,), whether the stored engines come in groups.
    """
    rounds = differences.shape[1]
    levels, seen = observe(differences / np.sqrt(2), (rounds,), prior, None)
    multimodal = multimodal | levels.multimodal
    own, df, zero = seen.engine, seen.engine_df, np.zeros(len(differences))
    if stored is not None:
        together = df + stored.engine_df
        own = (df * own + stored.engine_df * stored.engine) / np.maximum(together, 1)
        df = together
    spread = Spread(own, df, zero, zero, zero)
    weights = posterior_in_modes(spread, prior, multimodal)
    at = location(differences, multimodal, np.sqrt(2) * engine_sd(weights))
    return PairModel(at, seen.engine, weights, multimodal, rounds)

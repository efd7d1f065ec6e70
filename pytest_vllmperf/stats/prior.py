"""What is known of a metric's noise before its own baseline says anything: hyperparameters of its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Prior:
    """Log-normal priors of the two standard deviations of a metric, and what they rest on.

    engine_sd, session_sd: medians, in log units (0.01 is 1 %). engine_spread, session_spread: standard deviations of
    the logarithm. correlation: of the two logarithms, as a test that is noisy in one way is often noisy in the other.
    floor: least standard deviation that is believed. follow: engine sd from which on sessions are expected to be
    noisier in proportion, where nothing was seen of them; 0 where they were fitted. metrics, sessions: what the
    hyperparameters were fitted on: so many metrics, and the sessions of the longest of their baselines; 0 for the prior
    of the class itself.
    """

    engine_sd: float
    engine_spread: float
    session_sd: float
    session_spread: float
    floor: float
    correlation: float = 0.0
    follow: float = 0.0
    metrics: int = 0
    sessions: int = 0


WALL_CLOCK: Final = Prior(
    engine_sd=0.015, engine_spread=0.4, session_sd=0.010, session_spread=0.5, floor=0.001, correlation=0.25
)
"""What engines and sessions vary by on a machine about which nothing is known; by a wall clock."""

UNKNOWN: Final = Prior(
    engine_sd=0.020, engine_spread=0.8, session_sd=0.012, session_spread=0.7, floor=0.001, correlation=0.5
)
"""What values vary by of which nothing is known, such as those that a test records itself.

Wide enough that a metric with a noise of 5 % is not taken for a regression after one session, as it would be with the
prior of a wall clock; docs/custom-metrics.md has the figures.
"""

DEVICE_CLOCK: Final = Prior(
    engine_sd=0.002, engine_spread=0.4, session_sd=0.002, session_spread=0.5, floor=0.0002, correlation=0.25
)
"""What they vary by where the time is the GPU's own, which does not see what else its host does.

Seen on three H200 cards: 0.11 % between sessions, and 0.39 % where the power limit held the clocks down. So few
sessions say little; a smaller prior would find smaller changes from one session, and take one card for slower than
another (docs/verdict.md).
"""

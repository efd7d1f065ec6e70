"""How a verdict came about, in words: model, hyperparameters, looks, and the inequality that decided."""

from __future__ import annotations

from pytest_vllmperf.report import units
from pytest_vllmperf.stats.prior import Prior


def prior_words(prior: Prior) -> str:
    """Hyperparameters and what they rest on; a spread is that of the logarithm."""
    fitted = f"fitted on {units.many(prior.metrics, 'metric')}, up to {units.many(prior.sessions, 'session')}"
    return (
        f"session {fine_percent(prior.session_sd)} (spread {prior.session_spread:.2g}), "
        f"engine {fine_percent(prior.engine_sd)} (spread {prior.engine_spread:.2g}), "
        f"correlation {prior.correlation:.2g}, at least {fine_percent(prior.floor)}; "
        f"{fitted if prior.metrics else 'class prior'}"
    )


def fine_percent(fraction: float) -> str:
    """A standard deviation: two significant digits, as quiet machines lie far below 1 %."""
    return f"{fraction * 100:.2g} %"

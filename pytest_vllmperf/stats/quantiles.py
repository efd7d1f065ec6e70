"""Quantiles of distributions. Scipy is imported at the first use: it takes long, and collecting tests needs none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def normal_quantile(probability: Any) -> NDArray[np.float64]:
    """The value that a standard normal variable does not exceed with this probability, in its shape."""
    from scipy.special import ndtri

    return np.asarray(ndtri(probability), dtype=np.float64)


def normal_exceeded(value: Any) -> NDArray[np.float64]:
    """The probability that a standard normal variable exceeds a value, in its shape."""
    from scipy.special import ndtr

    return np.asarray(ndtr(-np.asarray(value)), dtype=np.float64)

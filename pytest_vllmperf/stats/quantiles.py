"""Quantiles of distributions. Scipy is imported at the first use: it takes long, and collecting tests needs none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def t_quantile(df: Any, probability: float) -> NDArray[np.float64]:
    """Student's t: the value that is not exceeded with this probability, in the shape of `df`.

    Args:
        df: degrees of freedom, above zero; a number or an array.
        probability: above 0 and below 1.
    """
    from scipy.special import stdtrit

    return np.asarray(stdtrit(df, probability), dtype=np.float64)


def chi_square_exceeded(df: Any, probability: float) -> NDArray[np.float64]:
    """Chi square: the value that is exceeded with this probability, in the shape of `df`.

    Args:
        df: degrees of freedom, above zero; a number or an array.
        probability: above 0 and below 1.
    """
    from scipy.special import chdtri

    return np.asarray(chdtri(df, probability), dtype=np.float64)

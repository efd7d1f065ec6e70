"""Quantiles, against tables."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pytest_vllmperf.stats.quantiles import chi_square_exceeded, t_quantile


def test_students_t_is_that_of_tables() -> None:
    assert t_quantile([1, 4, 30], 0.995) == pytest.approx([63.657, 4.6041, 2.7500], rel=1e-4)
    assert t_quantile(4.0, 0.005) == pytest.approx(-4.6041, rel=1e-4)


def test_chi_square_is_that_of_tables() -> None:
    assert chi_square_exceeded(np.array([1.0, 10.0]), 0.001) == pytest.approx([10.828, 29.588], rel=1e-4)


def test_scipy_waits_for_the_first_quantile() -> None:
    program = """
import sys
import pytest_vllmperf.harness.armed
assert not any(name.partition(".")[0] == "scipy" for name in sys.modules), "armed"
from pytest_vllmperf.stats.quantiles import t_quantile
t_quantile(4.0, 0.995)
assert "scipy.special" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

"""Quantiles, against tables."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_vllmperf.stats.quantiles import normal_exceeded, normal_quantile


def test_normal_quantiles_are_those_of_tables() -> None:
    assert normal_quantile([0.5, 0.9, 0.995]) == pytest.approx([0, 1.28155, 2.57583], abs=1e-5)
    assert normal_quantile(0.005).shape == ()


def test_tails_are_exact_where_a_complement_would_be_zero() -> None:
    assert normal_exceeded([0.0, 1.96, -1.96]) == pytest.approx([0.5, 0.0249979, 0.9750021], rel=1e-5)
    assert normal_exceeded(10.0) == pytest.approx(7.6198530e-24, rel=1e-6)


@given(st.floats(1e-12, 1 - 1e-12))
def test_one_is_the_inverse_of_the_other(probability: float) -> None:
    assert normal_exceeded(-normal_quantile(probability)) == pytest.approx(probability)


def test_scipy_waits_for_the_firsnormal_quantile() -> None:
    program = """
import sys
import pytest_vllmperf.harness.armed
assert not any(name.partition(".")[0] == "scipy" for name in sys.modules), "armed"
from pytest_vllmperf.stats.quantiles import normal_quantile
normal_quantile(0.995)
assert "scipy.special" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)

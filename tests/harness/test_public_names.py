"""What `from pytest_vllmperf import ...` has."""

from __future__ import annotations

import pytest

import pytest_vllmperf


@pytest.mark.parametrize("name", pytest_vllmperf.__all__)
def test_a_public_name_is_there(name: str) -> None:
    assert getattr(pytest_vllmperf, name) is not None


def test_what_fit_returns_can_be_annotated() -> None:
    from pytest_vllmperf import Fit, VllmPerf
    from pytest_vllmperf.records import fit

    assert Fit is fit.Fit
    assert VllmPerf.fit.__annotations__["return"] == "Fit"


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Fitting'"):
        pytest_vllmperf.Fitting  # noqa: B018 - to have it looked up

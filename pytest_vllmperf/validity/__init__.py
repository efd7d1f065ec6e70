"""What voids a measurement: rules, each with a name that `allow` turns off."""

from pytest_vllmperf.validity.rules import Expected, Observed, problems

__all__ = ["Expected", "Observed", "problems"]

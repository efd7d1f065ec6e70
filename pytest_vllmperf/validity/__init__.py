"""What voids a measurement: rules, each with a name that `allow` turns off."""

from pytest_vllmperf.validity.rules import RULES, TRANSIENT, Expected, Observed, Problem, problems

__all__ = ["RULES", "TRANSIENT", "Expected", "Observed", "Problem", "problems"]

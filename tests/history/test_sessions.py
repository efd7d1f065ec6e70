"""What a history keeps of baseline files."""

from __future__ import annotations

from pytest_vllmperf.history.sessions import of_baseline
from tests.cli.conftest import entry

STEPS = "steps [ms, lower]"


def test_custom_metrics_are_kept_with_what_they_declare() -> None:
    plain = entry(sessions=1)
    [session] = plain.sessions
    engines = [one.model_copy(update={"recorded": {STEPS: [10.0, 12.0]}}) for one in session.engines]
    judging = plain.judging.model_copy(update={"gate": [*plain.judging.gate, STEPS]})
    own = plain.model_copy(update={"sessions": [session.model_copy(update={"engines": engines})], "judging": judging})
    [taken] = of_baseline("tests/test_a.py", {"test_x": own})
    [point] = [one for one in taken.points if one.series.metric == STEPS]
    declared = point.metric
    assert (declared.label, declared.unit, declared.better, declared.gated) == ("steps", "ms", "lower", True)
    assert (point.value, point.engines) == (11.0, (11.0, 11.0, 11.0))

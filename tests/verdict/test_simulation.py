"""A short, seeded run of the simulation, held to the targets within what so few trials can tell."""

from __future__ import annotations

import pytest
from scipy.stats import binom

from tests.verdict.conftest import bench

TRIALS = 1500
# A correct rule that just meets a target fails a check by chance this rarely; the seed is fixed besides.
CHANCE = 1e-3

simulation = bench("simulate")


def at_most(count: int, share: float) -> bool:
    """Whether a count is not significantly above a share of the trials."""
    return bool(binom.sf(count - 1, TRIALS, share) > CHANCE)


@pytest.mark.parametrize("scenario", simulation.SCENARIOS, ids=lambda scenario: str(scenario.name))
def test_the_rule_meets_its_targets(scenario: object) -> None:
    tallies = simulation.simulate(scenario, TRIALS, seed=20, beside=False)
    unchanged, slower, slow = (tallies[simulation.RULE, loss] for loss in simulation.SLOWDOWNS)
    assert unchanged.trials == slower.trials == slow.trials == TRIALS
    assert at_most(unchanged.failed, scenario.most_false_alarms)  # type: ignore[attr-defined]
    assert at_most(TRIALS - slow.failed, 1 - scenario.least_caught)  # type: ignore[attr-defined]
    assert at_most(slow.passed, scenario.most_silent)  # type: ignore[attr-defined]
    assert unchanged.engines < slower.engines


def test_typical_noise_needs_few_starts() -> None:
    tallies = simulation.simulate(simulation.SCENARIOS[0], TRIALS, seed=21, beside=False)
    assert tallies[simulation.RULE, 0.0].engines / TRIALS <= 1.5
    assert tallies[simulation.RULE, 0.08].engines / TRIALS <= 3.3
    assert tallies[simulation.RULE, 0.08].failed / TRIALS > 0.9


def test_usual_gates_raise_false_alarms_on_the_same_draws() -> None:
    noisy = simulation.SCENARIOS[1]
    tallies = simulation.simulate(noisy, TRIALS, seed=22)
    rule = tallies[simulation.RULE, 0.0].failed
    for gate in ("naive 5 %", "mean:5%", "Mann-Whitney", "Welch"):
        assert tallies[gate, 0.0].failed > 3 * rule, gate
        assert tallies[gate, 0.0].failed + tallies[gate, 0.0].passed == TRIALS
    alone = simulation.simulate(noisy, TRIALS, seed=22, beside=False)
    assert alone[simulation.RULE, 0.10] == tallies[simulation.RULE, 0.10]


def test_pooled_tests_are_calibrated_where_pooling_is_right() -> None:
    """Without session and engine noise their false alarms are the nominal 5 %."""
    independent = simulation.Scenario("independent", 0.0, 0.0, 0.02, 1, 0, 1)
    none = simulation.Outliers(iterations=0.0, engines=0.0)
    tallies = simulation.simulate(independent, TRIALS, 23, none)
    for gate in ("Mann-Whitney", "Welch"):
        assert tallies[gate, 0.0].failed / TRIALS == pytest.approx(0.05, abs=0.02)


def test_scenarios_have_the_noise_they_state() -> None:
    np = pytest.importorskip("numpy")
    none = simulation.Outliers(iterations=0.0, engines=0.0)
    for scenario in simulation.SCENARIOS[:3]:
        cost = simulation.draw(np.random.default_rng(0), scenario, none, 4000, 5, 3).reshape(4000, 5, 3, 10)
        assert cost.std(axis=3, ddof=1).mean() == pytest.approx(scenario.iteration_sd, rel=0.1)
        total = scenario.session_sd**2 + scenario.engine_sd**2 + scenario.iteration_sd**2
        assert cost.std() == pytest.approx(total**0.5, rel=0.05)
    slow = simulation.Outliers(iterations=0.0, engines=1.0)
    cost = simulation.draw(np.random.default_rng(0), simulation.SCENARIOS[0], slow, 4000, 1, 1)
    assert np.exp(-cost).mean() == pytest.approx(0.8, abs=0.01)


def test_the_table_has_a_row_per_gate_with_the_targets_beside_the_rule() -> None:
    typical = simulation.SCENARIOS[0]
    rows = list(simulation.rows(typical, simulation.simulate(typical, 50, seed=1)))
    assert [row.split(" | ")[1] for row in rows] == [
        "this rule",
        "naive 5 %",
        "mean:5%",
        "Mann-Whitney",
        "Welch",
    ]
    assert "(<= 0.2)" in rows[0]
    assert "(>= 99)" in rows[0]
    assert all(row.count("|") == simulation.HEADER.splitlines()[0].count("|") for row in rows)


def test_a_missed_target_is_told() -> None:
    typical, trials = simulation.SCENARIOS[0], 1000
    good = {
        (simulation.RULE, 0.0): simulation.Tally(trials, failed=1, passed=999, engines=1400),
        (simulation.RULE, 0.08): simulation.Tally(trials, failed=950, passed=0, engines=3200),
        (simulation.RULE, 0.10): simulation.Tally(trials, failed=992, passed=0, engines=3000),
    }
    assert list(simulation.missed(typical, good)) == []
    bad = {key: simulation.Tally(trials, 500, 500, 4000) for key in good}
    assert [line.split(":")[1].rsplit(",", 1)[0].strip() for line in simulation.missed(typical, bad)] == [
        "false alarms 50.000 %",
        "caught at 10 % 50.000 %",
        "silent at 10 % 50.000 %",
        "4.00 starts at 0 %",
        "4.00 starts at 8 %",
    ]

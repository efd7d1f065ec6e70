"""How a check is judged: its gate, and the margin of each metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from pytest_vllmperf.metrics.declaration import Metric
from pytest_vllmperf.records.samples import Judging
from pytest_vllmperf.verdict.priors import Priors, class_prior
from pytest_vllmperf.verdict.rule import A_FAIL, MAX_ENGINES, RuleSettings

DEFAULT_MARGIN: Final = 0.05


@dataclass(frozen=True)
class VerdictSettings:
    """How to judge one check.

    Attributes:
        gate: names of the metrics that decide.
        margin: tolerated relative change for the worse, such as 0.05; for metrics not in `margins`.
        margins: tolerated relative change by metric.
        a_fail: chance of a false REGRESSED per metric and look.
        max_engines: new engines after which an open verdict is NOISY.
        priors: hyperparameters of the profile by class, see `verdict.priors`; a class that is not in it has its own.
        limits: absolute limits by metric, in its unit.
    """

    gate: tuple[str, ...]
    margin: float = DEFAULT_MARGIN
    margins: Mapping[str, float] = field(default_factory=dict)
    a_fail: float = A_FAIL
    max_engines: int = MAX_ENGINES
    priors: Priors = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)

    @property
    def judging(self) -> Judging:
        """What of it is stored with the check; where limits alone decide, their metrics are the gate."""
        gate, margins, limits = list(self.gate or self.limits), dict(self.margins), dict(self.limits)
        return Judging(gate=gate, margin=self.margin, margins=margins, limits=limits)

    def margin_of(self, metric: Metric) -> float:
        """The margin of one metric: given by name, or its class's own, or the one for all, at least its class's least.

        An exact metric has none unless it was given by name.
        """
        own = metric.kind.own_margin
        default = max(self.margin, metric.kind.least_margin) if own is None else own
        return self.margins.get(metric.name, 0.0 if metric.exact else default)

    def rule(self, metric: Metric) -> RuleSettings:
        """What the rule needs to know about one metric."""
        return RuleSettings(
            margin=self.margin_of(metric),
            a_fail=self.a_fail,
            max_engines=1 if metric.once else self.max_engines,
            prior=self.priors.get(metric.kind) or class_prior(metric.kind),
        )

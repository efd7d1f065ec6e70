"""`Check`: one check on its way to a verdict, or to a recorded session."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pytest_vllmperf.checking.device_pass import engines_without
from pytest_vllmperf.checking.limits import limited
from pytest_vllmperf.checking.plan import Plan, Purpose
from pytest_vllmperf.checking.policy import counted_engines, seldom_measured
from pytest_vllmperf.errors import VllmPerfError
from pytest_vllmperf.lab.take import Take
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.verdict import Status, Verdict, worst
from pytest_vllmperf.verdict import Evidence, judge
from pytest_vllmperf.verdict.comparability import hard_differences
from pytest_vllmperf.verdict.rule import MIN_ENGINES

# A metric that some engines do not show may ask for more engines than a recording does, but not for ever.
_MORE_ENGINES = 3


@dataclass
class Check:
    """One check. It is open while another engine start would help.

    Attributes:
        plan: what is to become of it.
        measurement: what was measured so far, on all engines.
        verdict: as it stands: UNDECIDED, RECORDED, or what was decided.
        error: what went wrong while it was measured again, such as an engine that died.
        closed: whether no further engine may come.
        spent: seconds that measuring it again took; what a fresh engine takes to start counts for the first on it.
    """

    plan: Plan
    measurement: Measurement
    verdict: Verdict = field(init=False)
    error: VllmPerfError | None = field(default=None, init=False)
    closed: bool = field(default=False, init=False)
    spent: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        """Look at the first measurement. One that cannot be repeated is judged without further engines."""
        self.verdict = Verdict(Status.RECORDED if self.plan.purpose is Purpose.RECORD else Status.UNDECIDED)
        self.look(last=self.take is None)

    @property
    def take(self) -> Take | None:
        """How to measure again; None for a measurement that cannot be repeated."""
        made = self.measurement.made_with
        return made if isinstance(made, Take) else None

    @property
    def rounds(self) -> int:
        """How often it was measured so far, engines left out included."""
        return len(self.measurement.engines) + bool(self.measurement.excluded)

    @property
    def open(self) -> bool:
        """Whether another engine would help."""
        if self.closed or self.error is not None:
            return False
        if self.verdict.status is Status.RECORDED:
            return self._lacks_engines
        return self.verdict.status is Status.UNDECIDED

    @property
    def _lacks_engines(self) -> bool:
        engines, wanted = self.measurement.engines, self.plan.engines
        if self.plan.purpose is Purpose.JUDGE:
            return len(engines) < wanted
        return counted_engines(self.plan.settings.gate, engines) < wanted and len(engines) < wanted + _MORE_ENGINES

    def look(self, *, last: bool = False) -> None:
        """Judge what was measured, once there is enough; a void measurement is judged at once.

        Args:
            last: no engine will follow.
        """
        self.closed = self.closed or last
        before = self.verdict.limits
        if self.measurement.problems or self._to_be_judged:
            self.verdict = self._judged(last=last)
        elif self.plan.purpose is Purpose.RECORD and not self.open:
            self._check_recording()
        if not self.measurement.problems:
            self.verdict = limited(self.verdict, before, self.measurement.engines, self.plan.settings, last=self._last)

    @property
    def _last(self) -> bool:
        """Whether no further engine will come."""
        if self.closed or self.error is not None:
            return True
        if self.verdict.status is Status.RECORDED:
            return not self._lacks_engines
        return worst([self.verdict.status, Status.UNDECIDED]) is not Status.UNDECIDED

    def _judged(self, *, last: bool) -> Verdict:
        """By its reference where it has one, to whom stored engines only say what engines vary by; else by these."""
        run, reference, baseline = self.measurement, self.measurement.reference, self.plan.baseline
        if not self.plan.settings.gate and not run.problems:
            return Verdict(Status.OK)
        if reference is not None and self.plan.differences and not run.problems:
            return Verdict(Status.NOT_COMPARABLE, reasons=self.plan.differences)
        alike = reference is None or (bool(baseline) and not hard_differences(baseline, run.environment))
        evidence = Evidence(
            baseline if alike else (),
            run.engines,
            self.plan.settings,
            run.problems,
            self.plan.differences,
            self.verdict,
            last,
            () if reference is None else reference.engines,
            "" if reference is None else reference.name,
        )
        verdict = judge(evidence)
        missing = self.plan.missing if verdict.status is Status.NO_BASELINE else ""
        return replace(verdict, reasons=(missing,)) if missing else verdict

    def by_baseline(self) -> Verdict | None:
        """What the stored baseline says of a measurement that is judged by its reference: told, never decisive.

        None without a stored baseline, or where nothing sound was measured.
        """
        run, baseline = self.measurement, self.plan.baseline
        if run.reference is None or run.problems or not baseline or self.error is not None:
            return None
        unlike = hard_differences(baseline, run.environment)
        return judge(Evidence(baseline, run.engines, self.plan.settings, (), unlike, last_look=True))

    @property
    def _to_be_judged(self) -> bool:
        if self.plan.purpose is Purpose.RECORD:
            return False
        comparable = (self.plan.baseline or self.measurement.reference) and not self.plan.differences
        return self.closed or not comparable or not self._lacks_engines

    def _check_recording(self) -> None:
        """A baseline of too few engine starts could be judged by nothing: it is refused."""
        found = counted_engines(self.plan.settings.gate, self.measurement.engines)
        if found < MIN_ENGINES:
            times = "engine start counts" if found == 1 else "engine starts count"
            repeatable = "pass check() what measure() returned: only that can be measured on further engines"
            remedy = repeatable if self.take is None else "raise --vllmperf-max-time"
            if seldom := seldom_measured(self.plan.settings.gate, self.measurement.engines):
                remedy = f"{'; '.join(seldom)}. Measure on a quiet machine, or leave it out of the gate"
            if lacking := engines_without(self.plan.settings.gate, self.measurement.engines):
                remedy = f"{'; '.join(lacking)}. To record the other metrics: --vllmperf-device-pass=off"
            reason = f"nothing was recorded: {found} {times}, and a baseline needs at least {MIN_ENGINES}; {remedy}"
            self.verdict = Verdict(Status.INVALID, reasons=(reason,))

    def add(self, measurement: Measurement) -> None:
        """Take in what another engine showed, and look.

        One engine of a session may be left out for what another would not have met, such as a GPU that ran hot.
        """
        if measurement.transient and not self.measurement.excluded:
            self.measurement = self.measurement.without(measurement)
            return
        self.measurement = self.measurement.with_engines_of(measurement)
        self.look()

"""What `compare` returns: two engines measured in rounds, with assertions that measure more rounds when needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from numbers import Real

from pytest_vllmperf.checking.failing import fail
from pytest_vllmperf.comparing import quality
from pytest_vllmperf.comparing.answers import Rounds, checked_chats, compare_answers
from pytest_vllmperf.comparing.kernels import KernelComparison
from pytest_vllmperf.comparing.ratios import ratio
from pytest_vllmperf.engines.base import Renders, able
from pytest_vllmperf.errors import NotMeasuredError, SpecError
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.metrics.table import METRICS, AllMetrics, check_known
from pytest_vllmperf.records.problems import Problem, in_words
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.records.ratio import Ratio
from pytest_vllmperf.records.results import ComparisonRecord
from pytest_vllmperf.report import verdicts
from pytest_vllmperf.verdict import Claim, ClaimOutcome, Comparison, compare, words
from pytest_vllmperf.verdict.attribution import compared_interval
from pytest_vllmperf.verdict.comparison import MIN_ROUNDS, known_noise
from pytest_vllmperf.verdict.priors import Priors
from pytest_vllmperf.workload import Message


class EngineComparison:
    """Two engines, measured in turns; each round on a fresh engine of both.

    Args:
        rounds: measures one.
        max_rounds: how many an assertion may have.
        max_time: seconds that an assertion may spend on further rounds.
        priors: for the hard keys of a measurement, what its profile says of the noise of each class of metrics.
        clock: in seconds.
    """

    def __init__(
        self,
        rounds: Rounds,
        max_rounds: int,
        max_time: float,
        priors: Callable[[Measurement], Priors],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rounds = rounds
        self._max_rounds = max(max_rounds, MIN_ROUNDS)
        self._max_time = max_time
        self._clock = clock
        self._ratios: dict[str, Ratio] = {}
        self._quality: Quality | None = None
        self._looked = False
        self._excluded: tuple[Problem, ...] = ()
        self._a, self._b = self._sound_round()
        self._priors = priors(self._a)
        for _ in range(MIN_ROUNDS - 1):
            self._add_round()

    @property
    def a(self) -> Measurement:
        """The first engine's measurement, all rounds together."""
        return self._a

    @property
    def b(self) -> Measurement:
        """The reference's measurement, all rounds together."""
        return self._b

    @property
    def way(self) -> str:
        """How the two shared the device: both resident, asleep in turns or started in turns; and the memory split."""
        return self._rounds.sharing.described

    @property
    def looked_at(self) -> bool:
        """Whether a test has asked for anything of it, or asserted it."""
        return self._looked or self._a.looked_at or self._b.looked_at

    def record(self) -> ComparisonRecord:
        """What came of it, for the report."""
        if not self._ratios:
            metric = AllMetrics.output_throughput.name
            with suppress(NotMeasuredError):
                self._ratios[metric] = ratio(self._compared(metric))
        return ComparisonRecord(
            a=self._a.spec_label,
            b=self._b.spec_label,
            way=self.way,
            ratios=tuple(self._ratios.values()),
            quality=self._quality,
            excluded=self._excluded,
        )

    def speedup(self, metric: str = "output_throughput") -> Comparison:
        """How many times better `a` is, with its 99 % interval; above 1 always means that `a` wins.

        The interval holds over all rounds together, whenever an assertion stops.

        Args:
            metric: which metric; if lower is better, the ratio is inverted.

        Raises:
            NotMeasuredError: when fewer than two rounds observed the metric on both engines, or a sample is zero.
        """
        self._looked = True
        found = self._compared(metric)
        self._ratios[metric] = ratio(found)
        return found

    def _compared(self, metric: str) -> Comparison:
        check_known(metric)
        sides = self._rounds_of(metric)
        if any(value <= 0 for side in sides for engine in side for value in engine):
            raise NotMeasuredError(f"{METRICS[metric].label} has a sample of zero, so no ratio can be computed")
        prior = known_noise(self._priors.get(METRICS[metric].kind))
        return compare(metric, METRICS[metric].better, *sides, prior=prior, max_rounds=self._max_rounds)

    def _rounds_of(self, metric: str) -> tuple[list[list[float]], list[list[float]]]:
        """The samples of both engines in each round that measured the metric on both: a device pass may be lost."""
        engines = zip(self._a.engines, self._b.engines, strict=True)
        rounds = [(a.values(metric), b.values(metric)) for a, b in engines]
        both = [(a, b) for a, b in rounds if a and b]
        label = METRICS[metric].label
        if not both:
            raise NotMeasuredError(f"{label} was not measured on both engines{self._why(metric)}")
        if len(both) < MIN_ROUNDS:
            raise NotMeasuredError(
                f"{label} was measured on both engines in {len(both)} of {len(rounds)} rounds; at least "
                f"{MIN_ROUNDS} are needed{self._why(metric)}"
            )
        return [a for a, _ in both], [b for _, b in both]

    def _why(self, metric: str) -> str:
        """Why a metric of the device pass was not measured, where that is known."""
        engines = [engine for side in (self._a, self._b) for engine in side.engines]
        reasons = [engine.no_device_pass for engine in engines if METRICS[metric].of_pass and not engine.values(metric)]
        known = next(filter(None, reasons), "")
        return f": {known}" if known else ""

    def kernels(self) -> KernelComparison:
        """Where the time of `a` differs from that of `b`: GPU time by kernel, idle time, and the parts of a request.

        `before` is `b`, the reference, and `after` is `a`. Its text is a table.

        Raises:
            NotMeasuredError: when either engine had no device pass, with the reason.
        """
        metric = AllMetrics.gpu_time.name
        for side in (self._a, self._b):
            side.value(metric)
        interval = None
        with suppress(NotMeasuredError):  # without two rounds that have a pass there is no interval
            interval = compared_interval(self._compared(metric))
        return KernelComparison.of(self._b, self._a, interval)

    def assert_speedup(self, ratio: float, metric: str = "output_throughput") -> Comparison:
        """Fail the test unless `a` is shown to be at least `ratio` times better.

        It fails as REFUTED if the interval lies below `ratio`. It fails as INCONCLUSIVE if the interval still contains
        `ratio` after all rounds; the message then says how many rounds would decide it.

        Args:
            ratio: the lower bound of the 99 % interval must reach it.
            metric: which metric; if lower is better, the ratio is inverted.

        Raises:
            NotMeasuredError: when either engine did not observe the metric.
            SpecError: for a ratio that is not a positive number.
        """
        __tracebackhide__ = True
        _check_number("assert_speedup: ratio", ratio)
        return self._assert("assert_speedup", metric, lambda found: found.at_least(ratio))

    def assert_not_slower(self, margin: float | str = 0.05, metric: str = "output_throughput") -> Comparison:
        """Fail the test unless `a` is shown to be at most `margin` worse.

        Args:
            margin: a fraction, or a text such as "5%"; the lower bound of the 99 % interval has to reach 1 - margin.
            metric: which metric; if lower is better, the ratio is inverted.

        Raises:
            NotMeasuredError: when either engine did not observe the metric.
            SpecError: for a margin that is not at least 0 and below 1.
        """
        __tracebackhide__ = True
        fraction = words.margin("assert_not_slower", margin) if isinstance(margin, str) else margin
        _check_number("assert_not_slower: margin", fraction)
        return self._assert("assert_not_slower", metric, lambda found: found.not_slower(fraction))

    def measure_quality(self, prompts: Sequence[str | Sequence[Message]] | None = None, *, tokens: int = 32) -> Quality:
        """How well the answers of `a` agree with those of the reference `b`.

        Args:
            prompts: texts or chats; by default the first 16 requests of the workload.
            tokens: how many to generate greedily for each.

        Raises:
            WorkloadError: when a prompt with its continuation does not fit an engine, or makes other tokens on it.
        """
        self._looked = True
        self._quality = compare_answers(self._rounds, prompts, tokens)
        return self._quality

    def assert_same_quality(
        self,
        prompts: Sequence[str | Sequence[Message]] | None = None,
        *,
        tokens: int = 32,
        agreement: float = 0.5,
        logprob_difference: float = 0.1,
        top1_agreement: float = 0.9,
    ) -> Quality:
        """Fail the test unless the answers of `a` agree with those of the reference `b`: a fast engine can be wrong.

        Args:
            prompts: texts or chats; by default the first 16 requests of the workload.
            tokens: how many to generate greedily for each.
            agreement: minimum mean share of the reference's tokens before the first difference.
            logprob_difference: maximum mean difference of the log-probabilities of the reference's continuation.
            top1_agreement: minimum share of positions where both have the same most probable token.

        Raises:
            SpecError: for a share that is not between 0 and 1, or a difference that is no number of at least 0.
            WorkloadError: when a prompt with its continuation does not fit an engine.
        """
        __tracebackhide__ = True
        for name, share in (("agreement", agreement), ("top1_agreement", top1_agreement)):
            _check_number(f"assert_same_quality: {name}", share)
            if not 0 <= share <= 1:
                raise SpecError(f"assert_same_quality: {name}={share!r} must be between 0 and 1")
        _check_number("assert_same_quality: logprob_difference", logprob_difference)
        if not logprob_difference >= 0:  # what is not a number would be a limit that nothing keeps
            raise SpecError(f"assert_same_quality: logprob_difference={logprob_difference!r} must be at least 0")
        found = self.measure_quality(prompts, tokens=tokens)
        shortfalls = found.shortfalls(agreement, logprob_difference, top1_agreement)
        if shortfalls:
            fail(verdicts.quality_lines(self._a.spec_label, self._b.spec_label, found.prompts, shortfalls))
        return found

    def assert_same_chat_template(self, chats: Sequence[Sequence[Message]]) -> None:
        """Fail the test unless both engines' tokenizers render these chats into the same token ids.

        Raises:
            SpecError: when an engine cannot render chats.
            WorkloadError: for an invalid chat, or a tokenizer without a chat template.
        """
        __tracebackhide__ = True
        self._looked = True
        rendered_chats = checked_chats(chats)
        own = self._rounds.ask(0, lambda engine: able(engine, Renders).render(rendered_chats))
        reference = self._rounds.ask(1, lambda engine: able(engine, Renders).render(rendered_chats))
        for number, (rendered, wanted) in enumerate(zip(own, reference, strict=True)):
            if difference := quality.first_difference(rendered, wanted):
                fail(verdicts.template_line(self._a.spec_label, self._b.spec_label, number, difference))

    def _assert(self, name: str, metric: str, claim: Callable[[Comparison], Claim]) -> Comparison:
        __tracebackhide__ = True
        deadline, longest = self._clock() + self._max_time, 0.0
        while True:
            found = self.speedup(metric)
            try:
                claimed = claim(found)
            except ValueError as error:
                raise SpecError(f"{name}: {error}") from None
            spent = len(self._a.engines) >= self._max_rounds or self._clock() + longest >= deadline
            if claimed.outcome is not ClaimOutcome.INCONCLUSIVE or spent:
                break
            started = self._clock()
            self._add_round()
            longest = max(longest, self._clock() - started)
        if claimed.outcome is not ClaimOutcome.SHOWN:
            words = verdicts.claim_line(found, claimed, self._a.value(metric), self._b.value(metric), self.way)
            fail(words, verdict=True)
        return found

    def _add_round(self) -> None:
        a, b = self._sound_round()
        self._a, self._b = self._a.with_engines_of(a), self._b.with_engines_of(b)

    def _sound_round(self) -> tuple[Measurement, Measurement]:
        __tracebackhide__ = True
        sides = self._rounds.measure_round()
        void = [side for side in sides if side.problems]
        if void and not self._excluded and all(side.transient for side in void):
            self._excluded = tuple(dict.fromkeys(problem for side in void for problem in side.problems))
            sides = self._rounds.measure_round()
        for side in sides:
            if side.problems:
                fail(f"INVALID  {side.spec_label}: {in_words(side.problems)}")
        return sides


def _check_number(what: str, value: object) -> None:
    """Refuse what is no number.

    Raises:
        SpecError: naming what was given, and as what.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        raise SpecError(f"{what} must be a number, not {value!r}")

"""How a verdict came about, in words: model, hyperparameters, looks, and the inequality that decided."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tabulate import tabulate

from pytest_vllmperf.records.verdict import Status
from pytest_vllmperf.report import units
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.stats.prior import Prior
from pytest_vllmperf.verdict.explanation import (
    DECLINES,
    MIN_ENGINES,
    Basis,
    Budget,
    Clause,
    ExactUsed,
    Explanation,
    Inequality,
    Look,
    ModelUsed,
    quantile,
)

_LABEL: Final = 10
_MOST_DIGITS: Final = 17
_OPPOSITE: Final = {">": "<=", "<=": ">", "<": ">=", ">=": "<"}


def prior_words(prior: Prior) -> str:
    """Hyperparameters and what they rest on; a spread is that of the logarithm."""
    fitted = f"fitted on {units.many(prior.metrics, 'metric')}, up to {units.many(prior.sessions, 'session')}"
    return (
        f"session {fine_percent(prior.session_sd)} (spread {prior.session_spread:.2g}), "
        f"engine {fine_percent(prior.engine_sd)} (spread {prior.engine_spread:.2g}), "
        f"correlation {prior.correlation:.2g}, at least {fine_percent(prior.floor)}; "
        f"{fitted if prior.metrics else 'class prior'}"
    )


def fine_percent(fraction: float) -> str:
    """A standard deviation: two significant digits, as quiet machines lie far below 1 %."""
    return f"{fraction * 100:.2g} %"


def basis_lines(basis: Basis, width: int = WIDTH) -> list[str]:
    """What all verdicts of a command rest on."""
    source = (
        f"all baselines of the same hardware below {basis.fitted_on}"
        if basis.whole_profile
        else f"the checks of {basis.fitted_on} only, because it is not in the folder of its profile"
    )
    texts = [
        f"pytest-vllmperf {basis.version}. Differences are in log units; larger is worse, and 0.05 is about 5 "
        f"%. q(p) is the value that d exceeds with probability 1 - p if nothing changed. The last look decides: "
        f"a stored session is judged by all of its engine starts at once.",
        f"error budget: {units.many(basis.gated_metrics, 'gated metric')} that are subject to noise, in "
        f"{units.many(basis.checks, 'check')}: a_fail = {basis.a_fail:.4g} for each",
        f"hyperparameters are fitted on {source}",
    ]
    return [line for text in texts for line in folded(text, width)]


def explanation_lines(one: Explanation, width: int = WIDTH) -> list[str]:
    """How the verdict on one metric came about: labels on the left, and what they stand for, at most `width` wide."""
    lines = []
    for label, texts in _parts(one):
        shown = [line for text in texts for line in _broken(text, width - _LABEL)]
        lines += [f"{'' if number else label:<{_LABEL}}{line}" for number, line in enumerate(shown)]
    return lines


def _broken(text: str, width: int) -> list[str]:
    """A text, folded; a row of a table stays as it is."""
    return folded(text, width, "  ") if len(text) > width else [text]


def _parts(one: Explanation) -> Iterator[tuple[str, Sequence[str]]]:
    yield "decided", _decided(one)
    if one.exact is not None:
        yield from _exact(one, one.exact)
    if one.model is None or one.budget is None or one.prior is None:
        return
    budget = one.budget
    yield "margin", [f"{units.margin(one.margin)}: M = {_log(one.log_margin)}"]
    errors = f"a_fail = {budget.a_fail:.4g} per look, a_drift = {budget.a_drift:.4g} per drift test"
    yield "errors", [f"{errors}, a_pass = {budget.a_pass:.4g}"]
    yield "prior", [prior_words(one.prior)]
    believed = f"session sd {fine_percent(one.model.session_sd)}, engine sd {fine_percent(one.model.engine_sd)}"
    yield "believed", [believed, *(["the stored engine starts form separate groups"] if one.model.multimodal else [])]
    if one.paired:
        yield "paired", ["by request: the median over requests of the log ratio of each request to its stored mean"]
    yield from _levels(one, one.model)
    yield "looks", _looks(one.looks, budget)
    yield "drift", [_drift(one.looks[-1], budget)]


def _decided(one: Explanation) -> list[str]:
    """The inequality that decided; or what the command made of an open look, as no further engine comes."""
    if one.exact is not None:
        return [f"{one.status}: {_sides(one.exact)}"]
    if not one.looks:
        return [f"{one.status}: {one.reason}" if one.reason else one.status.value]
    last = one.looks[-1]
    if (clause := last.decided_by) is not None:
        return [f"{last.status}: {_joined(clause.inequalities)}"]
    if one.status is Status.REGRESSED:
        return [_far_beyond(next(clause for clause in last.clauses if clause.status is Status.REGRESSED))]
    why_not = dict.fromkeys(f"not {clause.status}: {_joined(_failing(clause))}" for clause in last.clauses)
    return [f"{one.status}: after {units.many(last.engines, 'engine')} none of the inequalities holds:", *why_not]


def _far_beyond(regressed: Clause) -> str:
    shown = [one for one in regressed.inequalities if one.holds]
    (few,) = _failing(regressed)
    return (
        f"REGRESSED: {_joined(shown)}. It needs {few.limit:g} {few.left} and has {few.value:g}. No further "
        f"engine can be measured, and a change this large is not accepted as noise"
    )


def _failing(clause: Clause) -> list[Inequality]:
    return [one for one in clause.inequalities if not one.holds]


def _joined(inequalities: Sequence[Inequality]) -> str:
    """The inequalities with their numbers; that there were enough engines is not worth a word."""
    return " and ".join(_inequality(one) for one in inequalities if not (one.holds and one.right == MIN_ENGINES))


def _inequality(one: Inequality) -> str:
    """One of them as it is found: that d > M does not hold reads `d = 0.0418 <= M = 0.0513`."""
    if one.left == DECLINES:
        return "nothing has crept" if one.holds else f"a decline is {DECLINES}"
    relation = one.relation if one.holds else _OPPOSITE[one.relation]
    if one.right == MIN_ENGINES:
        return f"{one.left} = {one.value:g} {relation} {one.limit:g}"
    value, limit = _told_apart(one.value, one.limit)
    terms = f" = {' + '.join(map(_log, one.terms))}" if one.terms else ""
    return f"{one.left}{terms} = {value} {relation} {one.right} = {limit}"


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Two numbers with four decimals, or with as many as tell them apart."""
    shown = ((f"{a:.{digits}f}", f"{b:.{digits}f}") for digits in range(4, _MOST_DIGITS))
    return next((pair for pair in shown if pair[0] != pair[1]), (_log(a), _log(b)))


def _log(number: float | None) -> str:
    """A number in log units; an infinite margin comes back from JSON as none."""
    return "inf" if number is None else f"{number:.4f}"


def _levels(one: Explanation, model: ModelUsed) -> Iterator[tuple[str, list[str]]]:
    """Where the stored sessions lie, and what was done to them."""
    count = len(model.layout)
    each = f"{model.layout[0]}" if len(set(model.layout)) == 1 else " + ".join(map(str, model.layout))
    texts = [f"{units.many(count, 'session')} of {each} engines, at {_values(one, model.sessions)}"]
    if model.gap is not None:
        texts.append(f"{units.many(model.gap[1], 'more session')} before session {model.gap[0] + 1}")
    for number, moved in enumerate(model.sessions_pulled_log, 1):
        if moved:
            texts.append(
                f"session {number}: the weight of an outlying engine was reduced, which moved the level by {moved:+.4f}"
            )
    yield "sessions", texts
    anchor = "of the only session" if count == 1 else f"the mean of the first {model.anchor} sessions"
    pulled = f"; the weight of an outlying session was reduced, which moved it by {model.level_pulled_log:+.4f}"
    yield "level", [f"{_values(one, [model.level])}, {anchor}{pulled if model.level_pulled_log else ''}"]


def _values(one: Explanation, values: Sequence[float]) -> str:
    """Values with their unit, once where it is the same."""
    if one.paired:
        return ", ".join(f"{round((value - 1) * 100, 2) + 0.0:+.2f} %" for value in values)
    shown = [units.value(one.metric, value) for value in values]
    unit = shown[-1].rpartition(" ")[2]
    return ", ".join([*(text.removesuffix(f" {unit}") for text in shown[:-1]), shown[-1]])


def _looks(looks: Sequence[Look], budget: Budget) -> list[str]:
    heads = ["engines", "d", "change", quantile(budget.a_fail), quantile(budget.a_pass), "status"]
    rows = [
        [
            str(one.engines), f"{one.difference:+.4f}", units.percent(one.change), _log(one.fail_reach),
            _log(one.pass_reach), one.status.value,
        ]
        for one in looks
    ]  # fmt: skip
    table = tabulate(rows, heads, tablefmt="plain", disable_numparse=True, colalign=["right"] * 5 + ["left"])
    return [line.rstrip() for line in table.splitlines()]


def _drift(last: Look, budget: Budget) -> str:
    """What was asked about drift at the last look."""
    if not last.creep:
        return "not tested: it needs two stored sessions"
    chance = quantile(budget.a_drift)
    asked = [f"{one.question} loss {one.loss:+.4f} against {chance} = {_log(one.reach)}" for one in last.creep]
    return ", ".join([*asked, f"jump {last.jump:+.4f}", f"before {last.before:+.4f}"])


def _exact(one: Explanation, used: ExactUsed) -> Iterator[tuple[str, list[str]]]:
    yield "stored", [f"{_range(one, min(used.stored), max(used.stored))}, {units.many(len(used.stored), 'engine')}"]
    if one.margin:
        tolerated = _range(one, used.low, used.high)
        yield "margin", [f"{units.margin(one.margin)}: {tolerated} is tolerated"]
    yield "new", [_values(one, used.new)]


def _range(one: Explanation, low: float, high: float) -> str:
    return _values(one, [low]) if low == high else f"{_values(one, [low])} to {_values(one, [high])}"


def _sides(used: ExactUsed) -> str:
    """Where the new engines lie."""
    places = ((used.within, "within"), (used.above, "above"), (used.below, "below"))
    found = [f"{count} {place}" for count, place in places if count]
    alone = ", which a second engine would have to confirm" if len(used.new) == 1 and not used.within else ""
    return f"{' and '.join(found)} the stored range, out of {units.many(len(used.new), 'new engine')}{alone}"

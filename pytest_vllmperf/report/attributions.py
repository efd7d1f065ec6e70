"""Where a regression's time went, in words: GPU time by kernel, idle time, clocks, and the parts of a request."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import METRICS, AllMetrics
from pytest_vllmperf.records.attribution import Attribution, Change, KernelChange, Seen
from pytest_vllmperf.records.verdict import MetricVerdict, Verdict
from pytest_vllmperf.report import units
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.verdict.attribution import slower

NAME: Final = 44
"""Characters of a kernel's name in a line of text; the middle is left out."""

_INDENT: Final = "    "
_NO_BREAK: Final = "\u00a0"
_KEPT: Final = re.compile(r"(?<=\d) (?=(?:%|ms|us|s)(?!\w))|(?<= x) (?=\d)")
"""Spaces that no line is broken at: before a unit, and before how often a kernel runs."""

_MOST_NAMED: Final = 3
_MOST_REPLACED: Final = 2
"""So many of those that are new are named, and so many of those that are gone."""
_WORTH_NAMING: Final = 0.05
"""A kernel is named where its change is at least this share of that of all kernels, and of the largest."""

_UNCHANGED: Final = MetricClass.GPU_TIME.own_margin or 0.0
_IDLED_MORE: Final = 0.01
_CLOCK_MOVED: Final = 0.005
_CAPPED: Final = 0.05
_TIMES_MOVED: Final = 0.005

_CLOCKS: Final = (
    ("SM clock", AllMetrics.device_pass_sm_clock.name),
    ("memory clock", AllMetrics.device_pass_memory_clock.name),
)
_STEPS: Final = (
    ("prefill steps", AllMetrics.gpu_time_prefill.name),
    ("a decode step", AllMetrics.gpu_time_decode_step.name),
)
_REQUEST: Final = tuple(
    (one.name, f"{one.name}.mean") for one in (AllMetrics.queue, AllMetrics.prefill, AllMetrics.decode)
)


def below_verdicts(
    verdict: Verdict, found: Attribution | None, *, against: str = "baseline", width: int = WIDTH
) -> list[str]:
    """What follows the metrics of a check: where the time went, if one of time regressed."""
    regressed = slower(verdict.metrics)
    return attribution_lines(found, regressed, against=against, width=width) if found and regressed else []


def below_metric(
    judged: MetricVerdict,
    verdict: Verdict,
    found: Attribution | None,
    *,
    against: str = "baseline",
    width: int = WIDTH,
) -> list[str]:
    """What follows the line of one metric: of GPU time what the device did, unless `below_verdicts` tells it."""
    if found is None or judged.metric != AllMetrics.gpu_time.name or slower(verdict.metrics):
        return []
    return note_lines(found, against=against, width=width)


def attribution_lines(
    found: Attribution, regressed: Collection[str], *, against: str = "baseline", width: int = WIDTH
) -> list[str]:
    """Where the time of regressed metrics went; empty where nothing is known of it.

    Args:
        found: both sides, compared.
        regressed: names of these metrics.
        against: what the side before is called.
        width: columns of a line.
    """
    wall = any(METRICS[name].kind is not MetricClass.GPU_TIME for name in regressed)
    lines = paragraph(list(_gpu(found, regressed, against, wall=wall)), width)
    lines += paragraph(list(_missing(found, against)), width)
    return [*lines, *(paragraph(list(_parts_of_request(found)), width) if wall else ())]


def note_lines(found: Attribution, *, against: str = "baseline", width: int = WIDTH) -> list[str]:
    """What is to be known of a GPU time that did not regress, indented; empty where there is nothing."""
    parts = [*device_parts(found, against), *_launches(found)]
    return [f"{_INDENT}{line}" for line in paragraph(parts, width - len(_INDENT))]


def launch_line(found: Attribution) -> str:
    """How the number of kernels changed; empty where it did not."""
    return next(_launches(found), "")


def device_parts(found: Attribution, against: str = "baseline") -> list[str]:
    """What the device itself did differently while its time was taken: clocks, and the power limit."""
    parts = []
    for label, name in _CLOCKS:
        change = found.levels.get(name)
        if change is not None and change.relative is not None and abs(change.relative) > _CLOCK_MOVED:
            ratio = change.after / change.before
            parts.append(f"{label} {units.pair(name, change.before, change.after)} (x{ratio:.3g})")
    capped = found.levels.get(AllMetrics.device_pass_power_capped.name)
    if capped is not None and max(capped.before, capped.after) > _CAPPED:
        now, then = (f"{share:.0%}".replace("%", " %") for share in (capped.after, capped.before))
        parts.append(f"the power limit reduced the clocks {now} of the time ({then} in the {against})")
    return parts


def _gpu(found: Attribution, regressed: Collection[str], against: str, *, wall: bool) -> Iterator[str]:
    """The GPU's own time, and what it idled; where its time did not grow, the host lost what is missing."""
    change = _relative(found)
    if found.gpu_time is None or change is None:
        return
    idle = found.levels.get(AllMetrics.gpu_idle_share.name)
    grew = change > _UNCHANGED or AllMetrics.gpu_time.name in regressed
    if wall and not grew and idle is not None and idle.difference > _IDLED_MORE:
        moved = "fell" if change < -_UNCHANGED else "unchanged"
        yield (
            f"host: GPU time {moved} ({units.percent(change)}), {_idled(idle, against)}; the additional time "
            f"is on the CPU"
        )
        yield from _waited(found, against)
        yield from device_parts(found, against)
        yield from _launches(found)
        return
    bounds = "" if found.interval is None else f" {units.percent_range(found.interval.low, found.interval.high)}"
    pair = units.pair(AllMetrics.gpu_time.name, found.gpu_time.before, found.gpu_time.after)
    yield f"GPU time {pair}  {units.percent(change)}{bounds}"
    yield from device_parts(found, against)
    yield from _launches(found)
    if grew:
        yield from _named(found)
        yield from _not_always_named(found)
        yield from _changed(found, _STEPS)
    if wall and idle is not None:
        yield _idled(idle, against)
    if wall:
        yield from _waited(found, against)


def _relative(found: Attribution) -> float | None:
    """The change of GPU time: as it was judged, if it was."""
    if found.interval is not None:
        return found.interval.change
    return None if found.gpu_time is None else found.gpu_time.relative


def _idled(idle: Change, against: str) -> str:
    now, then = (units.value(AllMetrics.gpu_idle_share.name, share) for share in (idle.after, idle.before))
    return f"the GPU idled {now} of the iteration ({then} in the {against})"


def _waited(found: Attribution, against: str) -> Iterator[str]:
    """How long the GPUs of an engine waited for each other, which is no GPU time, and no idle time either."""
    waited = found.levels.get(AllMetrics.gpu_time_waiting.name)
    if waited is not None:
        now, then = (units.value(AllMetrics.gpu_time_waiting.name, took) for took in (waited.after, waited.before))
        yield f"a GPU waited {now} for the others ({then} in the {against})"


def _launches(found: Attribution) -> Iterator[str]:
    count = found.levels.get(AllMetrics.gpu_kernels.name)
    if count is not None and found.launches_differ:
        yield f"kernels {units.pair(AllMetrics.gpu_kernels.name, count.before, count.after)}"


def _named(found: Attribution) -> Iterator[str]:
    """The kernels that changed most, and what share of the change they explain.

    Where a library chose other kernels, those that are new and those that are gone are large, and only their difference
    is a change of time.
    """
    total = found.total
    if total is None or not found.kernels:
        return
    groups = {seen: _worth_naming(found, seen, total) for seen in (Seen.BOTH, Seen.NEW, Seen.GONE)}
    chosen = tuple(one for group in groups.values() for one in group)
    if not chosen:
        return
    share = found.share(chosen)
    known = share is not None and 0 < share < 1.005
    together = f", of {units.many(found.ranks, 'GPU')} together," if found.ranks > 1 else ""
    head = f"{share:.0%} of it{together} in".replace("%", " %") if known else f"changed most{together.rstrip(',')}:"
    texts = [_several(groups[Seen.BOTH])]
    texts += [f"{seen.value}: {_several(groups[seen])}" for seen in (Seen.NEW, Seen.GONE) if groups[seen]]
    if groups[Seen.NEW] and groups[Seen.GONE]:
        texts.append(f"new and removed kernels together {signed(_sum([*groups[Seen.NEW], *groups[Seen.GONE]]))}")
    colon = ":" if known and groups[Seen.BOTH] else ""
    yield f"{head}{colon} {'; '.join(filter(None, texts))}"


def _not_always_named(found: Attribution) -> Iterator[str]:
    """Kernels that some engines have among those without a name, so that their change is not known.

    Told where they may be a part of the change: one that went the other way has mostly lost its place to another one.
    """
    total = found.total
    if total is None or total.difference == 0:
        return
    share = {one: one.seconds.difference / total.difference for one in found.unsure}
    much = [one for one in found.unsure if share[one] >= _WORTH_NAMING][:_MOST_NAMED]
    if much:
        yield f"not among the largest of every engine: {', '.join(map(_levels, much))}"


def _levels(one: KernelChange) -> str:
    """What is known of such a kernel: `rope_kernel (now 2.86 ms)` where the side before does not name it."""
    before, after = (_rounded(side.seconds) if side.seconds else "" for side in (one.before, one.after))
    known = f"{before} -> {after}" if before and after else f"now {after}" if after else f"{before} before"
    return f"{brief(one.name)} ({known})"


def _worth_naming(found: Attribution, seen: Seen, total: Change) -> list[KernelChange]:
    """The kernels of a group that changed by much; all that are new, or gone, where one of them did.

    Much is a share of the change of all kernels; where that is next to nothing, of the largest change.
    """
    group = [one for one in found.kernels if one.seen is seen]
    largest = abs(found.kernels[0].seconds.difference) if seen is Seen.BOTH else 0.0
    little = abs(total.difference) < _WORTH_NAMING * largest
    least = _WORTH_NAMING * (largest if little else abs(total.difference))
    much = [one for one in group if abs(one.seconds.difference) >= least > 0]
    if seen is Seen.BOTH:
        return much[:_MOST_NAMED]
    return group if much else []


def _several(group: Sequence[KernelChange]) -> str:
    """Kernels by name, and what more there are together."""
    shown = group[:_MOST_REPLACED] if any(one.seen is not Seen.BOTH for one in group) else group
    more = group[len(shown) :]
    rest = f" and {len(more)} more ({signed(_sum(more))})" if more else ""
    return ", ".join(map(_kernel, shown)) + rest


def _sum(group: Sequence[KernelChange]) -> float:
    return sum(one.seconds.difference for one in group)


def _kernel(one: KernelChange) -> str:
    """One kernel: `flash_fwd +11.9 ms (+9.4 %)`, or `rope_kernel_v2 x 3,584 (+1.2 ms)` for one that is new or gone."""
    name, change = brief(one.name), signed(one.seconds.difference)
    if one.seen is not Seen.BOTH:
        times = one.after.times or one.before.times
        return f"{name} x {units.count(times)} ({change})"
    told = [units.percent(one.seconds.relative)]
    moved = one.times.relative
    if moved is not None and abs(moved) > _TIMES_MOVED:
        told.append(f"x {units.count(one.before.times)} -> {units.count(one.after.times)}")
    return f"{name} {change} ({', '.join(filter(None, told))})"


def signed(seconds: float) -> str:
    """A change of time with its sign: `+11.9 ms`."""
    return f"{'-' if seconds < 0 else '+'}{_rounded(abs(seconds))}"


def _rounded(seconds: float) -> str:
    """Three digits say enough of a change."""
    return units.seconds(float(f"{seconds:.3g}"))


def brief(name: str, length: int = NAME) -> str:
    """A kernel's name with its middle left out where it is longer; what tells overloads apart stands at the end."""
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return f"{name[: length - 1 - tail]}…{name[-tail:]}"


def _missing(found: Attribution, against: str) -> Iterator[str]:
    """Why a side has no device pass, where only one has none and the reason is known."""
    sides = ((found.no_pass_before, f"in the {against}"), (found.no_pass_after, "now"))
    told = [f"GPU time was not measured {where}: {reason}" for reason, where in sides if reason]
    if len(told) == 1 and found.gpu_time is None:
        yield told[0]


def _parts_of_request(found: Attribution) -> Iterator[str]:
    """The mean time of a request in the queue, in prefill and in decode."""
    parts = list(_changed(found, _REQUEST))
    if parts:
        yield f"mean of a request: {parts[0]}"
        yield from parts[1:]


def _changed(found: Attribution, levels: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Levels with both sides; those that are nothing on both are left out."""
    for label, name in levels:
        change = found.levels.get(name)
        if change is not None and max(change.before, change.after) > 0:
            yield f"{label} {units.pair(name, change.before, change.after)}"


def paragraph(parts: Sequence[str], width: int = WIDTH) -> list[str]:
    """Parts joined by a middle dot, broken between them where they do not fit, and within one that is too long."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            kept = _KEPT.sub(_NO_BREAK, f"{_INDENT}{part}" if lines else part)
            lines += [line.replace(_NO_BREAK, " ") for line in folded(kept, width)]
    return lines

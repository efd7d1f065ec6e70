"""How well the GPU's own time repeats, and what a gate on it makes of equal and of slower engines.

    python -m bench.gpu_time baselines/nvidia-h200/tests/studies/test_gpu_time.json [MORE.json ...] \\
        --new busy.json block_size.json [--check test_host_bound] [--draws 10000] [--gated 10]

Three tables for each check, in Markdown:
  spread     of the GPU's time and of what it may be divided by: in an engine, between engines, between sessions
  splits     every way to take stored sessions and a new one out of the file, judged as pytest judges them
  resampled  draws of stored and new engines; a change multiplies the GPU time of all new engines by 1 + so much
New engines of a draw are of the same session as the stored ones, of another one, or of a file of `--new`: engines
beside busy neighbours, or with a small change. Hyperparameters are fitted on what is stored in the draw, as in a run.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median, stdev
from typing import Final

from tabulate import tabulate

from bench.gpu_draws import CHANGES, STORED, engine_values, every, kinds, resampled
from pytest_vllmperf.metrics.declaration import MetricClass
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import EngineSamples, Session
from pytest_vllmperf.records.verdict import Status, Verdict
from pytest_vllmperf.stats import FloatArray
from pytest_vllmperf.storage.baselines import load
from pytest_vllmperf.verdict import (
    Evidence,
    VerdictSettings,
    family_a_fail,
    judge,
)
from pytest_vllmperf.verdict.priors import class_prior, fit_priors

WALL: Final = "output_throughput"

Values = Callable[[EngineSamples], Sequence[float]]


def metric(name: str) -> Values:
    """The samples of a metric."""
    return lambda engine: engine.values(name)


def divided(name: str, by: str) -> Values:
    """The samples of a metric over what a counter said of the counted iterations, the median."""

    def values(engine: EngineSamples) -> Sequence[float]:
        count = engine.values(by)
        return [value / median(count) for value in engine.values(name)] if count else []

    return values


NORMALISATIONS: Final[Mapping[str, Values]] = {
    "GPU time of an iteration": metric("gpu_time"),
    "GPU time per engine step": divided("gpu_time", "engine_steps"),
    "GPU time per generated token": divided("gpu_time", "output_tokens"),
    "GPU time of decode steps, per step": metric("gpu_time.decode_step"),
    "GPU time of prefill steps": metric("gpu_time.prefill"),
    "GPU busy time": metric("gpu_busy"),
    "kernels": metric("gpu_kernels"),
    "output throughput, by the wall clock": metric(WALL),
}


@dataclass(frozen=True)
class Spread:
    """How far equal things lie apart; standard deviations as fractions of the mean, None where there is only one.

    in_engine: of the iterations, the median over engines. engines: of the engines' medians around their session's mean.
    sessions: of the sessions' means. farthest_engines: from the lowest engine of a session to its highest, the largest.
    farthest_sessions: the same of the sessions' means.
    """

    in_engine: float | None
    engines: float | None
    sessions: float | None
    farthest_engines: float
    farthest_sessions: float


def spread(sessions: Sequence[Session], values: Values) -> Spread | None:
    """The spread of one figure; None where an engine has not measured it."""
    measured = [[list(values(engine)) for engine in session.engines] for session in sessions]
    if not all(samples for session in measured for samples in session):
        return None
    within = [stdev(samples) / mean(samples) for one in measured for samples in one if len(samples) > 1]
    centres = [[median(samples) for samples in session] for session in measured]
    levels = [mean(session) for session in centres]
    level = mean(levels)
    residuals = [(value - mean(one)) ** 2 for one in centres for value in one]
    freedom = len(residuals) - len(centres)
    return Spread(
        in_engine=median(within) if within else None,
        engines=math.sqrt(sum(residuals) / freedom) / level if freedom else None,
        sessions=stdev(levels) / level if len(levels) > 1 else None,
        farthest_engines=max((max(one) - min(one)) / level for one in centres),
        farthest_sessions=(max(levels) - min(levels)) / level,
    )


def splits(sessions: Sequence[Session]) -> Iterator[tuple[str, list[Session], list[EngineSamples]]]:
    """Every way to judge a part of a campaign by another one.

    Each session by each other one, by all others, and its second half by its first and the other way round. A stored
    part has at least three engines. Yields what kind it is, what is stored, and the new engines.
    """
    for new in sessions:
        others = [one for one in sessions if one is not new]
        enough = [one for one in others if len(one.engines) >= STORED]
        yield from (("a session by another one", [one], new.engines) for one in enough)
        if len(others) > 1 and enough:
            yield "a session by all others", others, new.engines
        middle = len(new.engines) // 2
        halves = new.engines[:middle], new.engines[middle:]
        for stored, judged in (halves, halves[::-1]):
            if len(stored) >= STORED and judged:
                yield "half a session by the other half", [new.model_copy(update={"engines": stored})], judged


def ended(stored: Sequence[Session], new: Sequence[EngineSamples], settings: VerdictSettings) -> Status:
    """How a check ends that looks after each of these engines, six at most."""
    settings = replace(settings, priors={**settings.priors, **fit_priors([stored])})
    verdict: Verdict | None = None
    engines = new[: settings.max_engines]
    for count in range(1, len(engines) + 1):
        last = count == len(engines)
        verdict = judge(Evidence(stored, engines[:count], settings, previous=verdict, last_look=last))
        if verdict.status is not Status.UNDECIDED:
            break
    assert verdict is not None
    return verdict.status


def per_cent(share: float | None) -> str:
    """A share, or a dash."""
    return "–" if share is None else f"{share:.2%}"


def spread_table(sessions: Sequence[Session]) -> str:
    """The first table."""
    found = [(name, spread(sessions, values)) for name, values in NORMALISATIONS.items()]
    rows = [
        [name, *map(per_cent, (it.in_engine, it.engines, it.farthest_engines, it.sessions, it.farthest_sessions))]
        for name, it in found
        if it is not None
    ]
    header = ["figure", "in an engine", "engines, sd", "farthest apart", "sessions, sd", "farthest apart"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def split_table(sessions: Sequence[Session], settings: VerdictSettings) -> str:
    """The second table."""
    found: dict[str, Counter[Status]] = {}
    for kind, stored, new in splits(sessions):
        found.setdefault(kind, Counter())[ended(stored, new, settings)] += 1
    statuses = (Status.OK, Status.REGRESSED, Status.DRIFTED, Status.IMPROVED, Status.NOISY, Status.UNDECIDED)
    rows = [[kind, counts.total(), *(counts[status] for status in statuses)] for kind, counts in found.items()]
    return tabulate(rows, ["judged", "splits", *(status.name for status in statuses)], tablefmt="github")


def resampled_table(
    sessions: Sequence[FloatArray], new: Mapping[str, Sequence[FloatArray]], settings: VerdictSettings, draws: int
) -> str:
    """The third table."""
    rows = []
    for kind in kinds(sessions, new):
        found = resampled(kind, settings, draws)
        both = zip(found.third, found.end, strict=True)
        rows.append([kind.name, kind.count, *(f"{at_third:.2%} / {end:.2%}" for at_third, end in both)])
    header = [
        "new engines of",
        "stored sessions",
        "false alarms",
        *(f"found at +{change:.1%}" for change in CHANGES[1:]),
    ]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def rows_of(judged: str, engines: Sequence[EngineSamples]) -> list[str]:
    """The metric that is judged, then those of its class that every engine has measured: they say how noisy it is."""
    alike = [one.name for one in METRICS.values() if one.kind is METRICS[judged].kind and one.decides]
    return [judged, *(name for name in alike if name != judged and all(engine.values(name) for engine in engines))]


@dataclass(frozen=True)
class Asked:
    """How a metric is judged, the only one in the gate, and how many draws make a row."""

    settings: VerdictSettings
    draws: int


def by_check(files: Sequence[Path]) -> dict[str, list[Session]]:
    """The sessions of each check, those of all files one after the other."""
    found: dict[str, list[Session]] = {}
    for file in files:
        for check, entry in load(file).tests.items():
            found.setdefault(check, []).extend(entry.sessions)
    return found


def measured(sessions: Sequence[Session], judged: str) -> list[Session]:
    """Sessions without the engines that have not measured a metric; one that has none left is left out."""
    kept = [[engine for engine in one.engines if engine.values(judged)] for one in sessions]
    return [one.model_copy(update={"engines": those}) for one, those in zip(sessions, kept, strict=True) if those]


def report(check: str, every_session: Sequence[Session], others: Mapping[str, Sequence[Session]], asked: Asked) -> str:
    """The tables of one check.

    Args:
        check: its name.
        every_session: the campaign.
        others: sessions of new engines, by what they are called.
        asked: the metric, and how it is judged.
    """
    settings, judged = asked.settings, asked.settings.gate[0]
    sessions = measured(every_session, judged)
    new = {name: those for name, one in others.items() if (those := measured(one, judged))}
    without = len(every(every_session)) - len(every(sessions))
    title = f"## {check}: {len(every(sessions))} engines in {len(sessions)} sessions"
    title += f"; {without} without {judged} are left out\n" if without else "\n"
    if not sessions:
        return f"{title}\n{spread_table(every_session)}\n\nNo engine has measured {judged}: nothing is judged."
    together = [engine for one in (sessions, *new.values()) for engine in every(one)]
    names = rows_of(judged, together)
    values = engine_values(sessions, names)
    theirs = {name: engine_values(one, names) for name, one in new.items()}
    margin = settings.margin_of(METRICS[judged])
    parts = [
        title,
        spread_table(sessions),
        f"\n{judged}, margin {margin:.1%}, every split:\n",
        split_table(sessions, settings),
        f"\n{asked.draws} draws a row; by the third engine / in the end:\n",
        resampled_table(values, theirs, settings, asked.draws),
    ]
    return "\n".join(parts)


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How well GPU time repeats, and what a gate on it finds.")
    parser.add_argument("files", type=Path, nargs="+", help="baseline files: the campaign, their sessions together")
    parser.add_argument("--new", type=Path, nargs="*", default=[], help="baseline files of the same checks")
    parser.add_argument("--check", default="", help="checks whose name starts so")
    parser.add_argument("--metric", default="gpu_time", choices=[
        one.name for one in METRICS.values() if one.kind is MetricClass.GPU_TIME
    ])  # fmt: skip
    parser.add_argument("--draws", type=int, default=10000)
    parser.add_argument("--gated", type=int, default=10, help="metrics that share the run's budget of false alarms")
    told = "hyperparameters of the class that draws start from, such as session_sd=0.002"
    parser.add_argument("--prior", nargs="*", default=[], metavar="NAME=VALUE", help=told)
    asked = parser.parse_args()
    kind = METRICS[asked.metric].kind
    tried = {name: float(value) for name, value in (one.split("=") for one in asked.prior)}
    priors = {kind: replace(class_prior(kind), **tried)}  # type: ignore[arg-type]
    settings = VerdictSettings((asked.metric,), a_fail=family_a_fail(asked.gated), priors=priors)
    others = {file.stem: by_check([file]) for file in asked.new}
    for check, sessions in by_check(asked.files).items():
        if check.startswith(asked.check):
            new = {name: tests[check] for name, tests in others.items() if check in tests}
            print(report(check, sessions, new, Asked(settings, asked.draws)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

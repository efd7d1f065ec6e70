"""`vllmperf baseline list`, `show` and `diff`: baseline files as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from pytest_vllmperf import stats
from pytest_vllmperf.checking import policy
from pytest_vllmperf.cli import judging
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.samples import Entry
from pytest_vllmperf.report import units
from pytest_vllmperf.report.explanations import prior_words
from pytest_vllmperf.report.limits import bound_words
from pytest_vllmperf.report.names import WIDTH
from pytest_vllmperf.report.verdicts import folded
from pytest_vllmperf.stats import ANCHOR_SESSIONS
from pytest_vllmperf.stats.prior import Prior
from pytest_vllmperf.storage.baselines import BaselineStore
from pytest_vllmperf.verdict import VerdictSettings, outlook
from pytest_vllmperf.verdict.comparability import changes, environment_differences, mixed, not_compared
from pytest_vllmperf.verdict.samples import metric_samples


def listing(folder: Path, *, as_json: bool) -> str:
    """Every stored check below a folder.

    Raises:
        BaselineError: for a folder that does not exist, or a file that cannot be read.
    """
    if not folder.is_dir():
        raise BaselineError(f"{folder}: no such folder; name the folder of the baselines with --baselines")
    store = BaselineStore(folder)
    rows = [
        {"profile": profile, "module": module, "check": name, **_summary(entry)}
        for profile, module in store.modules()
        for name, entry in store.read(profile, f"{module}.py").tests.items()
    ]
    if as_json:
        return json.dumps(rows, indent=1)
    if not rows:
        return f"no baselines below {folder}"
    lines: list[str] = []
    for place in dict.fromkeys((row["profile"], row["module"]) for row in rows):
        own = [row for row in rows if (row["profile"], row["module"]) == place]
        table = [[row["check"], row["sessions"], row["engines"], row["recorded"], row["reason"]] for row in own]
        lines.append(f"{place[0]}/{place[1]}.json")
        lines.append(_table(table, ["check", "sessions", "engines", "recorded", "reason"]))
    return "\n".join(lines)


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "sessions": len(entry.sessions),
        "engines": sum(len(session.engines) for session in entry.sessions),
        "recorded": entry.sessions[-1].recorded[:10],
        "reason": entry.reason,
    }


def show(file: Path, check: str | None, asked: judging.Asked, *, as_json: bool) -> str:
    """Levels and noise of every metric that decides, and the smallest slowdown that will be found.

    Raises:
        BaselineError: for a file that is not there or cannot be read, or has no such check.
        SpecError: for a gate or a margin that is not valid.
    """
    tests = judging.read(file).tests
    if check is not None and check not in tests:
        raise BaselineError(f"{file} has no check {check!r}; it has {', '.join(sorted(tests)) or 'none'}")
    chosen = {name: entry for name, entry in tests.items() if check in (None, name)}
    settings = judging.settings(list(chosen.values()), asked, judging.fitted(file, tests.values()))
    shown = {name: _shown(entry, one) for (name, entry), one in zip(chosen.items(), settings, strict=True)}
    if as_json:
        return json.dumps(shown, indent=1)
    return "\n".join(line for name, one in shown.items() for line in _shown_lines(name, one))


def _shown(entry: Entry, settings: VerdictSettings) -> dict[str, Any]:
    noises = {one.metric: one for one in outlook(entry.sessions, settings)}
    metrics: dict[str, dict[str, Any]] = {}
    for name in settings.gate:
        engines = metric_samples(METRICS[name], entry.sessions, ()).stored_engines
        if not engines:
            continue
        metrics[name] = {"level": stats.center(engines), "margin": settings.margin_of(METRICS[name])}
        if name in noises:
            noise = noises[name].noise
            metrics[name] |= {
                "session_sd": noise.session_sd,
                "engine_sd": noise.engine_sd,
                "detectable": noise.detectable,
                "testable": noise.testable,
                "sessions_to_test": noise.sessions_to_test,
                "multimodal": noise.multimodal,
                "prior": asdict(noise.prior),
            }
    return {
        "engine": entry.engine,
        **_summary(entry),
        "dropped": sum(session.dropped for session in entry.sessions),
        "not_comparable": mixed(entry.sessions),
        "environment": entry.sessions[-1].environment.hard,
        "metrics": metrics,
        "limits": entry.judging.limits,
    }


_YOUNG, _GROUPS = "*", "+"


def _shown_lines(name: str, shown: dict[str, Any]) -> list[str]:
    head = [name, *folded(f"  engine: {shown['engine']}")]
    dropped = f" ({shown['dropped']} sessions after the first {ANCHOR_SESSIONS} were dropped)"
    counts = f"{units.many(shown['sessions'], 'session')}, {units.many(shown['engines'], 'engine start')}"
    counts += f", the newest of {shown['recorded']}"
    head += folded(f"  {counts}{dropped if shown['dropped'] else ''}")
    head += [line for why in shown["not_comparable"] for line in folded(f"  not comparable: {why}")]
    if shown["reason"]:
        head.append(f"  recorded again: {shown['reason']}")
    if shown["limits"]:
        told = (f"{METRICS[metric].label} {bound_words(metric, limit)}" for metric, limit in shown["limits"].items())
        head += folded(f"  limits: {', '.join(told)}")
    rows = []
    for metric, found in shown["metrics"].items():
        row = [METRICS[metric].label, units.value(metric, found["level"]), units.margin(found["margin"])]
        if "detectable" in found:
            row += [units.plain_percent(found[key]) for key in ("session_sd", "engine_sd", "detectable")]
            row.append(
                " ".join(
                    sign for sign, told in ((_YOUNG, not found["testable"]), (_GROUPS, found["multimodal"])) if told
                )
            )
        else:
            row += ["exact", "", "any", ""]
        rows.append(row)
    table = _table(rows, ["metric", "level", "margin", "session", "engine", "detects", ""])
    noisy = {METRICS[metric].label: found for metric, found in shown["metrics"].items() if "detectable" in found}
    notes = [line for text in _notes(noisy) for line in folded(text, WIDTH - 2)]
    return [*head, *(f"  {line}" for line in [*table.splitlines(), *notes])]


def _notes(noisy: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What the table's signs mean, and which hyperparameters its figures rest on; by the labels of metrics."""
    if noisy:
        yield "session, engine: noise between sessions, and between engine starts"
        yield "detects: smallest slowdown that the baseline detects (80 % of the time)"
    if young := {label: found["sessions_to_test"] for label, found in noisy.items() if not found["testable"]}:
        yield f"{_YOUNG} noise is still larger than the margin{_needed(young)}"
    if any(found["multimodal"] for found in noisy.values()):
        yield f"{_GROUPS} the stored engine starts form separate groups"
    priors: dict[str, list[str]] = {}
    for label, found in noisy.items():
        priors.setdefault(prior_words(Prior(**found["prior"])), []).append(label)
    for words, labels in priors.items():
        of = f" of {', '.join(labels)}" if len(priors) > 1 else ""
        yield f"prior{of}: {words}"


def _needed(young: Mapping[str, int | None]) -> str:
    """How many sessions these metrics need to test their margin, by label, and for which none suffice."""
    after = ", ".join(f"{label} {needed}" for label, needed in young.items() if needed is not None)
    never = ", ".join(label for label, needed in young.items() if needed is None)
    growing = f"; sessions needed to test the margin: {after}" if after else ""
    return f"{growing}; no number of sessions is enough for {never}: widen the margin" if never else growing


def diff(a: Path, b: Path, *, as_json: bool) -> str:
    """How two files differ: checks, gates and margins, environments, and levels of the metrics that both have.

    Raises:
        BaselineError: for a file that is not there or cannot be read.
    """
    before, after = judging.read(a).tests, judging.read(b).tests
    found: dict[str, Any] = {}
    for name in sorted(set(before) | set(after)):
        if name not in before or name not in after:
            found[name] = {"only_in": "a" if name in before else "b"}
        else:
            found[name] = _differences(before[name], after[name])
    if as_json:
        return json.dumps(found, indent=1)
    return "\n".join(line for name, one in found.items() for line in _diff_lines(name, one))


def _differences(before: Entry, after: Entry) -> dict[str, Any]:
    old, new = before.sessions[-1].environment, after.sessions[-1].environment
    levels = {}
    for metric in METRICS.ordered({*_measured(before), *_measured(after)}):
        sides = [
            [values for session in entry.sessions for e in session.engines if (values := e.values(metric))]
            for entry in (before, after)
        ]
        if all(sides):
            levels[metric] = [stats.center(side) for side in sides]
    return {
        "sessions": [len(before.sessions), len(after.sessions)],
        "hard": environment_differences(old, new),
        "soft": changes(old, new),
        "not_compared": not_compared(old, new),
        "judging": judging.changes(before.judging, after.judging),
        "levels": {metric: sides for metric, sides in levels.items() if sides[0] != sides[1]},
    }


def _measured(entry: Entry) -> frozenset[str]:
    return policy.measured([engine for session in entry.sessions for engine in session.engines])


def _diff_lines(name: str, found: dict[str, Any]) -> list[str]:
    if "only_in" in found:
        return [f"{name}: only in the {'first' if found['only_in'] == 'a' else 'second'} file"]
    lines = [f"{name}: {found['sessions'][0]} -> {found['sessions'][1]} sessions"]
    lines += [f"  must match but differs: {difference}" for difference in found["hard"]]
    lines += [f"  changed: {difference}" for difference in (*found["soft"], *found["judging"])]
    lines += [f"  {note}" for note in found["not_compared"]]
    rows = [
        [METRICS[metric].label, units.pair(metric, *sides), units.percent(sides[1] / sides[0] - 1) if sides[0] else ""]
        for metric, sides in found["levels"].items()
    ]
    return lines + [f"  {line}" for line in _table(rows).splitlines()]


def _table(rows: list[list[Any]], heads: list[str] | tuple[()] = ()) -> str:
    return tabulate(rows, heads, tablefmt="plain", disable_numparse=True)

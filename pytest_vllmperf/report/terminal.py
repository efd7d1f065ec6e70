"""What the terminal shows: verdict lines, failure texts and the summary. Made for 80 columns and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from pytest_vllmperf.metrics.table import METRICS, AllMetrics
from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.records.problems import in_words
from pytest_vllmperf.records.results import CheckRecord, ComparisonRecord, Keeping
from pytest_vllmperf.records.verdict import MetricVerdict, Outlook, Status
from pytest_vllmperf.report import attributions, references, units
from pytest_vllmperf.report.escaping import xml
from pytest_vllmperf.report.host_bound import host_bound
from pytest_vllmperf.report.ledger import ledger_lines
from pytest_vllmperf.report.names import Names
from pytest_vllmperf.report.verdicts import folded, metric_lines, outlook_lines, suite_lines

_COLUMNS = (
    ("output_throughput", "tok/s"),
    ("ttft.p50", "TTFT p50"),
    ("tpot.p50", "TPOT p50"),
    ("e2e.p50", "E2E p50"),
)
_NAME_WIDTH = 20
"""Columns that a name has in the table at least."""

_REMARKABLE = (Status.IMPROVED, Status.NOISY, Status.UNDECIDED)

_TOLD_BY_THE_FAILURE = (Status.REGRESSED, Status.DRIFTED)
"""Statuses of checks whose metrics stand in the failure of their test."""


def failure_lines(record: CheckRecord, changed: Sequence[str], command: str) -> list[str]:
    """Why a check fails its test, and what to do about it.

    Args:
        record: the check, judged.
        changed: soft keys in which the environment differs from what the check is judged by.
        command: what records this test's baseline.
    """
    verdict = record.verdict
    if verdict.status is Status.NO_BASELINE:
        why = "; ".join(verdict.reasons) or f"has none for {record.profile}"
        return [f"NO_BASELINE  {record.name}{': ' if verdict.reasons else ' '}{why}; record it with:", f"    {command}"]
    if verdict.status is Status.NOT_COMPARABLE and record.reference is not None:
        return folded(f"NOT_COMPARABLE  {record.name}: with {record.reference.name}: {'; '.join(verdict.reasons)}")
    if verdict.status is Status.NOT_COMPARABLE:
        advice = f"record it anew with:\n    {command.replace('--vllmperf-update-new', '--vllmperf-update')}"
        return [f"NOT_COMPARABLE  {record.name}: {'; '.join(verdict.reasons)}", advice]
    if verdict.status is Status.INVALID and verdict.reasons:
        return [f"INVALID  {record.name}: {'; '.join(verdict.reasons)}"]
    return [*_judged_lines(record, changed), *_acceptance(record, command)]


def _acceptance(record: CheckRecord, command: str) -> list[str]:
    """How to accept a level that was reached step by step; that of a regression is the same, and told in the docs."""
    if record.verdict.status is not Status.DRIFTED:
        return []
    recording = command.replace("--vllmperf-update-new", '--vllmperf-update --vllmperf-reason "..."')
    return ["if the new level is meant, accept it with:", f"    {recording}"]


def _judged_lines(record: CheckRecord, changed: Sequence[str]) -> list[str]:
    """A line for each metric, the one that decided first, and what differs from the baseline's environment."""
    verdict = record.verdict
    order = sorted(verdict.metrics, key=lambda judged: judged.status is not verdict.status)
    own = record.id.own
    lines = [f"check {own!r}:"] if own else []
    requests = len(record.session.engines[0].ttft_by_request)
    reference, found = record.reference, record.attribution
    against = references.before(reference)
    for judged in order:
        lines += metric_lines(judged, requests=requests)
        lines += attributions.below_metric(judged, verdict, found, against=against)
    for judged in verdict.information:
        lines += metric_lines(judged, gated=False)
    lines += attributions.below_verdicts(verdict, found, against=against)
    lines += folded(references.in_turns(reference)) if reference is not None else []
    since = "changed since the baseline" if reference is None else "reference and engine differ"
    for difference in changed:
        lines += folded(f"{since}: {difference}")
    lines += references.by_baseline(record)
    return [*lines, *(line for note in record.notes for line in folded(note))]


def properties(record: CheckRecord) -> list[tuple[str, object]]:
    """A check as JUnit properties: its status, and every metric in the unit of the table, without rounding.

    Of a metric that drifted, the change of its level too, as a fraction.
    """
    prefix = f"vllmperf.{record.id.own}".rstrip(".")
    status = record.verdict.status.value
    values = [(f"{prefix}.{metric}", _exact(value)) for metric, value in record.values.items()]
    drifts = [one for one in record.verdict.metrics if one.drift is not None]
    values += [(f"{prefix}.{one.metric}.drift", _exact(one.drift.change)) for one in drifts if one.drift is not None]
    found = [(f"{prefix}.status", status), (f"{prefix}.profile", record.profile), *values]
    if record.reference is not None:
        found += [(f"{prefix}.against", record.reference.name), (f"{prefix}.way", record.reference.way)]
    if record.by_baseline is not None:
        found.append((f"{prefix}.by_baseline", record.by_baseline.status.value))
    return [(xml(name), xml(value)) for name, value in found]


def _exact(value: float) -> str:
    """All digits of a number: a count or a size whole, another so that it reads back as the same number."""
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def names(checks: Sequence[CheckRecord], compared: Sequence[tuple[str, ComparisonRecord]], width: int) -> Names:
    """What the summary of a run calls its checks and comparisons.

    Args:
        checks: all checks of the run.
        compared: node id and comparison.
        width: columns of the terminal.
    """
    return Names([*(check.id for check in checks), *(_test(nodeid) for nodeid, _ in compared)], width)


def _test(nodeid: str) -> CheckId:
    return CheckId(TestId.parse(nodeid))


def summary_title(profiles: Sequence[str]) -> str:
    """The title of the summary section."""
    return "vllmperf" if not profiles else f"vllmperf: {', '.join(profiles)}"


def summary(checks: Sequence[CheckRecord], names: Names) -> list[str]:
    """A table of all checks, then a line for every gated metric that is not simply OK."""
    if not checks:
        return []
    ordered = sorted(checks, key=lambda check: (check.module, check.name))
    bare = _table([["x" * _NAME_WIDTH, *_row(check)] for check in ordered])
    shown = names.within(max(_NAME_WIDTH, names.width - max(map(len, bare)) + _NAME_WIDTH))
    table = _table([[shown[check.id], *_row(check)] for check in ordered])
    notes = dict.fromkeys(note for check in checks for note in check.notes)
    told = [line for note in notes for line in folded(note, names.width)]
    told += _host_bound(ordered, names)
    return [*table, *_remarks(checks, names), *_left_out(checks, names), *told, *references.summary(ordered, names)]


def _host_bound(checks: Sequence[CheckRecord], names: Names) -> list[str]:
    """Checks whose GPU waited for its host, each once."""
    found = [f"{names[check.id]}: {words}" for check in checks if (words := host_bound(check))]
    return [part for line in found for part in folded(line, names.width)]


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    heads = ["test", "verdict", *(head for _, head in _COLUMNS)]
    align = ["left", "left", *("right" for _ in _COLUMNS)]
    return tabulate(rows, heads, tablefmt="plain", colalign=align, disable_numparse=True).splitlines()


def _left_out(checks: Sequence[CheckRecord], names: Names) -> list[str]:
    """Engines that do not count, and why: none is left out unseen."""
    return [
        part
        for check in checks
        if (reasons := check.session.excluded)
        for part in folded(f"{names[check.id]}: one engine left out: {in_words(reasons)}", names.width)
    ]


def ledgers(checks: Sequence[CheckRecord]) -> list[str]:
    """Where each engine's memory went, an engine's once."""
    known = {check.engine: check.ledger for check in checks if check.ledger is not None}
    return [line for engine, ledger in known.items() for line in ledger_lines(engine, ledger)]


def _row(check: CheckRecord) -> list[str]:
    return [check.verdict.status.value, *(_cell(metric, check.values) for metric, _ in _COLUMNS)]


def _cell(metric: str, values: Mapping[str, float]) -> str:
    if metric not in values:
        return "-"
    return units.value(metric, values[metric]).removesuffix(" tok/s")


def _remarks(checks: Sequence[CheckRecord], names: Names) -> list[str]:
    """Metrics of passed checks that deserve a line: improved, or not to be told from noise."""
    lines: list[str] = []
    for check in checks:
        metrics = check.verdict.metrics if check.verdict.status not in _TOLD_BY_THE_FAILURE else ()
        requests = len(check.session.engines[0].ttft_by_request)
        told = [one for one in metrics if one.status in _REMARKABLE or one.clearly_better]
        against = references.before(check.reference)
        lines += _launches(check, told, names)
        if told:
            better = any(one.clearly_better for one in told)
            ahead = "its baseline; record it if that is meant" if check.reference is None else "its reference"
            said = f": better than {ahead}" if better else ":"
            lines += folded(f"{names[check.id]}{said}", names.width)
        for judged in told:
            shown = metric_lines(judged, requests=requests, width=names.width - 2)
            shown += attributions.below_metric(
                judged, check.verdict, check.attribution, against=against, width=names.width - 2
            )
            lines += [f"  {line}" for line in shown]
    return lines


def _launches(check: CheckRecord, told: Sequence[MetricVerdict], names: Names) -> list[str]:
    """That the GPU runs another number of kernels, where its time is judged and has no line of its own."""
    judged = {one.metric for one in check.verdict.metrics} - {one.metric for one in told}
    if check.verdict.status in _TOLD_BY_THE_FAILURE or AllMetrics.gpu_time.name not in judged:
        return []
    line = "" if check.attribution is None else attributions.launch_line(check.attribution)
    return folded(f"{names[check.id]}: {line}", names.width) if line else []


def comparisons(compared: Sequence[tuple[str, ComparisonRecord]], names: Names) -> list[str]:
    """What each `compare` came to: ratio by metric, quality, and how the two shared the device."""
    lines: list[str] = []
    for nodeid, record in compared:
        told = [f"{names[_test(nodeid)]}: {record.a} against {record.b}, {record.way}"]
        told += [f"  {words}" for words in _found(record)]
        if record.excluded:
            told.append(f"  one round left out: {in_words(record.excluded)}")
        lines += [part for line in told for part in folded(line, names.width)]
    return lines


def _found(record: ComparisonRecord) -> list[str]:
    told = []
    for one in record.ratios:
        rounds = units.many(one.rounds, "round")
        interval = f"[{one.low:.3g}, {one.high:.3g}]"
        told.append(f"{METRICS[one.metric].label} {one.ratio:.3g}x {interval} (99 % CI, {rounds})")
    if (same := record.quality) is not None:
        told.append(
            f"greedy agreement {same.agreement:.0%} of {same.tokens} tokens, log-probability difference "
            f"{same.logprob_difference:.2g}, top-1 agreement {same.top1_agreement:.0%} "
            f"({units.many(same.prompts, 'prompt')})"
        )
    return told


def written_lines(files: Sequence[Path], rootdir: Path) -> list[str]:
    """Files that were written."""
    return [f"written: {_relative(path, rootdir)}" for path in files]


def traces(found: Sequence[tuple[str, KernelTrace]], rootdir: Path) -> list[str]:
    """Where the traces of failed tests lie, in a line for each folder, and why others are missing.

    Args:
        found: node id and trace of each engine of a failed test.
        rootdir: paths below it are shown from there.
    """
    kept = Counter(one.file.parent for _, one in found if one.file is not None)
    lines = [
        f"traces of {number} engine{'' if number == 1 else 's'} of failed tests: {_relative(folder, rootdir)} "
        "(open them in ui.perfetto.dev)"
        for folder, number in kept.items()
    ]
    missing = dict.fromkeys(f"no trace of {nodeid}: {one.reason}" for nodeid, one in found if one.file is None)
    return [line for text in (*lines, *missing) for line in folded(text)]


def outlooks(checks: Sequence[tuple[CheckId, Sequence[Outlook]]], gated: int, names: Names) -> list[str]:
    """What the baselines that were written will be able to tell, each and together.

    Args:
        checks: with their gated metrics that noise can move.
        gated: how many of these the run has.
        names: of all checks of the run.
    """
    lines = outlook_lines([(names[check], outlook) for check, outlook in checks], names.width)
    return lines + suite_lines([one for _, outlook in checks for one in outlook], gated, names.width)


def books(
    written: Sequence[Path],
    pruned: Sequence[str],
    stale: Mapping[tuple[str, str], Sequence[str]],
    orphans: Sequence[Path] = (),
    *,
    rootdir: Path,
) -> list[str]:
    """What became of baseline files, and which entries belong to tests that no longer exist."""
    lines = written_lines(written, rootdir)
    lines += [f"removed from the baseline: {name} (its test no longer exists)" for name in pruned]
    for (profile, module), names in stale.items():
        lines += [
            f"stale: {profile}/{Path(module).with_suffix('.json')}: {name} (its test no longer exists)"
            for name in names
        ]
    if stale:
        lines.append("  an update of all of the module's tests on that hardware, without a failure, removes them")
    lines += [f"stale: {path.name}: its test module no longer exists; delete {_relative(path, rootdir)}"
              for path in orphans]  # fmt: skip
    return lines


def appended(checks: Sequence[CheckRecord], recorded: Sequence[CheckRecord], names: Names) -> list[str]:
    """How many sessions joined their baselines, and why others did not.

    Args:
        checks: all checks of the run.
        recorded: those whose session was kept.
        names: of all checks of the run.
    """
    joined = sum(check.keeping is Keeping.APPENDED for check in recorded)
    out = [check for check in checks if check.left_out]
    if not joined and not out:
        return []
    lines = [f"appended {joined}, left out {len(out)}{':' if out else ''}"]
    for check in out:
        lines += [f"  {line}" for line in folded(f"{names[check.id]}: {check.left_out}", names.width - 2)]
    if out:
        lines += folded("  to accept a new level: --vllmperf-update, with --vllmperf-reason saying why")
    return lines


def _relative(path: Path, rootdir: Path) -> Path:
    return path.relative_to(rootdir) if path.is_relative_to(rootdir) else path

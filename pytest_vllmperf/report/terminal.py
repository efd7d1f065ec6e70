"""What the terminal shows: verdict lines, failure texts and the summary. Made for 80 columns and more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pytest_vllmperf.metrics.table import METRICS
from pytest_vllmperf.records.custom import plain_name
from pytest_vllmperf.records.ids import CheckId, TestId
from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.records.problems import in_words
from pytest_vllmperf.records.results import CheckRecord, ComparisonRecord, Keeping
from pytest_vllmperf.records.verdict import Outlook
from pytest_vllmperf.report import units
from pytest_vllmperf.report.escaping import xml
from pytest_vllmperf.report.ledger import ledger_lines
from pytest_vllmperf.report.names import Names
from pytest_vllmperf.report.overview import Overview
from pytest_vllmperf.report.remarks import remarks
from pytest_vllmperf.report.verdicts import folded, outlook_lines, suite_lines


def properties(record: CheckRecord) -> list[tuple[str, object]]:
    """A check as JUnit properties: its status, and every metric in the unit of the table, without rounding.

    Of a metric that drifted, the change of its level too, as a fraction; of one with a limit, whether it is kept.
    """
    prefix = f"vllmperf.{record.id.own}".rstrip(".")
    status = record.verdict.status.value
    values = [(f"{prefix}.{plain_name(metric)}", _exact(value)) for metric, value in record.values.items()]
    drifts = [one for one in record.verdict.metrics if one.drift is not None]
    values += [
        (f"{prefix}.{plain_name(one.metric)}.drift", _exact(one.drift.change))
        for one in drifts
        if one.drift is not None
    ]
    values += [(f"{prefix}.{plain_name(one.metric)}.limit", one.status.value) for one in record.verdict.limits]
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


def summary(
    checks: Sequence[CheckRecord],
    names: Names,
    outlooks: Mapping[CheckId, Sequence[Outlook]] | None = None,
    *,
    every: bool = False,
) -> list[str]:
    """A table of all checks, then what is to be known of those that are not simply OK.

    Args:
        checks: of the run.
        names: of all of them.
        outlooks: what recorded baselines will be able to tell, by check.
        every: whether every metric has a row, as with `-v`.
    """
    return [*Overview(checks, names, outlooks or {}, every).lines(), *remarks(checks, names)]


def ledgers(checks: Sequence[CheckRecord]) -> list[str]:
    """Where each engine's memory went, an engine's once."""
    known = {check.engine: check.ledger for check in checks if check.ledger is not None}
    return [line for engine, ledger in known.items() for line in ledger_lines(engine, ledger)]


def comparisons(compared: Sequence[tuple[str, ComparisonRecord]], names: Names) -> list[str]:
    """What each `compare` came to: ratio by metric, quality, and how the two shared the device."""
    lines: list[str] = []
    for nodeid, record in compared:
        told = [f"{names[_test(nodeid)]}: {record.a} against {record.b}, {record.way}"]
        told += [f"  {words}" for words in comparison_words(record)]
        if record.excluded:
            told.append(f"  one round left out: {in_words(record.excluded)}")
        lines += [part for line in told for part in folded(line, names.width)]
    return lines


def comparison_words(record: ComparisonRecord) -> list[str]:
    """What one `compare` came to: the ratio of each metric, then the quality."""
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
        f"(open them at ui.perfetto.dev)"
        for folder, number in kept.items()
    ]
    missing = dict.fromkeys(f"no trace of {nodeid}: {one.reason}" for nodeid, one in found if one.file is None)
    return [line for text in (*lines, *missing) for line in folded(text)]


def outlooks(
    checks: Sequence[tuple[CheckId, Sequence[Outlook]]], gated: int, names: Names, *, every: bool = False
) -> list[str]:
    """What the baselines that were written will be able to tell together.

    Args:
        checks: with their gated metrics that noise can move.
        gated: how many of these the run has.
        names: of all checks of the run.
        every: whether each metric of each check is told, too.
    """
    each = outlook_lines([(names[check], outlook) for check, outlook in checks], names.width) if every else []
    return each + suite_lines([one for _, outlook in checks for one in outlook], gated, names.width)


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
        lines.append(
            "  to remove them, run --vllmperf-update on that hardware with all tests of the module; all must pass"
        )
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
        lines += folded('  to accept a new level: --vllmperf-update --vllmperf-reason "..."')
    return lines


def _relative(path: Path, rootdir: Path) -> Path:
    return path.relative_to(rootdir) if path.is_relative_to(rootdir) else path

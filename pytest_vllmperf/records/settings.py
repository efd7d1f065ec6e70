"""One run's settings and one test's, frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from pathlib import Path
from typing import Literal


class Update(Enum):
    """What a run does with baselines."""

    NONE = "judge"
    NEW = "record what has none"
    ALL = "record what ran"


AUTO: Literal["auto"] = "auto"


@dataclass(frozen=True)
class CheckSettings:
    """How one test measures and what decides it; None falls back to the run's setting.

    Attributes:
        iterations: measured iterations.
        warmup: discarded iterations; AUTO for as many as the rule finds.
        margin: tolerated relative change for all metrics that have none of their own.
        margins: tolerated relative change by metric.
        gate: words for `metrics.table.resolve_gate`.
        unsupported: `fail` or `skip` a test whose engine the build or GPU cannot run.
        allow: names of the validity rules that are turned off.
        against: absolute path of the interpreter whose vLLM each check is measured in turns with; empty for none.
        device_pass: iterations after the counted ones in which the GPU is profiled; 0 for none.
        limits: absolute limits by metric, in its unit; None for a metric takes away what `other` of `over` gives it.
    """

    iterations: int | None = None
    warmup: int | Literal["auto"] | None = None
    margin: float | None = None
    margins: Mapping[str, float] = field(default_factory=dict)
    gate: tuple[str, ...] | None = None
    unsupported: str | None = None
    allow: tuple[str, ...] | None = None
    against: str | None = None
    device_pass: int | None = None
    limits: Mapping[str, float | None] = field(default_factory=dict)

    def over(self, other: CheckSettings) -> CheckSettings:
        """These settings, with what they leave open taken from `other`; a margin for all leaves nothing open.

        Limits add up: the nearer one of a metric counts.
        """
        open_fields = {one.name: getattr(other, one.name) for one in fields(self) if getattr(self, one.name) is None}
        margins = self.margins if self.margin is not None else {**other.margins, **self.margins}
        return replace(self, **open_fields, margins=margins, limits={**other.limits, **self.limits})


DEFAULTS = CheckSettings(
    iterations=10,
    warmup=AUTO,
    margin=0.05,
    gate=("auto",),
    unsupported="fail",
    allow=(),
    against="",
    device_pass=3,
)


@dataclass(frozen=True)
class Settings:
    """One run's settings.

    Attributes:
        update: what happens to baselines.
        baselines: their folder.
        profile_name: what machines of equal hardware call the folder that they share in it; empty for the name of the
            hardware.
        check: how tests measure and what decides unless their marker says otherwise; nothing in it is None.
        start_timeout: timeout in seconds for an engine start.
        operation_timeout: timeout in seconds for one iteration.
        lease_timeout: seconds to wait for GPUs that other runs hold.
        append: whether what agrees with its baseline is added to it.
        reason: why baselines are recorded anew; empty when nobody said.
        engines: engine starts per recorded session.
        max_engines: fresh engines at most until a verdict is given up.
        max_time: maximum time in seconds for all starts of one engine.
        noisy_fails: whether NOISY fails a test.
        scorecards: folder that scorecards are written to; None for none.
        require_gpu: whether a test that finds no GPU fails, instead of being skipped.
        gpu_hour_price: what one GPU costs an hour, in the user's currency; None where nobody said.
        client_processes: of the load generator; None for as many as it needs.
        trace: folder for traces of engines of failed tests; None for none.
        json_file: that the whole run is written to, for programs; None for none.
        report_files: that a report of the run is written to, for people; the suffix says in which form.
        history: file or URL of the history whose trends reports show; empty for none. It may hold a password.
        github: whether a job of GitHub Actions that the run is in gets its report and annotations.
        python: absolute path of the interpreter that engines run on; empty for the one of this process.
    """

    update: Update
    baselines: Path
    check: CheckSettings
    start_timeout: float = 900.0
    operation_timeout: float = 600.0
    lease_timeout: float = 3600.0
    append: bool = False
    reason: str = ""
    engines: int = 3
    max_engines: int = 6
    max_time: float = 1800.0
    noisy_fails: bool = False
    scorecards: Path | None = None
    require_gpu: bool = False
    gpu_hour_price: float | None = None
    client_processes: int | None = None
    trace: Path | None = None
    json_file: Path | None = None
    report_files: tuple[Path, ...] = ()
    history: str = field(default="", repr=False)
    github: bool = True
    python: str = ""
    profile_name: str = ""

    @property
    def reports(self) -> bool:
        """Whether the whole run is written to a file."""
        return self.json_file is not None or bool(self.report_files)

"""The table of options, the markers, and what is declared from them. Imported in every pytest run: nothing heavy here.

An option is a row of `OPTIONS` and a typed field of `Settings` or `CheckSettings`. The flag, the ini setting, the
default, the marker's keyword, the help text and the line in the README are made from the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import pytest

PREFIX = "vllmperf_"
FIXTURE = "vllmperf"
NOT_ARMED = "needs --vllmperf"


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes:
        name: as in the ini file and the marker, without a prefix; the option called "" is `--vllmperf` itself.
        help: what it sets. Words in single quotes are to be typed as they are.
        parse: which of `harness.parsers.PARSERS` reads its value; a switch has none.
        default: what holds without it, as a user would write it; empty for nothing, and for an empty list; a
            switch is off.
        kind: takes a value, takes a list of words, or is a switch.
        value: what stands for its value in help texts.
        flag: whether it is a flag of the command line.
        ini: whether it can stand in the ini file.
        marker: whether the marker `vllmperf` takes it, and the calls that it concerns.
        arms: whether its flag makes performance tests run.
        fills: fields of `CheckSettings` for what a marker takes, else of `Settings`; None for one of its own name.
    """

    name: str
    help: str
    parse: str = ""
    default: str = ""
    kind: Literal["value", "list", "switch"] = "value"
    value: str = "VALUE"
    flag: bool = True
    ini: bool = True
    marker: bool = False
    arms: bool = False
    fills: tuple[str, ...] | None = None

    @property
    def flag_name(self) -> str:
        """Its flag."""
        return "--" + (PREFIX + self.name).rstrip("_").replace("_", "-")

    @property
    def ini_name(self) -> str:
        """Its ini setting; pytest has the value of its flag under the same name."""
        return (PREFIX + self.name).rstrip("_")

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of the settings that its value fills."""
        return (self.name,) if self.fills is None else self.fills


OPTIONS = (
    Option("", "run performance tests and judge them by the stored baselines; fails where all of them are skipped",
           kind="switch", ini=False, arms=True, fills=()),
    Option("update", "run performance tests and record what passes as the new baseline",
           kind="switch", ini=False, arms=True, fills=()),
    Option("update_new", "run performance tests, record those that have no baseline and judge the others",
           kind="switch", ini=False, arms=True, fills=()),
    Option("append", "run performance tests, judge them, and add what agrees with its baseline to it; the first 5 "
           "and the newest 15 sessions stay", kind="switch", ini=False, arms=True),
    Option("reason", "why a baseline is recorded anew; kept in the file", "reason", ini=False, value="TEXT"),
    Option("baselines", "folder of the baselines, from the root directory", "folder", "baselines", value="FOLDER"),
    Option("iterations", "counted iterations of an engine", "count", "10", value="N", marker=True),
    Option("warmup", "discarded iterations before them; 'auto': 2 to 8, until three agree within 2 %", "warmup", "auto",
           value="N", marker=True),
    Option("device_pass", "iterations after the counted ones in which the GPU is profiled, for its own time; 'off': "
           "none", "device_pass", "3", value="N", marker=True),
    Option("margin", "tolerated relative change for the worse, such as '0.05' or '5%', for all metrics or by name: "
           "'5% ttft.p50=10%'; GPU time has 1 % unless named: 'gpu_time=2%'", "margins", "5%", value="MARGINS",
           marker=True, fills=("margin", "margins")),
    Option("gate", "what decides: names of metrics, or the sets 'auto', 'exact', 'clock', 'cpu', 'vram', 'device', "
           "'energy'", "gate", "auto", kind="list", value="NAMES", marker=True),
    Option("limits", "absolute limits of metrics, in the units of docs/metrics.md, such as 'ttft.p99=0.5 "
           "output_throughput=1000'; judged beside the baseline, or alone with the gate 'limits'; 'ttft.p99=off' "
           "takes one away", "limits", value="LIMITS", marker=True),
    Option("unsupported", "what becomes of a test whose engine the build or GPU cannot run: 'fail' or 'skip'",
           "unsupported", "fail", flag=False, ini=False, marker=True),
    Option("allow", "validity rules that are turned off, such as 'preemptions throttling'", "rules", kind="list",
           value="RULES", marker=True),
    Option("against", "measure every check in turns with the same engine on the vLLM of another interpreter, and judge "
           "the ratio; needs no baseline; 'off': judge by the stored one", "interpreter", "off", value="PYTHON",
           marker=True),
    Option("require_gpu", "fail tests that find no GPU, or not the one that their marker asks for, instead of skipping "
           "them or running them on the CPU", kind="switch"),
    Option("gpu_hour_price", "what an hour of one GPU costs, in your currency", "above_zero", value="PRICE"),
    Option("engines", "fresh engines that a recorded session is measured on", "count", "3", value="N"),
    Option("max_engines", "fresh engines at most until a verdict is given up as NOISY", "count", "6", value="N"),
    Option("max_time", "seconds at most for the fresh engines of one kind", "from_zero", "1800", value="SECONDS"),
    Option("noisy", "what a NOISY verdict does to its test: 'warn' or 'fail'", "noisy", "warn", fills=("noisy_fails",)),
    Option("scorecards", "folder that scorecards are written to, as Markdown and JSON", "folder_or_none",
           value="FOLDER"),
    Option("json", "file that the whole run is written to as JSON: every test, check, metric and sample; its folder is "
           "made if need be", "file_or_none", value="FILE", fills=("json_file",)),
    Option("trace", "folder for Chrome traces of engines of failed tests: what the GPU of each did in one iteration, "
           "in at most 50 MB", "folder_or_none", value="FOLDER"),
    Option("client_processes", "processes of the load generator that drives servers; without it as many as it needs",
           "count", value="N"),
    Option("start_timeout", "seconds for an engine to come up", "above_zero", "900", value="SECONDS"),
    Option("operation_timeout", "seconds for one iteration", "above_zero", "600", value="SECONDS"),
    Option("lease_timeout", "seconds to wait for a GPU that another run is measuring on; then the test fails",
           "from_zero", "3600", value="SECONDS"),
)  # fmt: skip
"""All options, in the order of help texts and of the README."""

IN_MARKER = tuple(option for option in OPTIONS if option.marker)

MARKERS = (
    "vllm(model, *, backend='offline', python=None, env=None, per_gpu=None, **engine_args): the engine of a vllmperf "
    "test; engine arguments are vLLM's own and passed through untouched; per_gpu={'RTX 4060': {...}} has more of them "
    "for GPUs of that name; backend 'transformers' is the reference",
    "gpu(name='', *, min_vram=None, min_compute=None, count=1, mig=None): the GPU that the test needs; without "
    "arguments any; mig=True asks for a MIG device, mig='1g.10gb' for one of that name, mig=False for a whole GPU",
    f"vllmperf(*, {', '.join(f'{option.name}=None' for option in IN_MARKER)}): how the test measures and what decides "
    "it; unsupported='skip' skips it where build or GPU cannot run the engine; allow='preemptions' measures in spite "
    "of them; against='stable/bin/python' judges it by another interpreter's vLLM",
    "scorecard(name, *, baseline, configuration=None): what the test measures is a row of that table; the row is "
    "called after the test's parameters unless it has a name of its own",
    "sweep(*, mode='grid', **engine_args): one test for each combination of lists of engine arguments, over those of "
    "the vllm marker; mode='one-at-a-time' varies each alone",
)


def add_options(parser: pytest.Parser) -> None:
    """Declare flags and ini settings."""
    group = parser.getgroup("vllmperf", "performance tests for vLLM")
    for option in OPTIONS:
        text = f"{option.help} ({option.default})" if option.default else option.help
        switch = option.kind == "switch"
        if option.flag:
            form = {"action": "store_true"} if switch else {"default": None, "metavar": option.value}
            group.addoption(option.flag_name, help=text.replace("%", "%%"), **form)
        if option.ini and switch:
            parser.addini(option.ini_name, text, type="bool", default=False)
        elif option.ini and option.kind == "list":
            parser.addini(option.ini_name, text, type="args", default=None)
        elif option.ini:
            parser.addini(option.ini_name, text, default=None)


def armed(config: pytest.Config) -> bool:
    """Whether any flag asks for performance tests to run."""
    return any(config.getoption(option.ini_name) for option in OPTIONS if option.arms)


def pointless(config: pytest.Config) -> str:
    """Why a flag that was given can do nothing, in a line; empty where each can.

    An ini setting may stand for runs of either kind; a flag is meant for this one.
    """
    json = next(option for option in OPTIONS if option.name == "json")
    if armed(config) or config.getoption(json.ini_name) is None:
        return ""
    arming = ", ".join(option.flag_name for option in OPTIONS if option.arms)
    return (
        f"{json.flag_name} writes what performance tests come to, and none runs: add one of {arming}; "
        f"for a file of every armed run use the ini setting {json.ini_name}"
    )

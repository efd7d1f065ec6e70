"""The table of options, the markers, and what is declared from them. Imported in every pytest run: nothing heavy here.

An option is a row of `OPTIONS` and a typed field of `Settings` or `CheckSettings`. The flag, the ini setting, the
default, the marker's keyword, the help text and the line in docs/options.md are made from the row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pytest

PREFIX = "vllmperf_"
FIXTURE = "vllmperf"
SESSION_FIXTURE = "vllmperf_session"
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
        kind: takes a value, takes a list of words, is a switch, or may be given several times with a value each.
        value: what stands for its value in help texts.
        flag: whether it is a flag of the command line.
        ini: whether it can stand in the ini file.
        marker: whether the marker `vllmperf` takes it, and the calls that it concerns.
        arms: whether its flag makes performance tests run.
        secret: whether its value may contain a password; reports then show only that it is set.
        fills: fields of `CheckSettings` for what a marker takes, else of `Settings`; None for one of its own name.
    """

    name: str
    help: str
    parse: str = ""
    default: str = ""
    kind: Literal["value", "list", "switch", "repeated"] = "value"
    value: str = "VALUE"
    flag: bool = True
    ini: bool = True
    marker: bool = False
    arms: bool = False
    secret: bool = False
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
    Option("", "run performance tests and compare them with the stored baselines; the run fails if all of them "
    "are skipped",
           kind="switch", ini=False, arms=True, fills=()),
    Option("update", "run performance tests and record those that pass as the new baseline",
           kind="switch", ini=False, arms=True, fills=()),
    Option("update_new", "run performance tests, record those without a baseline and compare the others",
           kind="switch", ini=False, arms=True, fills=()),
    Option("append", "run performance tests, compare them, and add each session that agrees with its baseline; "
    "a baseline keeps its first 5 and its newest 15 sessions", kind="switch", ini=False, arms=True),
    Option("reason", "reason for recording again; stored in the baseline file", "reason", ini=False, value="TEXT"),
    Option("baselines", "folder of the baselines, relative to the root directory", "folder", "baselines",
           value="FOLDER"),
    Option("profile_name", "name under which machines of equal hardware share their baselines; 'off': named by the "
           "hardware", "profile_name", "off", value="NAME"),
    Option("iterations", "measured iterations per engine start", "count", "10", value="N", marker=True),
    Option("warmup", "warm-up iterations, which are discarded; 'auto': 2 to 8, until three agree within 2 %", "warmup",
           "auto", value="N", marker=True),
    Option("device_pass", "extra iterations in which the GPU is profiled, to measure GPU time; 'off': none",
           "device_pass", "3", value="N", marker=True),
    Option("margin", "tolerated relative slowdown, such as '0.05' or '5%', for all metrics or by name: '5% "
    "ttft.p50=10%'; for GPU time 1 % unless named: 'gpu_time=2%'", "margins", "5%", value="MARGINS",
           marker=True, fills=("margin", "margins")),
    Option("gate", "metrics to gate: names, or the sets 'auto', 'exact', 'clock', 'cpu', 'vram', 'device', "
           "'energy'", "gate", "auto", kind="list", value="NAMES", marker=True),
    Option("limits", "absolute limits of metrics, in the units of docs/metrics.md, such as 'ttft.p99=0.5 "
           "output_throughput=1000'; judged beside the baseline, or alone with the gate 'limits'; 'ttft.p99=off' "
           "takes one away", "limits", value="LIMITS", marker=True),
    Option("unsupported", "what to do with a test whose engine the vLLM build or GPU cannot run: 'fail' or 'skip'",
           "unsupported", "fail", flag=False, ini=False, marker=True),
    Option("allow", "validity rules to turn off, such as 'preemptions throttling'", "rules", kind="list",
           value="RULES", marker=True),
    Option("against", "compare every check with the same engine on the vLLM of another interpreter, measured in "
    "turns; needs no baseline; 'off': compare with the stored baseline", "interpreter", "off", value="PYTHON",
           marker=True),
    Option("python", "run engines on the vLLM of another interpreter; an engine that sets one itself (python=) is "
           "refused", "interpreter", "off", value="PYTHON"),
    Option("require_gpu", "fail tests that find no GPU or not the GPU that their marker needs, instead of "
    "skipping them or running them on the CPU", kind="switch"),
    Option("gpu_hour_price", "price of one GPU hour, in your currency", "above_zero", value="PRICE"),
    Option("engines", "engine starts per recorded session", "count", "3", value="N"),
    Option("max_engines", "maximum number of engine starts before a verdict becomes NOISY", "count", "6", value="N"),
    Option("max_time", "maximum time in seconds for all starts of one engine", "from_zero", "1800", value="SECONDS"),
    Option("noisy", "what a NOISY verdict does to its test: 'warn' or 'fail'", "noisy", "warn", fills=("noisy_fails",)),
    Option("scorecards", "folder to write scorecards to, as Markdown and JSON", "folder_or_none",
           value="FOLDER"),
    Option("json", "file that the whole run is written to as JSON: every test, check, metric and sample; its folder is "
           "made if need be", "file_or_none", value="FILE", fills=("json_file",)),
    Option("report", "file that a report of the run is written to, a page ('.html') or Markdown ('.md'); may be given "
           "several times", "report_files", kind="repeated", value="FILE", fills=("report_files",)),
    Option("history", "history of results, for the trends in reports of the run: a SQLite file or a URL of "
           "SQLAlchemy; it is only read; 'auto': the one that the environment variable VLLMPERF_HISTORY names, or else "
           "vllmperf-history.db; 'off': none", "history", "off", value="DATABASE", secret=True),
    Option("github", "in a job of GitHub Actions, append the report to the summary of the job and annotate the lines "
    "of tests: 'auto' or 'off'", "github", "auto", value="WHEN"),
    Option("trace", "folder to write Chrome traces of failed tests to: the GPU's work in one iteration of each "
    "engine, at most 50 MB per trace", "folder_or_none", value="FOLDER"),
    Option("client_processes", "number of load generator processes that send requests to servers; default: as "
    "many as needed",
           "count", value="N"),
    Option("start_timeout", "timeout in seconds for an engine start", "above_zero", "900", value="SECONDS"),
    Option("operation_timeout", "timeout in seconds for one iteration", "above_zero", "600", value="SECONDS"),
    Option("lease_timeout", "seconds to wait for a GPU that another run uses; then the test fails",
           "from_zero", "3600", value="SECONDS"),
)  # fmt: skip
"""All options, in the order of help texts and of docs/options.md."""

_WRITTEN = ("json", "report")
"""Options that name files in which an armed run is written down."""

IN_MARKER = tuple(option for option in OPTIONS if option.marker)

MARKERS = (
    "vllm(model, *, backend='offline', python=None, env=None, per_gpu=None, **engine_args): the engine of a "
    "vllmperf test; engine arguments are vLLM's own and are passed unchanged; per_gpu={'RTX 4060': {...}} adds "
    "arguments on GPUs of that name; backend='transformers' is the reference",
    "gpu(name='', *, min_vram=None, min_compute=None, count=1, mig=None): the GPU that the test needs; without "
    "arguments, any GPU; mig=True: a MIG device, mig='1g.10gb': a MIG device of that name, mig=False: a whole GPU",
    f"vllmperf(*, {', '.join(f'{option.name}=None' for option in IN_MARKER)}): how the test measures and which "
    f"metrics it gates; unsupported='skip' skips the test if the vLLM build or GPU cannot run the engine; "
    f"allow='preemptions' turns that validity rule off; against='stable/bin/python' compares with another "
    f"interpreter's vLLM",
    "scorecard(name, *, baseline, configuration=None): adds the test's measurement as a row of that scorecard; "
    "the row is named by configuration=, or by the test's parameters",
    "sweep(*, mode='grid', **engine_args): one test for each combination of the listed engine arguments, which "
    "override those of the vllm marker; mode='one-at-a-time' varies one argument at a time",
)


def add_options(parser: pytest.Parser) -> None:
    """Declare flags and ini settings."""
    group = parser.getgroup("vllmperf", "performance tests for vLLM")
    for option in OPTIONS:
        text = f"{option.help} ({option.default})" if option.default else option.help
        switch = option.kind == "switch"
        if option.flag:
            group.addoption(option.flag_name, help=text.replace("%", "%%"), **_form(option))
        if option.ini and switch:
            parser.addini(option.ini_name, text, type="bool", default=False)
        elif option.ini and option.kind in ("list", "repeated"):
            parser.addini(option.ini_name, text, type="args", default=None)
        elif option.ini:
            parser.addini(option.ini_name, text, default=None)


def _form(option: Option) -> dict[str, Any]:
    """How argparse takes its flag."""
    if option.kind == "switch":
        return {"action": "store_true"}
    action = "append" if option.kind == "repeated" else "store"
    return {"action": action, "default": None, "metavar": option.value}


def armed(config: pytest.Config) -> bool:
    """Whether any flag asks for performance tests to run."""
    return any(config.getoption(option.ini_name) for option in OPTIONS if option.arms)


def pointless(config: pytest.Config) -> str:
    """Why a flag that was given can do nothing, in a line; empty where each can.

    An ini setting may stand for runs of either kind; a flag is meant for this one.
    """
    given = (option for option in OPTIONS if option.name in _WRITTEN and config.getoption(option.ini_name) is not None)
    option = next(given, None)
    if armed(config) or option is None:
        return ""
    arming = ", ".join(option.flag_name for option in OPTIONS if option.arms)
    return (
        f"{option.flag_name} writes what performance tests come to, and none runs: add one of {arming}; "
        f"for a file of every armed run use the ini setting {option.ini_name}"
    )

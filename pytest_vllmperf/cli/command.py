"""The parser of the command, and how its failures are reported."""

from __future__ import annotations

import argparse
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

from pytest_vllmperf import __version__
from pytest_vllmperf.cli import bisecting, doctoring, initializing, merging, renaming, sweeping
from pytest_vllmperf.cli.import_arguments import add_export, add_import
from pytest_vllmperf.cli.tune_arguments import add_memory, add_serve
from pytest_vllmperf.errors import ModelError, SpecError, VllmPerfError, in_one_line
from pytest_vllmperf.report.escaping import json_text, terminal_text

BAD_INPUT = 2
INTERRUPTED = 128 + signal.SIGINT
DEBUG = "VLLMPERF_DEBUG"
"""The environment variable that shows the traceback of an internal error."""
READER_GONE = 128 + signal.SIGPIPE
"""What a shell reports of a program that writes into a pipe whose reader has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    That is the command's own, 2 with one line on standard error for bad input and for an error of this package, 130
    after Ctrl-C, or 141 where the reader of the output has ended, as in `vllmperf check A.json B.json | head`.
    """
    _show_every_character()
    try:
        try:
            return _run(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        return READER_GONE
    except OSError as error:  # a full disk, say
        _discard_output()
        return _failed(f"standard output cannot be written: {error.strerror or error}")


def _show_every_character() -> None:
    """A character that the encoding of the output does not have is shown as its escape, and is no error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _run(arguments: Sequence[str] | None) -> int:
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except VllmPerfError as error:
        return _failed(str(error))
    except OSError as error:
        if error.filename is None:  # that of the output
            raise
        return _failed(f"{error.filename}: {error.strerror}")
    except KeyboardInterrupt:
        return _failed("interrupted", INTERRUPTED)
    except Exception as error:  # else Python would end with 1, which is a regression's code
        return _failed(_internal(error))


def _internal(error: Exception) -> str:
    """One line about an exception that nobody foresaw; its traceback is shown to those who ask for it."""
    if os.environ.get(DEBUG):
        traceback.print_exception(error)
    return f"{in_one_line(error)}; please report it, with the traceback that {DEBUG}=1 shows"


def _failed(message: str, code: int = BAD_INPUT) -> int:
    print(terminal_text(f"vllmperf: {message}"), file=sys.stderr)
    return code


def _print(text: str, *, as_json: bool = False) -> None:
    print(json_text(text) if as_json else terminal_text(text))


def _discard_output() -> None:
    """Send what is still buffered nowhere: Python flushes both streams when it ends, and reports that this failed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with suppress(OSError):  # a stream without a descriptor is not flushed into a pipe
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vllmperf", description="Commands for vLLM performance tests, used outside a pytest run."
    )
    parser.add_argument("--version", action="version", version=f"pytest-vllmperf {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    make = commands.add_parser("make-model", help="make a model with random weights, without a network")
    make.add_argument("folder", nargs="?", type=Path, help="output folder; by default in the user's cache folder")
    make.add_argument("--shape", default="tiny", help="dimensions: tiny, qwen3-0.6b or llama-8b (default: tiny)")
    make.add_argument(
        "--quantization",
        default="none",
        help="quantization, in its real file layout: none, awq, gptq, w4a16, int8, fp8 or nf4 (default: none)",
    )
    make.set_defaults(run=_make_model)
    _add_quantize(commands)
    _add_check(commands)
    _add_kernels(commands)
    _add_baseline(commands)
    _add_scorecard(commands)
    add_import(commands, _import)
    add_export(commands, _export)
    _add_tune(commands)
    sweeping.add(commands, _print)
    bisecting.add(commands, _print)
    doctoring.add(commands, _print)
    initializing.add(commands, _print)
    return parser


def _add_quantize(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    quantize = commands.add_parser(
        "quantize",
        help="quantize a model to four bits, calibrated on your own prompts",
        description="Runs llm-compressor. Install it in a separate environment: pip install "
        "'pytest-vllmperf[quantize]'. Load the result with vLLM in your usual environment.",
    )
    quantize.add_argument("model", help="path or hub name, or a built-in model such as vllmperf:tiny")
    quantize.add_argument("--scheme", required=True, help="awq or gptq")
    quantize.add_argument("--calibration", required=True, type=Path, metavar="FILE.jsonl",
                          help='JSON lines, each {"messages": [...]} or {"prompt": "..."}')  # fmt: skip
    quantize.add_argument(
        "--samples", type=int, default=128, metavar="N", help="number of calibration prompts to use (default: 128)"
    )
    quantize.add_argument(
        "--group-size", type=int, default=128, metavar="N", help="number of weights that share a scale (default: 128)"
    )
    quantize.add_argument(
        "--max-length", type=int, default=2048, metavar="N", help="maximum prompt length in tokens (default: 2048)"
    )
    quantize.add_argument("--output", type=Path, metavar="FOLDER", help="where to (./NAME-SCHEME)")
    quantize.set_defaults(run=_quantize)


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    check = commands.add_parser(
        "check",
        help="compare one baseline file with another, without starting an engine",
        description="Judge the newest session of each check in B against all sessions in A. Exit code: 0 no "
        "regression, 1 a regression or a drift, 2 bad input, 3 a check could not be compared.",
    )
    check.add_argument("a", type=Path, metavar="A.json", help="the baseline")
    check.add_argument("b", type=Path, metavar="B.json", help="what is judged")
    _add_judging(check)
    check.add_argument(
        "--explain",
        action="store_true",
        help="explain each verdict with its numbers: noise model, hyperparameters, error budget, each look, and "
        "the inequality that decided; add --json to get it as data for a bug report",
    )
    check.set_defaults(run=_check)


def _add_kernels(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    table = commands.add_parser("kernels", help="GPU time of an iteration by kernel, for one file or for two")
    table.add_argument(
        "a", type=Path, metavar="A.json", help="a baseline file; the newest session of each check is shown"
    )
    table.add_argument(
        "b", type=Path, metavar="B.json", nargs="?", help="a second file, compared with A by kernel name"
    )
    table.add_argument("--test", metavar="NAME", help="only this check")
    table.add_argument("--top", type=int, default=20, metavar="N", help="number of kernels to list (default: 20)")
    table.add_argument("--json", action="store_true", help="print JSON with all stored kernels")
    table.set_defaults(run=_kernels)


def _add_baseline(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    baseline = commands.add_parser("baseline", help="show and clean up baseline files")
    actions = baseline.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every stored check")
    _add_folder(listing)
    listing.set_defaults(run=_list)
    show = actions.add_parser(
        "show", help="levels, noise, and the smallest slowdown the baseline detects (80 %% of the time)"
    )
    show.add_argument("file", type=Path, metavar="FILE.json")
    show.add_argument("--check", help="only this check")
    _add_judging(show)
    show.set_defaults(run=_show)
    diff = actions.add_parser("diff", help="show how two files differ, without a verdict")
    diff.add_argument("a", type=Path, metavar="A.json")
    diff.add_argument("b", type=Path, metavar="B.json")
    diff.add_argument("--json", action="store_true", help="for a program")
    diff.set_defaults(run=_diff)
    _add_prune(actions)
    renaming.add(actions, _print)
    merging.add(actions, _print)
    restore = actions.add_parser("restore", help="restore what a run could not write, from its vllmperf-rescue file")
    restore.add_argument("file", type=Path, metavar="FILE.json")
    restore.add_argument("--baselines", type=Path, default=Path("baselines"), help="their folder (baselines)")
    restore.set_defaults(run=_restore)


def _add_prune(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prune = actions.add_parser(
        "prune",
        help="remove sessions between the first and the newest, and files whose test module no longer exists",
        description="Lists the changes and asks before it makes them. Changes baseline files only.",
    )
    _add_folder(prune)
    prune.add_argument(
        "--keep",
        type=int,
        default=20,
        metavar="N",
        help="number of sessions to keep for each check: the first 5, which anchor its level, and the newest N "
        "- 5; at least 6 (default: 20)",
    )
    prune.add_argument(
        "--rootdir", type=Path, default=Path(), help="folder of the test modules (default: the current folder)"
    )
    prune.add_argument("--dry-run", action="store_true", help="show the changes without making them")
    prune.add_argument("--yes", action="store_true", help="do not ask")
    prune.set_defaults(run=_prune)


def _add_scorecard(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    card = commands.add_parser(
        "scorecard",
        help="merge the scorecards of several runs",
        description="Merges the rows of several files written by --vllmperf-scorecards. If two files have the "
        "same configuration, the later file wins.",
    )
    card.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    card.add_argument(
        "--baseline",
        metavar="CONFIGURATION",
        help="configuration to compare with (default: the one named in the files)",
    )
    card.add_argument(
        "--output", type=Path, metavar="FOLDER", help="folder to write NAME-PROFILE.md and NAME-PROFILE.json to"
    )
    card.set_defaults(run=_scorecard)


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tune = commands.add_parser("tune", help="find the limits of a model on this machine")
    actions = tune.add_subparsers(required=True, metavar="WHAT")
    add_memory(actions).set_defaults(run=_tune_memory)
    add_serve(actions).set_defaults(run=_tune_serve)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--baselines", type=Path, default=Path("baselines"), help="their folder (baselines)")
    parser.add_argument("--json", action="store_true", help="for a program")


def _add_judging(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--gate", help="metrics to gate: names, or the sets auto, exact, clock, cpu (default: as recorded)"
    )
    parser.add_argument(
        "--margin", help="tolerated change, for all metrics or by name: '5%% ttft.p50=10%%' (default: as recorded)"
    )
    parser.add_argument("--json", action="store_true", help="for a program")


def _make_model(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf import models

    if chosen.folder is None:
        suffix = "" if chosen.quantization == "none" else f"-{chosen.quantization}"
        print(models.resolve(models.PREFIX + chosen.shape + suffix))
        return 0
    if chosen.shape not in models.SHAPES:
        raise ModelError(f"no shape has the name {chosen.shape!r}; choose one of {', '.join(models.SHAPES)}")
    print(models.make_model(chosen.folder, models.SHAPES[chosen.shape], chosen.quantization))
    return 0


def _quantize(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf import models
    from pytest_vllmperf.calibration.quantize import QuantizeSettings, quantize

    settings = QuantizeSettings(chosen.scheme, chosen.samples, chosen.group_size, chosen.max_length)
    settings.check()
    name = chosen.model.rstrip("/").rsplit("/", 1)[-1].removeprefix(models.PREFIX)
    output = chosen.output or Path(f"{name}-{chosen.scheme}")
    print(quantize(models.resolve(chosen.model), output, chosen.calibration, settings))
    return 0


def _check(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import check, judging

    result = check.check(chosen.a, chosen.b, judging.Asked(chosen.gate, chosen.margin), explained=chosen.explain)
    _print(result.as_json() if chosen.json else "\n".join(result.lines()), as_json=chosen.json)
    return result.exit_code


def _kernels(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import kernels

    shown = kernels.kernels(chosen.a, chosen.b, chosen.test, chosen.top, as_json=chosen.json, width=kernels.columns())
    _print(shown, as_json=chosen.json)
    return 0


def _list(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import baselines

    _print(baselines.listing(chosen.baselines, as_json=chosen.json), as_json=chosen.json)
    return 0


def _show(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import baselines, judging

    asked = judging.Asked(chosen.gate, chosen.margin)
    _print(baselines.show(chosen.file, chosen.check, asked, as_json=chosen.json), as_json=chosen.json)
    return 0


def _diff(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import baselines

    _print(baselines.diff(chosen.a, chosen.b, as_json=chosen.json), as_json=chosen.json)
    return 0


def _prune(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import prune

    found = prune.plan(chosen.baselines, chosen.keep, chosen.rootdir)
    if not chosen.json:
        _print(found.as_text())
    done = (
        bool(found.steps)
        and not chosen.dry_run
        and (chosen.yes or _agreed(f"make these changes to {chosen.baselines}?"))
    )
    if done:
        found.do()
    if chosen.json:
        _print(found.as_json(changed=done), as_json=True)
    elif found.steps and not done:
        print("nothing was changed")
    return BAD_INPUT if found.left else 0


def _agreed(question: str) -> bool:
    """Ask on the terminal; no answer is no.

    Raises:
        SpecError: where there is no terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise SpecError(
            "nothing was changed: there is no terminal to confirm on; add --yes to make the "
            "changes, or --dry-run to only show them"
        )
    sys.stdout.flush()
    print(terminal_text(question), "[y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _restore(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import restore

    text, whole = restore.restore(chosen.file, chosen.baselines)
    _print(text)
    return 0 if whole else BAD_INPUT


def _scorecard(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import scorecard

    _print(scorecard.merge(chosen.files, chosen.baseline, chosen.output))
    return 0


def _import(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import imports

    said = {one.name: getattr(chosen, one.name) for one in fields(imports.Asked)}
    _print(imports.take(chosen.files, chosen.output, imports.Asked(**said)))
    return 0


def _export(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import exports

    asked = exports.Asked(**{one.name: getattr(chosen, one.name) for one in fields(exports.Asked)})
    made = exports.export(chosen.file, asked)
    for note in made.notes:
        _tell(note)
    _print(made.text, as_json=made.is_json)
    return 0


def _tune_memory(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import tune

    asked = tune.Asked(**{one.name: getattr(chosen, one.name) for one in fields(tune.Asked)})
    text, code = tune.memory(asked, _tell, as_json=chosen.json)
    _print(text, as_json=chosen.json)
    return code


def _tune_serve(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import tune_serve

    asked = tune_serve.Asked(**{one.name: getattr(chosen, one.name) for one in fields(tune_serve.Asked)})
    text, code = tune_serve.serve(asked, _tell, as_json=chosen.json)
    _print(text, as_json=chosen.json)
    return code


def _tell(line: str) -> None:
    print(terminal_text(line), file=sys.stderr, flush=True)

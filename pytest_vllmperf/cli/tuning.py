"""The arguments of `vllmperf tune`; what it needs is imported when it runs."""

from __future__ import annotations

import argparse

from pytest_vllmperf.cli.argument_types import filled
from pytest_vllmperf.cli.common_arguments import add_json
from pytest_vllmperf.cli.output import show, tell


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tune` with its actions."""
    tune = commands.add_parser("tune", help="find the limits of a model on this machine")
    actions = tune.add_subparsers(required=True, metavar="WHAT")
    _add_memory(actions)
    _add_serve(actions)


def _add_memory(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "memory",
        help="the largest memory and length with which it starts and serves",
        description="Tries fresh engines under a load that fills them, by bisection: the largest "
        "gpu_memory_utilization (on a CPU kv_cache_memory_bytes), then the longest max_model_len with it. What "
        "is given with --set is not searched. Exit code: 0 found, 1 nothing that was tried works, 2 bad input.",
    )
    parser.add_argument("model", help="path or hub name, or a built-in model such as vllmperf:tiny")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="arguments",
        metavar="NAME=VALUE",
        help="an engine argument, such as max_num_seqs=64; may be given several times",
    )
    parser.add_argument(
        "--gpu-memory-utilization", metavar="LOW:HIGH", help="shares to try on a GPU (default: 0.01:0.99)"
    )
    parser.add_argument(
        "--kv-cache-memory-bytes", metavar="LOW:HIGH", help="bytes to try on a CPU (default: up to what is free)"
    )
    parser.add_argument(
        "--max-model-len", metavar="LOW:HIGH", help="lengths to try (default: 128 up to the model's own)"
    )
    left = "MiB that stay free for other processes, beside what they use now (default: 512)"
    parser.add_argument("--leave-mib", type=int, default=512, metavar="N", help=left)
    _add_engine(parser, "offline", "its load")
    add_json(parser)
    parser.set_defaults(run=_tune_memory)


def _add_serve(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = actions.add_parser(
        "serve",
        help="the engine arguments with the highest goodput",
        description="Tries engines over a grid of arguments, each at its best load, and measures the best ones again "
        "on fresh engines until one is better than the others. A search that was ended goes on with the same command. "
        "docs/tuning.md. Exit code: 0 found, 1 no point meets the SLO, 2 bad input, 3 nothing could be measured.",
    )
    parser.add_argument("model", help="path or hub name, or a built-in model such as vllmperf:tiny")
    parser.add_argument("--slo", required=True, metavar="NAME=S,...",
                        help="limits in seconds: ttft, tpot, e2e (or e2el), such as ttft=.3,tpot=.03")  # fmt: skip
    parser.add_argument("--goodput", type=float, default=0.99, metavar="SHARE",
                        help="share of all requests that must meet them (default: 0.99)")  # fmt: skip
    parser.add_argument("--axis", action="append", default=[], dest="axes", metavar="NAME=V1,V2,...",
                        help="values to try of an engine argument, of concurrency, or of rate; may be given several "
                        "times (default: max_num_batched_tokens, max_num_seqs and concurrency)")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], dest="arguments", metavar="NAME=VALUE",
                        help="an engine argument of all engines, such as max_model_len=4096")  # fmt: skip
    _add_workload(parser)
    _add_search(parser)
    _add_engine(parser, "serve", "an iteration")
    parser.add_argument("--allow", default="", metavar="RULES", help="validity rules to turn off")
    parser.add_argument(
        "--results", metavar="FILE.json", help="file of all points (default: MODEL.tune.json in this folder)"
    )
    parser.add_argument("--retry", action="store_true", help="measure points that failed again")
    parser.add_argument("--yes", action="store_true", help="allow more than 10,000 points")
    add_json(parser)
    parser.set_defaults(run=_tune_serve)


def _add_workload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--input-tokens", metavar="N", default="512", help="tokens of a prompt, or LOW:HIGH (default: 512)"
    )
    parser.add_argument(
        "--output-tokens", metavar="N", default="128", help="tokens of an answer, or LOW:HIGH (default: 128)"
    )
    parser.add_argument(
        "--shared-prefix-tokens", metavar="N", help="tokens that all prompts have in common (default: none)"
    )
    count = "requests of an iteration (default: 4 times the concurrency, or 10 s at a rate; at least 64)"
    parser.add_argument("--requests", metavar="N", help=count)


def _add_search(parser: argparse.ArgumentParser) -> None:
    """How much is tried, and how often it is measured."""
    parser.add_argument(
        "--trials", metavar="N", default="20", help="engines to try beside the default one (default: 20)"
    )
    again = "most fresh engines on which the best are measured again, at least 2 (default: 5)"
    parser.add_argument("--replicates", metavar="N", default="5", help=again)
    parser.add_argument(
        "--iterations", metavar="N", default="3", help="iterations of each point, on one engine (default: 3)"
    )
    parser.add_argument("--warmup", metavar="N", default="auto", help="warm-up iterations before them (default: auto)")
    parser.add_argument("--seed", default="0", metavar="N", help="seed of the search and of the workload (default: 0)")


def _add_engine(parser: argparse.ArgumentParser, backend: str, operation: str) -> None:
    """Where an engine runs, and how long it may take.

    Args:
        parser: of the command.
        backend: unless another is given.
        operation: what an engine does at once, in words.
    """
    parser.add_argument("--backend", default=backend, help=f"offline, or serve for vLLM's server (default: {backend})")
    parser.add_argument(
        "--gpu", metavar="NAME", help="which GPU, by a part of its name (default: the first that is free)"
    )
    for name, default, doing in (("start", 900, "an engine start"), ("operation", 600, operation)):
        text = f"timeout in seconds for {doing} (default: {default})"
        parser.add_argument(f"--{name}-timeout", type=float, default=float(default), metavar="S", help=text)


def _tune_memory(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import tune

    text, code = tune.memory(filled(tune.Asked, chosen), tell, as_json=chosen.json)
    show(text, as_json=chosen.json)
    return code


def _tune_serve(chosen: argparse.Namespace) -> int:
    from pytest_vllmperf.cli import tune_serve

    text, code = tune_serve.serve(filled(tune_serve.Asked, chosen), tell, as_json=chosen.json)
    show(text, as_json=chosen.json)
    return code

"""The arguments of `vllmperf tune`; light on imports, as they are read for every command."""

from __future__ import annotations

import argparse


def add_memory(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Add `tune memory` to the actions of `tune`; returns its parser."""
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
    parser.add_argument("--backend", default="offline", help="offline, or serve for vLLM's server (offline)")
    parser.add_argument("--gpu", metavar="NAME", help="which GPU, by a part of its name (the first that is free)")
    parser.add_argument("--gpu-memory-utilization", metavar="LOW:HIGH", help="shares to try on a GPU (0.01:0.99)")
    parser.add_argument(
        "--kv-cache-memory-bytes", metavar="LOW:HIGH", help="sizes to try on a CPU (up to what is free)"
    )
    parser.add_argument("--max-model-len", metavar="LOW:HIGH", help="lengths to try (128 up to the model's own)")
    parser.add_argument("--leave-mib", type=int, default=512, metavar="N",
                        help="MiB that stay free for other processes, beside what they use now (512)")  # fmt: skip
    parser.add_argument("--start-timeout", type=float, default=900.0, metavar="S", help="for an engine's start (900)")
    parser.add_argument("--operation-timeout", type=float, default=600.0, metavar="S", help="for its load (600)")
    parser.add_argument("--json", action="store_true", help="for a program")
    return parser

"""One try of an engine: a fresh start, and a load that fills it. What goes wrong is a result."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.errors import EngineError, EngineUnsupportedError
from pytest_vllmperf.lab.lab import Lab
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.records.engine import EngineFacts, Sampling
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.sweep.memory import Outcome
from pytest_vllmperf.workload import Request, Workload

OUTPUT_TOKENS = 16
"""Of a request that fills max_model_len; its prompt is the rest, which takes one step and not one for each token."""
SHORT_TOKENS = 8
"""Prompt and output of the requests that only fill up max_num_seqs."""
_USUAL_SEQUENCES = 256
_REASON_CHARACTERS = 240
_WHOLE = ("length", "stop")
# vLLM's own advice, where the KV cache is too small: `_check_enough_kv_cache_memory` in `v1/core/kv_cache_utils.py`.
_TOO_LITTLE = re.compile(r"increas\w+ \W?gpu_memory_utilization|larger than the available KV cache memory")
_TOO_LONG = re.compile(r"max_model_len\W* \([^)]*\) is greater than the derived max_model_len")
_REFUSED = re.compile(r"^[^:]*? refused .*?: (?=\S)")
_HINT = re.compile(r"; in a test: .*$| Try increasing .*$| See https?://\S+ for more details\.?")


def stress(facts: EngineFacts, sequences: int | None) -> tuple[Request, ...]:
    """As many requests as the engine takes at once.

    As many of them as its KV cache holds, and one more, fill max_model_len; the others are short, so that the load
    takes little longer than the cache takes to be filled.

    Args:
        facts: what the engine is.
        sequences: its max_num_seqs as the user gave it; None where it tells that itself.
    """
    count = int(facts.resolved.get("max_num_seqs") or sequences or _USUAL_SEQUENCES)
    length = facts.max_model_len
    held = (facts.kv_cache_tokens or length * count) // length
    filling = min(count, held + 1)
    output = min(OUTPUT_TOKENS, max(1, length // 2))
    requests = _requests(facts, filling, length - output, output)
    short = max(1, min(SHORT_TOKENS, length // 2))
    more = _requests(facts, count - filling, short, short) if count > filling else ()
    return (*requests, *(replace(one, index=filling + one.index) for one in more))


def _requests(facts: EngineFacts, count: int, prompt: int, output: int) -> tuple[Request, ...]:
    workload = Workload.synthetic(requests=count, input_tokens=max(1, prompt), output_tokens=output)
    return workload.requests(facts.vocab_size, facts.special_token_ids)


def attempt(lab: Lab, target: Target, look: Callable[[], str]) -> tuple[Outcome, str]:
    """Start a fresh engine and load it.

    Args:
        lab: starts it.
        target: which, and where.
        look: called while the engine still runs, after the load; what it returns is why the try failed.

    Returns:
        What it came to, and why in one line; empty where it works.

    Raises:
        EngineUnsupportedError: when the build or the device cannot run it, with any memory.
        SpecError: for an argument that vLLM does not know.
        ModelError: for a model that is nowhere.
    """
    lab.retire([target])

    def load(engine: Engine) -> str:
        requests = stress(engine.facts, target.spec.args.get("max_num_seqs"))
        return _failed(requests, engine.run(requests, Sampling())) or look()

    try:
        reason = lab.ask(target, load)
    except EngineUnsupportedError:
        raise
    except EngineError as error:
        return _outcome(str(error)), in_a_line(str(error))
    finally:
        lab.retire([target])
    return (Outcome.FAILED, reason) if reason else (Outcome.WORKS, "")


def in_a_line(reason: str) -> str:
    """An engine's words in one line that is not too long, without advice that a search does not need."""
    line = _HINT.sub("", _REFUSED.sub("", " ".join(reason.split())))
    return line if len(line) <= _REASON_CHARACTERS else f"{line[: _REASON_CHARACTERS - 3]}..."


def _outcome(reason: str) -> Outcome:
    if _TOO_LITTLE.search(reason):
        return Outcome.TOO_LITTLE
    return Outcome.TOO_MUCH if _TOO_LONG.search(reason) else Outcome.FAILED


def _failed(requests: Sequence[Request], result: RunResult) -> str:
    """Why not all requests were served whole; empty where they were."""
    pairs = zip(requests, result.requests, strict=True)
    bad = [
        seen for asked, seen in pairs if seen.finish_reason not in _WHOLE or seen.output_tokens < asked.output_tokens
    ]
    if not bad:
        return ""
    first = bad[0]
    how = "did not finish" if first.finish_reason is None else f"ended with {first.finish_reason!r}"
    told = f"request {first.index} {how}, after {first.output_tokens} tokens"
    return f"{len(bad)} of {len(requests)} requests were not served: {told}"

"""The offline engine: `vllm.LLM` behind the line protocol.

Operations: `load`, `run`, `reset_prefix_cache`, `shutdown`. Each is answered by `{"ok": …}` or `{"error": …}`.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import vllmperf_cpu_build
import vllmperf_process

EXTENSION = "vllmperf_worker.Probe"


class StepCounter:
    """A stat logger that adds up what vLLM tells of each engine step; see `vllm.v1.metrics.loggers`."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Start at zero: vLLM's own counters have no reset."""
        self.engine_steps = 0
        self.preemptions = 0
        self.hit_tokens = 0
        self.itl_ns: list[int] = []

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: Any) -> None:
        """Called by vLLM once a step, with the step's own numbers."""
        if iteration_stats is not None:
            self.engine_steps += 1
            self.preemptions += iteration_stats.num_preempted_reqs
            self.itl_ns += [round(gap * 1e9) for gap in iteration_stats.inter_token_latencies_iter]
        if scheduler_stats is not None:
            self.hit_tokens += scheduler_stats.prefix_cache_stats.hits

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Every other call of vLLM's (log, sleep state and so on) is of no interest."""
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *_, **__: None


class OfflineEngine:
    """One `vllm.LLM` and what is counted about it."""

    def __init__(self) -> None:
        self.llm: Any = None
        self.counter = StepCounter()
        self.iteration = 0

    def load(self, model: str, engine_args: dict[str, Any]) -> dict[str, Any]:
        """Start vLLM with the user's arguments. Returns what the engine knows of itself."""
        import vllm

        if vllmperf_cpu_build.cpu_build_version() is not None:
            vllmperf_cpu_build.initialise_amx()
        arguments = {"disable_log_stats": False, "worker_extension_cls": EXTENSION, **engine_args}
        started = time.monotonic()
        self.llm = vllm.LLM(model, **arguments)
        seconds = time.monotonic() - started
        self.llm.llm_engine.logger_manager.stat_loggers.append(self.counter)
        return {**self.describe(), "load_seconds": seconds, "kv_cache_bytes": self.kv_cache_bytes(arguments)}

    def kv_cache_bytes(self, arguments: dict[str, Any]) -> int | None:
        """Bytes over all workers; None where the user's own worker extension took the place of ours."""
        if arguments["worker_extension_cls"] != EXTENSION:
            return None
        return sum(self.llm.collective_rpc("vllmperf_kv_cache_bytes")) or None

    def describe(self) -> dict[str, Any]:
        """Versions, sizes and what vLLM made of the arguments."""
        import torch
        import vllm
        from vllm.platforms import current_platform

        config = self.llm.llm_engine.vllm_config
        model, cache, scheduler = config.model_config, config.cache_config, config.scheduler_config
        tokenizer = None if model.skip_tokenizer_init else self.llm.get_tokenizer()
        vocab_size = model.get_vocab_size()
        device = current_platform.device_type
        return {
            "device": device,
            "device_name": current_platform.get_device_name() if device == "cuda" else None,
            "max_model_len": model.max_model_len,
            "vocab_size": vocab_size if tokenizer is None else min(vocab_size, len(tokenizer)),
            "special_token_ids": [] if tokenizer is None else list(tokenizer.all_special_ids),
            "prefix_caching": bool(cache.enable_prefix_caching),
            "kv_cache_tokens": (cache.num_gpu_blocks or 0) * (cache.block_size or 0) or None,
            "versions": {
                "vllm": vllm.__version__,
                "torch": str(torch.__version__),
                "python": sys.version.split()[0],
            },
            "resolved": {
                "dtype": str(model.dtype).removeprefix("torch."),
                "quantization": model.quantization,
                "kv_cache_dtype": cache.cache_dtype,
                "block_size": cache.block_size,
                "max_num_seqs": scheduler.max_num_seqs,
                "max_num_batched_tokens": scheduler.max_num_batched_tokens,
                "enforce_eager": model.enforce_eager,
                "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            },
        }

    def prompt_token_ids(self, request: dict[str, Any]) -> list[int]:
        """The request's prompt as tokens, through the model's own tokenizer and chat template."""
        if "prompt_token_ids" in request:
            return list(request["prompt_token_ids"])
        if self.llm.llm_engine.vllm_config.model_config.skip_tokenizer_init:
            raise ValueError("text and chat need the tokenizer, which skip_tokenizer_init=True leaves out")
        tokenizer = self.llm.get_tokenizer()
        if "prompt" in request:
            return list(tokenizer.encode(request["prompt"]))
        return list(
            tokenizer.apply_chat_template(
                request["messages"], tokenize=True, add_generation_prompt=True, return_dict=False
            )
        )

    def prepare(self, requests: list[dict[str, Any]], sampling: dict[str, Any]) -> list[tuple[str, Any, Any]]:
        """Tokens and sampling parameters of each request, refused whole when one does not fit."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        config = self.llm.llm_engine.vllm_config.model_config
        prepared = []
        for request in requests:
            tokens = self.prompt_token_ids(request)
            length = len(tokens) + request["output_tokens"]
            if length > config.max_model_len:
                raise ValueError(
                    f"request {request['index']} takes {len(tokens)} prompt + {request['output_tokens']} output"
                    f" tokens = {length}, more than max_model_len={config.max_model_len}"
                )
            parameters = SamplingParams(
                max_tokens=request["output_tokens"],
                detokenize=not config.skip_tokenizer_init,
                output_kind=RequestOutputKind.FINAL_ONLY,
                **sampling,
            )
            name = f"{self.iteration}-{request['index']}"
            prepared.append((name, {"prompt_token_ids": tokens}, parameters))
        return prepared

    def run(self, requests: list[dict[str, Any]], concurrency: int | None, sampling: dict[str, Any]) -> dict[str, Any]:
        """Send all requests, at most `concurrency` in flight, and wait for the last. Tokenizing is not timed."""
        self.iteration += 1
        waiting = self.prepare(requests, sampling)[::-1]
        order = {name: position for position, (name, _, _) in enumerate(reversed(waiting))}
        engine, limit = self.llm.llm_engine, concurrency or len(waiting)
        records: list[dict[str, Any] | None] = [None] * len(waiting)
        self.counter.clear()
        cpu, started, running = cpu_seconds(), time.perf_counter(), 0
        while waiting or running:
            while waiting and running < limit:
                engine.add_request(*waiting.pop())
                running += 1
            for output in engine.step():
                if output.finished:
                    running -= 1
                    records[order[output.request_id]] = request_record(output)
        busy = time.perf_counter() - started
        return {
            "requests": records,
            "busy_seconds": busy,
            "cpu_seconds": cpu_seconds() - cpu,
            "resident_bytes": resident_bytes(),
            "engine_steps": self.counter.engine_steps,
            "preemptions": self.counter.preemptions,
            "prefix_cache_hit_tokens": self.counter.hit_tokens,
            "itl_ns": self.counter.itl_ns,
        }

    def reset_prefix_cache(self) -> bool:
        """Whether every block was free; vLLM declines while one is in use."""
        return bool(self.llm.reset_prefix_cache())

    def shutdown(self) -> None:
        """Stop vLLM's own processes; an engine core in this process ends with it, a second sooner."""
        if self.llm is not None and vllmperf_process.descendants(os.getpid()):
            self.llm.llm_engine.engine_core.shutdown()


def request_record(output: Any) -> dict[str, Any]:
    """What is kept of a finished `RequestOutput`."""
    completion, stats = output.outputs[0], output.metrics
    return {
        "prompt_tokens": len(output.prompt_token_ids),
        "output_tokens": len(completion.token_ids),
        "cached_tokens": output.num_cached_tokens or 0,
        "finish_reason": completion.finish_reason,
        "queued_ts": stats.queued_ts,
        "scheduled_ts": stats.scheduled_ts,
        "first_token_ts": stats.first_token_ts,
        "last_token_ts": stats.last_token_ts,
    }


def cpu_seconds() -> float:
    """User and system time so far: this process to the nanosecond, its descendants to the clock tick."""
    below = vllmperf_process.descendants(os.getpid())
    return time.process_time() + sum(map(vllmperf_process.cpu_seconds, below))


def resident_bytes() -> int:
    """Resident set of this process and its descendants."""
    own = os.getpid()
    return sum(map(vllmperf_process.resident_bytes, [own, *vllmperf_process.descendants(own)]))


def serve(lines: Any) -> OfflineEngine:
    """Answer operations until `shutdown`, or until the other side is gone.

    Returns the engine, to be held until the process exits: taking vLLM's objects apart takes a second.
    """
    engine = OfflineEngine()
    for message in lines:
        operation = message.pop("op")
        try:
            answer = {"ok": getattr(engine, operation)(**message)}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": {"type": type(error).__name__, "message": str(error), "pid": os.getpid()}}
        lines.send(answer)
        if operation == "shutdown":
            break
    return engine

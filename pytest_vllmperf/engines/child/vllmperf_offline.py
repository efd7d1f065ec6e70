"""The offline engine: `vllm.LLM` behind the line protocol.

Operations: `load`, `run`, `reset_prefix_cache`, `sleep`, `wake_up`, `generate`, `score`, `render`,
`profile_start`, `profile_stop`, `shutdown`.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import vllmperf_cpu_build
import vllmperf_instructions
import vllmperf_process
import vllmperf_prompts
import vllmperf_weights
from vllmperf_steps import StepCounter

EXTENSION = "vllmperf_worker.Probe"


class OfflineEngine:
    """One `vllm.LLM` and what is counted about it."""

    def __init__(self) -> None:
        self.llm: Any = None
        self.probed = False
        self.chat: dict[str, Any] = {}
        self.chosen: dict[str, Any] = {}
        self.counter = StepCounter()
        self.iteration = 0
        self.instructions = vllmperf_instructions.Counter(None)
        self.adapters: dict[str, Any] = {}

    def load(self, model: str, engine_args: dict[str, Any], adapters: dict[str, str] | None = None) -> dict[str, Any]:
        """Start vLLM with the user's arguments. Returns what the engine knows of itself.

        Args:
            model: its path or name.
            engine_args: of vLLM.
            adapters: LoRA adapters by name, with their paths.
        """
        import vllm

        ours = {"disable_log_stats": False, "trust_remote_code": False, "worker_extension_cls": EXTENSION}
        arguments = {**ours, **engine_args}
        self.chat = vllmperf_prompts.take_chat_arguments(arguments)
        self.count_instructions()
        if vllmperf_cpu_build.cpu_build_version() is not None:
            vllmperf_cpu_build.initialise_amx()
            self.chosen = vllmperf_cpu_build.kv_cache_default(arguments)
        started = time.monotonic()
        self.llm = vllm.LLM(model, **{**arguments, **self.chosen})
        seconds = time.monotonic() - started
        self.adapters = vllmperf_prompts.lora_requests(adapters or {})
        template = getattr(self.llm, "chat_template", None)
        self.chat |= {} if template is None else {"chat_template": template}
        self.llm.llm_engine.logger_manager.stat_loggers.append(self.counter)
        probed = self.probe(arguments)
        return {**self.describe(probed["kv_cache_groups"]), **probed, "load_seconds": seconds}

    def count_instructions(self) -> None:
        """Begin to count them where the engine runs on a CPU; before it starts threads and processes."""
        if vllmperf_cpu_build.cpu_build_version() is not None:
            self.instructions = vllmperf_instructions.Counter()

    def probe(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """What only the workers know; unknown where the user's own worker extension took the place of ours."""
        config = self.llm.llm_engine.vllm_config.model_config
        told = {
            "declared": vllmperf_weights.declared(config.hf_config),
            "asked": arguments.get("quantization"),
            "resolved": config.quantization,
            "dummy": arguments.get("load_format") == "dummy",
            "loaded_bytes": None,
            "layers": [],
            "idle_bytes": 0,
        }
        self.probed = arguments["worker_extension_cls"] == EXTENSION
        if not self.probed:
            return {"kv_cache_bytes": None, "kv_cache_groups": None, "weights": told, "memory": None}
        caches = self.llm.collective_rpc("vllmperf_kv_cache")
        workers = self.llm.collective_rpc("vllmperf_weights")
        if all(worker["loaded_bytes"] is not None for worker in workers):
            told["loaded_bytes"] = sum(worker["loaded_bytes"] for worker in workers)
        told["layers"] = workers[0]["layers"]  # the ranks of one model hold alike
        told["idle_bytes"] = sum(worker["idle_bytes"] for worker in workers)
        memory = vllmperf_process.added(self.llm.collective_rpc("vllmperf_memory"))
        self.llm.collective_rpc("vllmperf_watch")
        return {
            "kv_cache_bytes": sum(cache["bytes"] for cache in caches) or None,
            "kv_cache_groups": caches[0]["groups"],  # vLLM groups layers alike on all ranks
            "weights": told,
            "memory": memory,
        }

    def after_run(self) -> dict[str, Any]:
        """What the workers tell of the run that has just ended, all of them together."""
        return (vllmperf_process.added(self.llm.collective_rpc("vllmperf_after_run")) if self.probed else None) or {}

    def describe(self, kv_cache_groups: int | None) -> dict[str, Any]:
        """Versions, sizes and what vLLM made of the arguments.

        Args:
            kv_cache_groups: in how many groups layers share the KV cache's blocks; None where unknown.
        """
        import torch
        import vllm
        from vllm.platforms import current_platform

        config = self.llm.llm_engine.vllm_config
        model, cache = config.model_config, config.cache_config
        tokenizer = self.tokenizer()
        vocab_size = model.get_vocab_size()
        device = current_platform.device_type
        return {
            "device": device,
            "device_name": current_platform.get_device_name() if device == "cuda" else None,
            "max_model_len": model.max_model_len,
            "vocab_size": vocab_size if tokenizer is None else min(vocab_size, len(tokenizer)),
            "special_token_ids": [] if tokenizer is None else list(tokenizer.all_special_ids),
            "prefix_caching": bool(cache.enable_prefix_caching),
            "kv_cache_tokens": kv_cache_tokens(cache, kv_cache_groups),
            "kv_blocks": cache.num_gpu_blocks or None,
            "max_concurrency": getattr(cache, "kv_cache_max_concurrency", None),
            "kv_config": self.kv_config(),
            "versions": {
                "vllm": vllm.__version__,
                "torch": str(torch.__version__),
                "python": sys.version.split()[0],
            },
            "resolved": self.resolved(),
            "unmeasured": self.instructions.unmeasured(),
        }

    def resolved(self) -> dict[str, Any]:
        """What vLLM made of the arguments."""
        config = self.llm.llm_engine.vllm_config
        model, cache, scheduler = config.model_config, config.cache_config, config.scheduler_config
        return {
            "dtype": str(model.dtype).removeprefix("torch."),
            "quantization": model.quantization,
            "kv_cache_dtype": cache.cache_dtype,
            "block_size": cache.block_size,
            "max_num_seqs": scheduler.max_num_seqs,
            "max_num_batched_tokens": scheduler.max_num_batched_tokens,
            "enforce_eager": model.enforce_eager,
            "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
            **self.chosen,
            **vllmperf_prompts.template_digest(self.chat),
        }

    def kv_config(self) -> dict[str, Any] | None:
        """What the model's configuration tells of its KV cache; None where the cache holds more, or not all alike."""
        config = self.llm.llm_engine.vllm_config
        drafting = getattr(config, "speculative_config", None) is not None  # a draft model's layers are in it too
        if drafting or getattr(config.cache_config, "kv_cache_dtype_skip_layers", None):
            return None
        model = config.model_config
        return {**vllmperf_weights.kv_config(model.hf_text_config), "use_mla": bool(model.use_mla)}

    def tokenizer(self) -> Any:
        """The model's own; None where it was left out."""
        model = self.llm.llm_engine.vllm_config.model_config
        return None if model.skip_tokenizer_init else self.llm.get_tokenizer()

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """A chat as `LLM.chat` renders it, with the engine's chat template.

        `LLM.chat` of older versions leaves the template of the constructor out, so it is always handed over. A version
        without the method that `LLM.chat` renders with has its chats rendered by the tokenizer.
        """
        preprocess = getattr(self.llm, "_preprocess_chat", None)
        if preprocess is None:
            return vllmperf_prompts.chat_ids(messages, self.tokenizer(), self.chat)
        return vllmperf_prompts.token_list(lambda: preprocess([messages], **self.chat)[0]["prompt_token_ids"])

    def prompt(self, request: dict[str, Any], tokenizer: Any) -> list[int]:
        """The request's token ids, refused where they do not fit."""
        tokens = vllmperf_prompts.token_ids(request, tokenizer, self.chat_ids)
        limit = self.llm.llm_engine.vllm_config.model_config.max_model_len
        vllmperf_prompts.check_fit(request, tokens, limit)
        return tokens

    def engine_input(self, request: dict[str, Any], tokenizer: Any) -> Any:
        """The request as vLLM takes it, refused where it does not fit.

        Images and sound are decoded and processed here, as text is tokenized: before the clock starts.
        """
        if not vllmperf_prompts.has_media(request):
            return {"prompt_token_ids": self.prompt(request, tokenizer)}
        preprocess = getattr(self.llm, "_preprocess_chat", None)
        if preprocess is None:
            raise ValueError("this version of vLLM takes images in process in another way; use backend='serve'")
        made = vllmperf_prompts.rendered(lambda: preprocess([request["messages"]], **self.chat)[0])
        limit = self.llm.llm_engine.vllm_config.model_config.max_model_len
        vllmperf_prompts.check_fit(request, made["prompt_token_ids"], limit)
        return made

    def adapter(self, request: dict[str, Any]) -> Any:
        """The LoRA adapter that a request names, as vLLM takes it; None where it names none."""
        return self.adapters[request["adapter"]] if request.get("adapter") else None

    def prepare(self, requests: list[dict[str, Any]], sampling: dict[str, Any]) -> list[dict[str, Any]]:
        """What `add_request` takes of each request, refused whole when one does not fit."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        config, tokenizer = self.llm.llm_engine.vllm_config.model_config, self.tokenizer()
        prepared = []
        for request in requests:
            parameters = SamplingParams(
                max_tokens=request["output_tokens"],
                detokenize=not config.skip_tokenizer_init,
                output_kind=RequestOutputKind.FINAL_ONLY,
                **sampling,
            )
            prepared.append(
                {
                    "request_id": f"{self.iteration}-{request['index']}",
                    "prompt": self.engine_input(request, tokenizer),
                    "params": parameters,
                    "lora_request": self.adapter(request),
                }
            )
        return prepared

    def run(self, requests: list[dict[str, Any]], concurrency: int | None, sampling: dict[str, Any]) -> dict[str, Any]:
        """Send all requests, at most `concurrency` in flight, and wait for the last. Tokenizing is not timed."""
        self.iteration += 1
        waiting = self.prepare(requests, sampling)[::-1]
        order = {one["request_id"]: position for position, one in enumerate(reversed(waiting))}
        engine, limit = self.llm.llm_engine, concurrency or len(waiting)
        records: list[dict[str, Any] | None] = [None] * len(waiting)
        self.counter.clear()
        instructions, cpu = self.instructions.read(), vllmperf_process.tree_cpu_seconds()
        started, running = time.perf_counter(), 0
        while waiting or running:
            while waiting and running < limit:
                engine.add_request(**waiting.pop())
                running += 1
            for output in engine.step():
                if output.finished:
                    running -= 1
                    records[order[output.request_id]] = request_record(output)
        busy = time.perf_counter() - started
        return {
            "requests": records,
            "busy_seconds": busy,
            "cpu_seconds": vllmperf_process.tree_cpu_seconds() - cpu,
            "instructions": self.instructions.since(instructions),
            "resident_bytes": vllmperf_process.tree_resident_bytes(),
            "engine_steps": self.counter.engine_steps,
            "preemptions": self.counter.preemptions,
            "prefix_cache_hit_tokens": hit_tokens(records),
            "itl_ns": self.counter.itl_ns,
            "occupation": self.counter.most,
            "drafting": self.counter.drafting or None,
            **self.after_run(),
        }

    def profile_start(self, trace: str = "") -> str:
        """Record what the GPUs of the workers do. Returns why that cannot be done; empty where it is.

        Args:
            trace: where the first rank keeps a Chrome trace; empty for nowhere.
        """
        if not self.probed:
            return "the engine sets its own worker_extension_cls"
        reason: str = next(filter(None, self.llm.collective_rpc("vllmperf_profile_start", args=(trace,))), "")
        if reason:
            self.profile_stop()  # of the ranks that could
        return reason

    def profile_stop(self) -> list[dict[str, Any]]:
        """Stop recording. Returns what the GPU of each worker did."""
        told: list[dict[str, Any]] = self.llm.collective_rpc("vllmperf_profile_stop")
        return told

    def reset_prefix_cache(self) -> bool:
        """Whether every block was free; vLLM declines while one is in use."""
        return bool(self.llm.reset_prefix_cache())

    def reset_media_caches(self) -> None:
        """Forget what was processed and encoded of images; versions without such a cache, or a reset, keep it."""
        for owner, name in ((self.llm, "reset_mm_cache"), (self.llm.llm_engine, "reset_encoder_cache")):
            reset = getattr(owner, name, None)
            if reset is not None:
                reset()

    def sleep(self) -> None:
        """Give the GPU's memory back: weights move to the host, the KV cache is forgotten (vLLM's level 1)."""
        self.llm.sleep(level=1)

    def wake_up(self) -> None:
        """Take the memory again."""
        self.llm.wake_up()

    def generate(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Greedy continuations of `output_tokens` each, past any end token."""
        from vllm import SamplingParams

        tokenizer = self.tokenizer()
        prompts = [self.engine_input(request, tokenizer) for request in requests]
        parameters = [
            SamplingParams(temperature=0.0, max_tokens=request["output_tokens"], ignore_eos=True, detokenize=False)
            for request in requests
        ]
        wanted = [self.adapter(request) for request in requests]
        lora = {"lora_request": wanted} if any(wanted) else {}
        made = self.llm.generate(prompts, parameters, use_tqdm=False, **lora)
        ids = [list(prompt["prompt_token_ids"]) for prompt in prompts]
        return {"prompts": ids, "outputs": [list(output.outputs[0].token_ids) for output in made]}

    def score(self, sequences: list[list[int]]) -> list[dict[str, Any]]:
        """Of each token but the first its log-probability after those before it, and the most probable token."""
        from vllm import SamplingParams

        # vLLM makes a token behind every prompt. It is told to make the last one, which keeps within max_model_len.
        parameters = [
            SamplingParams(
                temperature=0.0,
                max_tokens=1,
                allowed_token_ids=[sequence[-1]],
                logprobs=1,
                prompt_logprobs=1,
                detokenize=False,
            )
            for sequence in sequences
        ]
        prompts = [{"prompt_token_ids": sequence[:-1]} for sequence in sequences]
        made = self.llm.generate(prompts, parameters, use_tqdm=False)
        scored = []
        for sequence, output in zip(sequences, made, strict=True):
            own, top = [], []
            places = [*output.prompt_logprobs[1:], output.outputs[0].logprobs[0]]
            for token, candidates in zip(sequence[1:], places, strict=True):
                own.append(candidates[token].logprob)
                top.append(max(candidates, key=lambda name: candidates[name].logprob))
            scored.append({"logprobs": own, "top": top})
        return scored

    def render(self, chats: list[list[dict[str, str]]], model: str | None = None) -> list[dict[str, Any]]:
        """Chats as token ids, as this engine renders them, or by another model's tokenizer and its template."""
        if model is None:
            return vllmperf_prompts.render(chats, self.tokenizer(), self.chat_ids)
        return vllmperf_prompts.render_by(model, chats, self.chat)

    def shutdown(self) -> None:
        """Stop vLLM's own processes; an engine core in this process ends with it, a second sooner."""
        if self.llm is not None and vllmperf_process.descendants(os.getpid()):
            self.llm.llm_engine.engine_core.shutdown()


def kv_cache_tokens(cache: Any, groups: int | None) -> int | None:
    """How many tokens the KV cache holds; None where unknown.

    With one group of layers every block holds tokens of its own. With several, a token takes a block of each, fewer
    behind a sliding window: vLLM tells what that comes to. For one group its figure is not exact, as it is made of
    requests of max_model_len, what is left over in their last blocks not counted.

    Args:
        cache: vLLM's cache configuration.
        groups: in how many groups layers share the blocks; None where unknown.
    """
    if groups == 1:
        return (cache.num_gpu_blocks or 0) * (cache.block_size or 0) or None
    return getattr(cache, "kv_cache_size_tokens", None) or None


def hit_tokens(records: list[dict[str, Any] | None]) -> int:
    """Prompt tokens of all finished requests that the prefix cache held.

    The scheduler's own sum is not used: vLLM before 0.32 drops what it counted in a step without an output, and a
    request is often looked up in such a step, where steps are scheduled ahead or prompts are computed in chunks.
    """
    return sum(record["cached_tokens"] for record in records if record is not None)


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


def serve(lines: Any) -> Any:
    """Answer operations until the end; see `vllmperf_process.serve`."""
    return vllmperf_process.serve(OfflineEngine(), lines, lines)

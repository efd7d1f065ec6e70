"""The reference engine: transformers' `AutoModelForCausalLM.generate` in static batches, behind the line protocol.

Operations: `load`, `run`, `generate`, `score`, `render`, `profile_start`, `profile_stop`, `shutdown`.
"""

from __future__ import annotations

import importlib
import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import vllmperf_device_pass
import vllmperf_instructions
import vllmperf_process
import vllmperf_prompts
import vllmperf_weights

QUANTIZATIONS = ("bitsandbytes-nf4", "bitsandbytes-int8")
BATCH_SIZE = 8
_NO_LIMIT = 2**31


class StepClock:
    """A streamer: `generate` hands it the prompt first, then the new token of every row after each step."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self.prompt_seen = False

    def put(self, _: Any) -> None:
        """Note the time; the tokens have just been copied to the host, so the device is done with the step."""
        if self.prompt_seen:
            self.steps.append(time.perf_counter())
        self.prompt_seen = True

    def end(self) -> None:
        """Called by `generate` behind the last step."""


class ReferenceEngine:
    """One model of transformers."""

    def __init__(self) -> None:
        self.model: Any = None
        self.tokenizer: Any = None
        self.batch_size = BATCH_SIZE
        self.max_model_len = 0
        self.chat: dict[str, Any] = {}
        self.told: dict[str, Any] = {}
        self.recorder: Any = None
        self.hook: Any = None
        self.instructions = vllmperf_instructions.Counter(None)

    def load(self, model: str, engine_args: dict[str, Any]) -> dict[str, Any]:
        """Load the model; what is not named here goes to `from_pretrained` untouched."""
        import torch

        library: Any = importlib.import_module("transformers")
        arguments = dict(engine_args)
        self.chat = chat_arguments(arguments)
        self.batch_size = whole_number("batch_size", arguments.pop("batch_size", BATCH_SIZE))
        limit = arguments.pop("max_model_len", None)
        limit = _NO_LIMIT if limit is None else whole_number("max_model_len", limit)
        asked = arguments.pop("quantization", None)
        device = arguments.pop("device", None) or ("cuda" if torch.cuda.is_available() else "cpu")
        dtype = arguments.pop("dtype", "auto")
        trust = bool(arguments.pop("trust_remote_code", False))
        if asked is not None:
            arguments["quantization_config"] = bitsandbytes_config(asked, dtype)
        if device == "cpu":  # before the model starts threads
            self.instructions = vllmperf_instructions.Counter()
        started = time.monotonic()
        self.model = library.AutoModelForCausalLM.from_pretrained(
            model,
            dtype=dtype,
            device_map={"": device if device != "cuda" else 0},
            trust_remote_code=trust,
            **arguments,
        ).eval()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = time.monotonic() - started
        self.max_model_len = min(limit, getattr(self.model.config, "max_position_embeddings", None) or _NO_LIMIT)
        self.tokenizer = find_tokenizer(model, trust_remote_code=trust)
        self.told = {"asked": asked, "load_seconds": seconds, "device": device}
        return self.describe()

    def describe(self) -> dict[str, Any]:
        """Versions, sizes and what the arguments came to."""
        import torch
        import transformers

        config, device = self.model.config, self.told["device"]
        vocab_size = config.get_text_config().vocab_size
        declared = vllmperf_weights.declared(config)
        return {
            "load_seconds": self.told["load_seconds"],
            "device": device,
            "device_name": torch.cuda.get_device_name() if device == "cuda" else None,
            "max_model_len": self.max_model_len,
            "vocab_size": vocab_size if self.tokenizer is None else min(vocab_size, len(self.tokenizer)),
            "special_token_ids": [] if self.tokenizer is None else list(self.tokenizer.all_special_ids),
            "prefix_caching": False,
            "kv_cache_tokens": None,
            "kv_cache_bytes": None,
            "versions": {
                "transformers": transformers.__version__,
                "torch": str(torch.__version__),
                "python": sys.version.split()[0],
                **bitsandbytes_version(self.told["asked"]),
            },
            "resolved": {
                "dtype": str(self.model.dtype).removeprefix("torch."),
                "quantization": self.told["asked"] or declared.get("quant_method"),
                "batch_size": self.batch_size,
                "attention": getattr(config, "_attn_implementation", None),
                **vllmperf_prompts.template_digest(self.chat),
            },
            "unmeasured": self.instructions.unmeasured(),
            "weights": {
                "declared": declared,
                "asked": self.told["asked"],
                "resolved": declared.get("quant_method"),
                "dummy": False,
                "loaded_bytes": int(self.model.get_memory_footprint()),
                "layers": vllmperf_weights.torch_layers(self.model),
            },
        }

    def run(self, requests: list[dict[str, Any]], concurrency: int | None, sampling: dict[str, Any]) -> dict[str, Any]:
        """Send all requests in static batches, in their order. Tokenizing is not timed.

        A batch runs until its longest request is through; the next one starts then. Without a bound on concurrency
        all requests are queued at once, otherwise a request is queued when its batch starts.
        """
        prompts = [self.prompt(request) for request in requests]
        size = min(self.batch_size, concurrency or self.batch_size)
        records: list[dict[str, Any]] = []
        gaps: list[int] = []
        steps = 0
        instructions = self.instructions.read()
        cpu, started = vllmperf_process.tree_cpu_seconds(), time.perf_counter()
        for first in range(0, len(requests), size):
            batch, texts = requests[first : first + size], prompts[first : first + size]
            begun = time.perf_counter()
            outputs, clock = self.step_through(texts, [r["output_tokens"] for r in batch], sampling)
            steps += len(clock.steps)
            for tokens, text in zip(outputs, texts, strict=True):
                stamps = clock.steps[: len(tokens)]
                gaps += [round((b - a) * 1e9) for a, b in itertools.pairwise(stamps)]
                stopped = bool(tokens) and tokens[-1] in self.end_tokens(sampling)
                times = {"queued_ts": begun if concurrency else started, "scheduled_ts": begun}
                records.append({**_record(text, tokens, stamps, stopped), **times})
        return {
            "requests": records,
            "busy_seconds": time.perf_counter() - started,
            "cpu_seconds": vllmperf_process.tree_cpu_seconds() - cpu,
            "instructions": self.instructions.since(instructions),
            "resident_bytes": vllmperf_process.tree_resident_bytes(),
            "engine_steps": steps,
            "preemptions": None,
            "prefix_cache_hit_tokens": None,
            "itl_ns": gaps,
        }

    def step_through(
        self, prompts: list[list[int]], lengths: list[int], sampling: dict[str, Any]
    ) -> tuple[list[list[int]], StepClock]:
        """One static batch: the new tokens of each row, cut at its own length or end token, and when steps ended."""
        import torch

        library: Any = importlib.import_module("transformers")
        width = max(map(len, prompts))
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):  # padded on the left: all rows go on at the same place
            ids[row, width - len(prompt) :] = torch.tensor(prompt)
            mask[row, width - len(prompt) :] = 1
        temperature = sampling["temperature"]
        sampled = {"do_sample": True, "temperature": temperature, "top_k": 0}  # of all tokens, as vLLM does
        chosen = sampled if temperature > 0 else {"do_sample": False}
        ends, clock = self.end_tokens(sampling), StepClock()
        torch.manual_seed(sampling["seed"])
        with torch.inference_mode(), self.settings_aside(library.GenerationConfig()):
            made = self.model.generate(
                ids.to(self.model.device),
                attention_mask=mask.to(self.model.device),
                generation_config=library.GenerationConfig(
                    max_new_tokens=max(lengths), pad_token_id=0, eos_token_id=ends or None, **chosen
                ),
                streamer=clock,
            )
        rows = made[:, width:].tolist()
        return [cut(row[:length], ends) for row, length in zip(rows, lengths, strict=True)], clock

    @contextmanager
    def settings_aside(self, instead: Any) -> Iterator[None]:
        """What the model's own settings say, such as an end token or a repetition penalty, fills in what is unsaid."""
        own = self.model.generation_config
        self.model.generation_config = instead
        try:
            yield
        finally:
            self.model.generation_config = own

    def end_tokens(self, sampling: dict[str, Any]) -> list[int]:
        """The ids that end a request; none where it is to go on."""
        own = self.model.generation_config.eos_token_id
        if sampling["ignore_eos"] or own is None:
            return []
        return list(own) if isinstance(own, (list, tuple)) else [own]

    def chat_ids(self, messages: list[dict[str, str]]) -> list[int]:
        """A chat as the tokenizer renders it, with the engine's chat template where it has one."""
        return vllmperf_prompts.chat_ids(messages, self.tokenizer, self.chat)

    def prompt(self, request: dict[str, Any]) -> list[int]:
        """The request's token ids, refused where they do not fit."""
        tokens = vllmperf_prompts.token_ids(request, self.tokenizer, self.chat_ids)
        vllmperf_prompts.check_fit(request, tokens, self.max_model_len)
        return tokens

    def generate(self, requests: list[dict[str, Any]]) -> dict[str, Any]:
        """Greedy continuations of `output_tokens` each, past any end token."""
        greedy = {"temperature": 0.0, "seed": 0, "ignore_eos": True}
        prompts = [self.prompt(request) for request in requests]
        outputs = []
        for prompt, request in zip(prompts, requests, strict=True):  # one by one: padding changes the rounding
            outputs += self.step_through([prompt], [request["output_tokens"]], greedy)[0]
        return {"prompts": prompts, "outputs": outputs}

    def score(self, sequences: list[list[int]]) -> list[dict[str, Any]]:
        """Of each token but the first its log-probability after those before it, and the most probable token."""
        import torch

        scored = []
        for sequence in sequences:
            ids = torch.tensor([sequence], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(ids).logits[0, :-1].float()
            probabilities = torch.log_softmax(logits, dim=-1)
            own = probabilities.gather(1, ids[0, 1:, None])[:, 0]
            scored.append({"logprobs": own.tolist(), "top": probabilities.argmax(dim=-1).tolist()})
        return scored

    def render(self, chats: list[list[dict[str, str]]], model: str | None = None) -> list[dict[str, Any]]:
        """Chats as token ids, as this engine renders them, or by another model's tokenizer and its template."""
        if model is None:
            return vllmperf_prompts.render(chats, self.tokenizer, self.chat_ids)
        return vllmperf_prompts.render_by(model, chats, self.chat)

    def profile_start(self, trace: str = "") -> str:
        """Record what the GPU does. Returns why that cannot be done; empty where it is.

        Args:
            trace: where a Chrome trace is kept; empty for nowhere.
        """
        if self.told["device"] == "cpu":
            return vllmperf_device_pass.ON_CPU
        self.recorder = recorder = self.recorder or vllmperf_device_pass.Recorder()
        try:
            recorder.start(trace)
        except vllmperf_device_pass.NotRecordedError as error:
            return str(error)
        self.hook = self.model.register_forward_pre_hook(step_hook(recorder), with_kwargs=True)
        return ""

    def profile_stop(self) -> list[dict[str, Any]]:
        """Stop recording. Returns what the GPU did."""
        if self.hook is not None:
            self.hook.remove()
            self.hook = None
        return [vllmperf_device_pass.stopped(self.recorder)]

    def shutdown(self) -> None:
        """The process ends, and its memory with it."""


def step_hook(recorder: Any) -> Callable[[Any, Any, dict[str, Any]], None]:
    """A hook before each forward pass, which is a step: it computes one token of each row, or all of the prompts."""

    def begun(_: Any, positional: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = named.get("input_ids", positional[0] if positional else None)
        rows, width = (1, 1) if ids is None else ids.shape
        recorder.step(vllmperf_device_pass.phase_of(rows * width, rows))

    return begun


def chat_arguments(engine_args: dict[str, Any]) -> dict[str, Any]:
    """How chats are rendered, taken out of the engine's arguments, under the names that vLLM has for it."""
    chat = vllmperf_prompts.take_chat_arguments(engine_args)
    if chat.pop("chat_template_content_format", "auto") == "openai":
        raise ValueError(
            "this backend does not support chat_template_content_format='openai'; choose 'auto' or 'string'"
        )
    template = vllmperf_prompts.load_template(engine_args.pop("chat_template", None))
    return chat if template is None else {**chat, "chat_template": template}


def whole_number(name: str, value: Any) -> int:
    """`value` if it can count something."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name}={value!r} must be a whole number of at least 1")
    return value


def bitsandbytes_config(asked: str, dtype: Any) -> Any:
    """NF4 with double quantization, as QLoRA has it, or LLM.int8()."""
    import torch

    library: Any = importlib.import_module("transformers")
    if asked not in QUANTIZATIONS:
        raise ValueError(
            f"this backend does not support quantization={asked!r}; choose one of {', '.join(QUANTIZATIONS)}"
        )
    if asked == "bitsandbytes-int8":
        return library.BitsAndBytesConfig(load_in_8bit=True)
    compute = getattr(torch, dtype, None) if isinstance(dtype, str) else None
    return library.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute if isinstance(compute, torch.dtype) else torch.bfloat16,
    )


def bitsandbytes_version(asked: str | None) -> dict[str, str]:
    """Its version, where it is used."""
    if asked is None:
        return {}
    import bitsandbytes

    return {"bitsandbytes": str(bitsandbytes.__version__)}


def find_tokenizer(model: str, *, trust_remote_code: bool) -> Any:
    """The model's tokenizer; None where it has none, which suits prompts of token ids."""
    try:
        return vllmperf_prompts.load_tokenizer(model, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        if vllmperf_prompts.needs_trust(error):
            raise
        print(f"no tokenizer: {error}", file=sys.stderr)
        return None


def cut(tokens: list[int], ends: list[int]) -> list[int]:
    """A row up to its first end token, which counts."""
    for place, token in enumerate(tokens):
        if token in ends:
            return tokens[: place + 1]
    return tokens


def serve(lines: Any) -> Any:
    """Answer operations until the end; see `vllmperf_process.serve`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    return vllmperf_process.serve(ReferenceEngine(), lines, lines)


def _record(prompt: list[int], tokens: list[int], stamps: list[float], stopped: bool) -> dict[str, Any]:
    """The results of one request, without its times of queueing and scheduling."""
    return {
        "prompt_tokens": len(prompt),
        "output_tokens": len(tokens),
        "cached_tokens": 0,
        "finish_reason": "stop" if stopped else "length",
        "first_token_ts": stamps[0],
        "last_token_ts": stamps[-1],
    }

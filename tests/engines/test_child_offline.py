"""What the offline engine makes of vLLM's answers; vLLM is faked."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_offline", "vllmperf_process", "vllmperf_weights", "vllmperf_prompts", "vllmperf_cpu_build")
LOGPROBS = {5: -0.5, 6: -1.5, 7: -2.5, 8: -3.5}
"""What the model makes of every place."""


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    vllm = ModuleType("vllm")
    vllm.__dict__["SamplingParams"] = lambda **parameters: SimpleNamespace(**parameters)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    yield importlib.import_module("vllmperf_offline").OfflineEngine()
    for name in SCRIPTS:
        sys.modules.pop(name, None)


class Llm:
    """vllm.LLM: its configuration, its workers' answers, and generation of the only allowed token."""

    def __init__(self, config: Any = None, **answers: Sequence[Any]) -> None:
        self.llm_engine = SimpleNamespace(vllm_config=config)
        self.answers = answers
        self.asked: list[str] = []
        self.prompts: list[list[int]] = []

    def collective_rpc(self, method: str) -> Sequence[Any]:
        self.asked.append(method)
        return self.answers.get(method, ())

    def generate(self, prompts: Sequence[dict[str, Any]], parameters: Sequence[Any], *, use_tqdm: bool) -> list[Any]:
        self.prompts = [prompt["prompt_token_ids"] for prompt in prompts]
        return [self.output(*pair) for pair in zip(self.prompts, parameters, strict=True)]

    def output(self, prompt: list[int], parameters: Any) -> Any:
        assert prompt, "vLLM refuses an empty prompt"
        (token,) = parameters.allowed_token_ids
        assert (parameters.max_tokens, parameters.logprobs, parameters.prompt_logprobs) == (1, 1, 1)
        assert (parameters.temperature, parameters.detokenize) == (0.0, False)
        made = SimpleNamespace(token_ids=[token], logprobs=[candidates(token)])
        return SimpleNamespace(prompt_logprobs=[None, *map(candidates, prompt[1:])], outputs=[made])


def candidates(token: int) -> dict[int, Any]:
    """Of a place the token that stands there, and the most probable one."""
    return {name: SimpleNamespace(logprob=LOGPROBS[name]) for name in (token, 5)}


def test_every_token_but_the_first_is_scored(engine: Any) -> None:
    engine.llm = Llm()
    assert engine.score([[8, 6, 5, 7], [5, 8]]) == [
        {"logprobs": [-1.5, -0.5, -2.5], "top": [5, 5, 5]},
        {"logprobs": [-3.5], "top": [5]},
    ]


def test_a_sequence_as_long_as_the_model_allows_still_fits(engine: Any) -> None:
    """vLLM makes a token behind every prompt, for which there has to be room: the last one is that token."""
    engine.llm = Llm()
    engine.score([[8, 6, 5, 7], [5, 8]])
    assert engine.llm.prompts == [[8, 6, 5], [5]]


def model_config(**fields: Any) -> Any:
    return SimpleNamespace(
        hf_config=SimpleNamespace(quantization_config={"quant_method": "awq"}),
        hf_text_config=SimpleNamespace(to_dict=lambda: {"num_hidden_layers": 2, "model_type": "llama"}),
        quantization="awq_marlin",
        **{"use_mla": False, **fields},
    )


def vllm_config(*, cache: dict[str, Any] | None = None, **more: Any) -> Any:
    return SimpleNamespace(model_config=model_config(), cache_config=SimpleNamespace(**(cache or {})), **more)


OURS = {"worker_extension_cls": "vllmperf_worker.Probe"}
MEMORY = {"peak_activation": 5, "non_torch": 3, "cuda_graphs": None, "torch_reserved": 50}


def test_what_only_the_workers_know_is_put_together(engine: Any) -> None:
    layers = [{"method": "Marlin"}]
    weights = {"loaded_bytes": 100, "layers": layers, "idle_bytes": 7}
    engine.llm = Llm(
        vllm_config(),
        vllmperf_kv_cache=[{"bytes": 10, "groups": 2}, {"bytes": 20, "groups": 2}],
        vllmperf_weights=[weights, {**weights, "layers": []}],
        vllmperf_memory=[MEMORY, {**MEMORY, "cuda_graphs": 2}],
    )
    assert engine.probe({**OURS, "quantization": "awq"}) == {
        "kv_cache_bytes": 30,
        "kv_cache_groups": 2,
        "weights": {
            "declared": {"quant_method": "awq"},
            "asked": "awq",
            "resolved": "awq_marlin",
            "dummy": False,
            "loaded_bytes": 200,
            "layers": layers,
            "idle_bytes": 14,
        },
        "memory": {"peak_activation": 10, "non_torch": 6, "cuda_graphs": None, "torch_reserved": 100},
    }
    assert engine.llm.asked[-1] == "vllmperf_watch"  # what loading compiled does not count


def test_what_one_worker_does_not_know_is_unknown(engine: Any) -> None:
    weights = {"loaded_bytes": 100, "layers": [], "idle_bytes": 0}
    engine.llm = Llm(
        vllm_config(),
        vllmperf_kv_cache=[{"bytes": 0, "groups": None}] * 2,
        vllmperf_weights=[weights, {**weights, "loaded_bytes": None}],
        vllmperf_memory=[None, None],
    )
    told = engine.probe({**OURS, "load_format": "dummy"})
    assert (told["kv_cache_bytes"], told["kv_cache_groups"], told["memory"]) == (None, None, None)
    assert (told["weights"]["loaded_bytes"], told["weights"]["dummy"]) == (None, True)


def test_the_users_own_worker_extension_is_not_asked(engine: Any) -> None:
    engine.llm = Llm(vllm_config())
    told = engine.probe({"worker_extension_cls": "mine.Extension"})
    assert (told["kv_cache_bytes"], told["memory"], told["weights"]["layers"]) == (None, None, [])
    assert told["kv_cache_groups"] is None
    assert engine.after_run() == {}
    assert engine.llm.asked == []


@pytest.mark.parametrize(
    ("workers", "told"),
    [
        (
            [{"kernels_compiled": 1, "torch_peak_bytes": 10}, {"kernels_compiled": 2, "torch_peak_bytes": 20}],
            {"kernels_compiled": 3, "torch_peak_bytes": 30},
        ),
        ([{"kernels_compiled": 0, "torch_peak_bytes": None}], {"kernels_compiled": 0, "torch_peak_bytes": None}),
    ],
)
def test_every_run_tells_what_happened_on_its_workers(
    engine: Any, monkeypatch: pytest.MonkeyPatch, workers: list[Any], told: dict[str, int | None]
) -> None:
    engine.llm = Llm(
        vllm_config(),
        vllmperf_kv_cache=[{"bytes": 1, "groups": 1}],
        vllmperf_weights=[{"loaded_bytes": 1, "layers": [], "idle_bytes": 0}],
        vllmperf_memory=[None],
        vllmperf_after_run=workers,
    )
    engine.probe(OURS)
    monkeypatch.setattr(engine, "prepare", lambda requests, sampling: [])
    answer = engine.run([], None, {})
    assert {name: answer[name] for name in told} == told
    assert engine.llm.asked.count("vllmperf_after_run") == 1


@pytest.mark.parametrize("uses_latent_attention", [True, False])
def test_the_kv_cache_is_what_the_configuration_and_vllm_say(engine: Any, uses_latent_attention: bool) -> None:
    config = vllm_config(speculative_config=None, cache={"kv_cache_dtype_skip_layers": []})
    config.model_config.use_mla = uses_latent_attention
    engine.llm = Llm(config)
    told = {"num_hidden_layers": 2, "model_type": "llama", "use_mla": uses_latent_attention}
    assert engine.kv_config() == told
    older = vllm_config()
    older.model_config.use_mla = uses_latent_attention
    engine.llm = Llm(older)
    assert engine.kv_config() == told


@pytest.mark.parametrize(
    "changed",
    [{"speculative_config": SimpleNamespace(method="eagle")}, {"cache": {"kv_cache_dtype_skip_layers": ["0"]}}],
)
def test_a_cache_with_other_layers_in_it_is_not_foretold(engine: Any, changed: dict[str, Any]) -> None:
    engine.llm = Llm(vllm_config(**changed))
    assert engine.kv_config() is None


BLOCKS = {"num_gpu_blocks": 100, "block_size": 16}


@pytest.mark.parametrize(
    ("cache", "groups", "blocks", "tokens", "concurrency"),
    [
        ({**BLOCKS, "kv_cache_max_concurrency": 2.5}, 1, 100, 1600, 2.5),
        ({**BLOCKS, "kv_cache_size_tokens": 1587}, 1, 100, 1600, None),  # vLLM's own is not exact for one group
        ({**BLOCKS, "kv_cache_size_tokens": 700}, 2, 100, 700, None),  # a block serves one group
        ({**BLOCKS, "kv_cache_size_tokens": 700}, None, 100, 700, None),
        (BLOCKS, 2, 100, None, None),
        ({**BLOCKS, "kv_cache_size_tokens": None}, None, 100, None, None),
        ({"num_gpu_blocks": 0, "block_size": 16}, 1, None, None, None),
        ({"num_gpu_blocks": None, "block_size": None}, 0, None, None, None),
    ],
)
def test_the_capacity_of_the_kv_cache_is_told(
    engine: Any,
    monkeypatch: pytest.MonkeyPatch,
    cache: dict[str, Any],
    groups: int | None,
    blocks: int | None,
    tokens: int | None,
    concurrency: float | None,
) -> None:
    config = vllm_config(
        cache={"enable_prefix_caching": True, "cache_dtype": "auto", **cache},
        scheduler_config=SimpleNamespace(max_num_seqs=8, max_num_batched_tokens=2048),
        parallel_config=SimpleNamespace(tensor_parallel_size=2),
    )
    config.model_config = model_config(
        dtype="torch.bfloat16", max_model_len=64, enforce_eager=True, skip_tokenizer_init=True,
        get_vocab_size=lambda: 100,
    )  # fmt: skip
    engine.llm = Llm(config)
    platform = SimpleNamespace(device_type="cuda", get_device_name=lambda: "NVIDIA H200")
    for name, attributes in (
        ("torch", {"__version__": "2"}),
        ("vllm", {"__version__": "0.32"}),
        ("vllm.platforms", {"current_platform": platform}),
    ):
        module = ModuleType(name)
        module.__dict__.update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    told = engine.describe(groups)
    assert (told["kv_blocks"], told["kv_cache_tokens"], told["max_concurrency"]) == (blocks, tokens, concurrency)
    assert told["kv_config"] == engine.kv_config()
    assert told["resolved"]["tensor_parallel_size"] == 2
    assert not {"kv_cache_memory_bytes", "chat_template"} & set(told["resolved"])
    engine.chosen, engine.chat = {"kv_cache_memory_bytes": 5}, {"chat_template": "{{ x }}"}
    told = engine.describe(groups)
    assert told["resolved"]["kv_cache_memory_bytes"] == 5
    assert told["resolved"]["chat_template"]


CHAT = [{"role": "user", "content": "hello"}]


class Loaded(Llm):
    """vllm.LLM as `load` makes it: its template, and the rendering of `LLM.chat`."""

    def __init__(self, model: str, **given: Any) -> None:
        super().__init__(SimpleNamespace(model_config=SimpleNamespace(skip_tokenizer_init=False, max_model_len=64)))
        self.given, self.rendered = given, dict[str, Any]()
        self.llm_engine.logger_manager = SimpleNamespace(stat_loggers=[])
        template = given.get("chat_template")
        self.chat_template = None if template is None else f"text of {template}"

    def get_tokenizer(self) -> Any:
        return SimpleNamespace(decode=lambda tokens: f"<{tokens[0]}>")

    def _preprocess_chat(self, conversations: list[Any], **chat: Any) -> list[dict[str, Any]]:
        if conversations[0][0]["role"] != "user":
            raise TypeError("no such role")
        self.rendered = chat
        return [{"prompt_token_ids": [7, 8]}]


@pytest.fixture
def load(engine: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Loaded]:
    """Load with these arguments, on a build that is or is not the CPU's."""
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)
    build = sys.modules["vllmperf_cpu_build"]
    monkeypatch.setattr(build, "initialise_amx", lambda: None)
    monkeypatch.setattr(build, "memory_bytes", lambda: 20 * 2**30)
    monkeypatch.setattr(engine, "probe", lambda arguments: {"kv_cache_groups": 1})
    monkeypatch.setattr(engine, "describe", lambda groups: {})
    sys.modules["vllm"].__dict__["LLM"] = Loaded

    def load(cpu: bool = False, **engine_args: Any) -> Loaded:
        monkeypatch.setattr(build, "cpu_build_version", lambda: "0.32" if cpu else None)
        engine.load("org/model", engine_args)
        made: Loaded = engine.llm
        return made

    return load


def test_a_chat_is_rendered_by_vllm_with_what_the_engine_was_given(engine: Any, load: Callable[..., Loaded]) -> None:
    chat = {"chat_template_content_format": "openai", "chat_template_kwargs": {"enable_thinking": False}}
    llm = load(chat_template="a/file", tokenizer_mode="mistral", **chat)
    assert llm.given["chat_template"] == "a/file"
    assert llm.given["tokenizer_mode"] == "mistral"
    assert not set(chat) & set(llm.given)  # the constructor does not know them
    request = {"index": 0, "messages": CHAT, "output_tokens": 1}
    assert engine.prompt(request, engine.tokenizer()) == [7, 8]
    assert llm.rendered == {**chat, "chat_template": "text of a/file"}
    assert engine.render([CHAT]) == [{"ids": [7, 8], "tokens": ["<7>", "<8>"]}]


def test_without_such_arguments_vllm_decides(engine: Any, load: Callable[..., Loaded]) -> None:
    llm = load()
    assert engine.chat_ids(CHAT) == [7, 8]
    assert llm.rendered == {}


def test_what_vllm_refuses_to_render_is_the_requests_fault(engine: Any, load: Callable[..., Loaded]) -> None:
    load()
    request = {"index": 2, "messages": [{"role": "judge", "content": "x"}], "output_tokens": 1}
    with pytest.raises(ValueError, match=r"^request 2: the chat cannot be rendered: no such role$"):
        engine.prompt(request, engine.tokenizer())


def test_a_version_that_renders_otherwise_leaves_it_to_the_tokenizer(
    engine: Any, load: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(chat_template="a/file", chat_template_kwargs={"a": 1})
    monkeypatch.delattr(Loaded, "_preprocess_chat")
    monkeypatch.setattr(engine, "tokenizer", lambda: "tokenizer")
    given: list[Any] = []
    prompts = sys.modules["vllmperf_prompts"]
    monkeypatch.setattr(prompts, "chat_ids", lambda *arguments: given.append(arguments) or [3])
    assert engine.chat_ids(CHAT) == [3]
    assert given == [(CHAT, "tokenizer", {"chat_template": "text of a/file", "chat_template_kwargs": {"a": 1}})]


def test_another_model_renders_by_itself(
    engine: Any, load: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch
) -> None:
    load(chat_template="a/file")
    prompts = sys.modules["vllmperf_prompts"]
    monkeypatch.setattr(prompts, "render_by", lambda model, chats, chat: (model, chats))
    assert engine.render([CHAT], "org/other") == ("org/other", [CHAT])


DEFAULT = {"kv_cache_memory_bytes": 2 * 2**30}


@pytest.mark.parametrize(
    ("cpu", "engine_args", "chosen"),
    [
        (True, {}, DEFAULT),
        (True, {"max_model_len": 64, "kv_cache_memory_bytes": None}, DEFAULT),
        (True, {"kv_cache_memory_bytes": 5}, {}),
        (True, {"gpu_memory_utilization": 0.2}, {}),
        (False, {"trust_remote_code": True}, {}),
        (False, {}, {}),
    ],
)
def test_the_cpu_build_gets_a_kv_cache_that_it_can_start_with(
    engine: Any, load: Callable[..., Loaded], cpu: bool, engine_args: dict[str, Any], chosen: dict[str, int]
) -> None:
    given = load(cpu, **engine_args).given
    assert engine.chosen == chosen
    ours = {"disable_log_stats": False, "trust_remote_code": False, "worker_extension_cls": "vllmperf_worker.Probe"}
    assert given == {**ours, **engine_args, **chosen}


def test_unless_the_environment_gives_it_one(load: Callable[..., Loaded], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "4")
    assert "kv_cache_memory_bytes" not in load(True).given
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "")
    assert "kv_cache_memory_bytes" in load(True).given


IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]


def test_a_chat_with_an_image_is_handed_to_vllm_as_it_was_processed(engine: Any, load: Callable[..., Loaded]) -> None:
    llm = load()
    processed = {"prompt_token_ids": [7, 9, 9], "multi_modal_data": {"image": "pixels"}}
    llm.__dict__["_preprocess_chat"] = lambda chats, **chat: [processed] if chats == [IMAGE] else None
    sys.modules["vllm.sampling_params"] = ModuleType("vllm.sampling_params")
    sys.modules["vllm.sampling_params"].__dict__["RequestOutputKind"] = SimpleNamespace(FINAL_ONLY="final")
    try:
        (sent,) = engine.prepare([{"index": 3, "messages": IMAGE, "output_tokens": 1}], {})
    finally:
        del sys.modules["vllm.sampling_params"]
    assert sent["prompt"] is processed
    assert (sent["request_id"], sent["lora_request"]) == ("0-3", None)


def test_an_image_that_does_not_fit_is_refused_with_its_tokens(engine: Any, load: Callable[..., Loaded]) -> None:
    llm = load()
    llm.__dict__["_preprocess_chat"] = lambda chats, **chat: [{"prompt_token_ids": [9] * 64}]
    with pytest.raises(ValueError, match="request 0 takes 64 prompt"):
        engine.engine_input({"index": 0, "messages": IMAGE, "output_tokens": 1}, engine.tokenizer())


def test_images_of_earlier_iterations_are_forgotten_where_vllm_can(engine: Any, load: Callable[..., Loaded]) -> None:
    llm, done = load(), list[str]()
    engine.reset_media_caches()  # a version without such caches
    llm.__dict__["reset_mm_cache"] = lambda: done.append("processed")
    llm.llm_engine.reset_encoder_cache = lambda: done.append("encoded")
    engine.reset_media_caches()
    assert done == ["processed", "encoded"]

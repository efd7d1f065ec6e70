"""The reference engine's child: what it asks of transformers, what it tells, what it refuses. No model is loaded."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_vllmperf.engines import forkserver

FOLDER = Path(forkserver.__file__).parent / "child"
SCRIPTS = ("vllmperf_process", "vllmperf_prompts", "vllmperf_weights", "vllmperf_reference")
CHAT = [{"role": "user", "content": "hello"}]
UNKNOWN = "LlamaForCausalLM.__init__() got an unexpected keyword argument 'no_such'"


class Dtype:
    itemsize = 2

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


class Linear:
    in_features, out_features = 10, 10

    def named_parameters(self, *, recurse: bool) -> list[tuple[str, Any]]:
        return [("weight", SimpleNamespace(numel=lambda: 100, element_size=lambda: 2))]


class Model:
    dtype = Dtype("bfloat16")

    def __init__(self, **config: Any) -> None:
        text = SimpleNamespace(vocab_size=50)
        self.config = SimpleNamespace(get_text_config=lambda: text, _attn_implementation="sdpa", **config)
        self.evaluating = False

    def eval(self) -> Model:
        self.evaluating = True
        return self

    def get_memory_footprint(self) -> float:
        return 4096.0

    def get_output_embeddings(self) -> None:
        return None

    def modules(self) -> list[Linear]:
        return [Linear(), Linear()]


class Tokenizer:
    name_or_path, chat_template, all_special_ids = "org/model", "template", (0, 9)

    def __init__(self, first: int) -> None:
        self.first = first

    def __len__(self) -> int:
        return 40

    def decode(self, tokens: list[int]) -> str:
        return f"<{tokens[0]}>"

    def apply_chat_template(self, messages: list[dict[str, str]], chat_template: str = "", **_: Any) -> list[int]:
        return [self.first, *(len(one["content"] + chat_template) for one in messages)]


class World:
    """Torch, transformers and a clock.

    Attributes:
        script: the child's script.
        now: the time; loading takes 2 s, and the device 5 s more to be through with it.
        cuda: whether there is a GPU.
        config: of the model.
        tokenizer: of the model, or why it has none.
        loads: what `from_pretrained` was given.
        trusted: whether each tokenizer was loaded with its own code.
    """

    def __init__(self) -> None:
        self.script: Any = None
        self.now, self.cuda = 100.0, False
        self.config: dict[str, Any] = {"max_position_embeddings": 64}
        self.tokenizer: Tokenizer | Exception = Tokenizer(1)
        self.loads: list[dict[str, Any]] = []
        self.trusted: list[bool] = []

    def from_pretrained(self, model: str, **arguments: Any) -> Model:
        if "no_such" in arguments:
            raise TypeError(UNKNOWN)
        self.now += 2
        self.loads.append({"model": model, **arguments})
        return Model(**self.config)

    def find_tokenizer(self, model: str, *, trust_remote_code: bool) -> Tokenizer:
        self.trusted.append(trust_remote_code)
        if model == "org/other":
            return Tokenizer(2)
        if isinstance(self.tokenizer, Exception):
            raise self.tokenizer
        return self.tokenizer

    def synchronize(self) -> None:
        self.now += 5

    def libraries(self) -> dict[str, dict[str, Any]]:
        cuda = {
            "is_available": lambda: self.cuda,
            "synchronize": self.synchronize,
            "get_device_name": lambda: "NVIDIA H200",
        }
        torch = {"__version__": "2.13", "dtype": Dtype, "bfloat16": Dtype("bfloat16"), "float16": Dtype("float16"),
                 "cuda": SimpleNamespace(**cuda), "nn": SimpleNamespace(Linear=Linear)}  # fmt: skip
        transformers = {
            "AutoModelForCausalLM": SimpleNamespace(from_pretrained=self.from_pretrained),
            "AutoTokenizer": SimpleNamespace(from_pretrained=self.find_tokenizer),
            "BitsAndBytesConfig": dict,
            "__version__": "5.19",
        }
        return {"torch": torch, "transformers": transformers, "bitsandbytes": {"__version__": "0.49"}}

    def load(self, **engine_args: Any) -> tuple[Any, dict[str, Any]]:
        engine = self.script.ReferenceEngine()
        return engine, engine.load("org/model", engine_args)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    found = World()
    for name, content in found.libraries().items():
        module = ModuleType(name)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")  # the child sets it
    found.script = importlib.import_module("vllmperf_reference")
    monkeypatch.setattr(found.script, "time", SimpleNamespace(monotonic=lambda: found.now))
    yield found
    for name in SCRIPTS:
        sys.modules.pop(name, None)


PLAIN = {"model": "org/model", "dtype": "auto", "device_map": {"": "cpu"}, "trust_remote_code": False}


@pytest.mark.parametrize(
    ("cuda", "engine_args", "given"),
    [
        (False, {}, {}),
        (True, {}, {"device_map": {"": 0}}),
        (True, {"device": "cpu"}, {}),
        (False, {"dtype": "float16"}, {"dtype": "float16"}),
        (False, {"trust_remote_code": True}, {"trust_remote_code": True}),
        (False, {"attn_implementation": "eager", "revision": "v2"}, {"attn_implementation": "eager", "revision": "v2"}),
        (False, {"batch_size": 3, "max_model_len": 9}, {}),  # its own
    ],
)
def test_what_it_does_not_know_goes_to_transformers_untouched(
    world: World, cuda: bool, engine_args: dict[str, Any], given: dict[str, Any]
) -> None:
    world.cuda = cuda
    engine, _ = world.load(**engine_args)
    assert world.loads == [{**PLAIN, **given}]
    assert world.trusted == [given.get("trust_remote_code", False)]
    assert engine.model.evaluating


@pytest.mark.parametrize("said", [None, False])
def test_a_models_own_code_is_not_run_unless_the_user_says_so(world: World, said: bool | None) -> None:
    world.load(trust_remote_code=said)
    assert world.loads == [PLAIN]
    assert world.trusted == [False]


def test_a_tokenizer_that_needs_its_own_code_is_refused(world: World) -> None:
    world.tokenizer = ValueError("pass the argument `trust_remote_code=True`")
    with pytest.raises(ValueError, match="trust_remote_code"):
        world.load()


@pytest.mark.parametrize(
    ("cuda", "device", "told"),
    [(False, None, ("cpu", None, 2.0)), (True, None, ("cuda", "NVIDIA H200", 7.0)), (True, "cpu", ("cpu", None, 2.0))],
)
def test_loading_has_ended_once_the_device_is_through(
    world: World, cuda: bool, device: str | None, told: tuple[str, str | None, float]
) -> None:
    world.cuda = cuda
    _, facts = world.load(device=device)
    assert (facts["device"], facts["device_name"], facts["load_seconds"]) == told


@pytest.mark.parametrize(("cuda", "asked"), [(False, 1), (True, 0)])
def test_instructions_are_counted_on_a_processor_alone(
    world: World, monkeypatch: pytest.MonkeyPatch, cuda: bool, asked: int
) -> None:
    opened: list[tuple[str, int]] = []

    def refused(event: tuple[int, int]) -> int:
        opened.append(("before the model" if not world.loads else "too late", event[1]))
        raise OSError(2, "no such event")

    monkeypatch.setattr(world.script.vllmperf_instructions, "_opened", refused)
    world.cuda = cuda
    _, facts = world.load()
    assert opened == [("before the model", 1)] * asked
    words = "this machine has no hardware counters; most virtual machines have none"
    assert facts["unmeasured"] == ({"cpu_instructions": words} if asked else {})


def test_what_came_up_is_told(world: World) -> None:
    _, facts = world.load()
    assert facts["versions"] == {"transformers": "5.19", "torch": "2.13", "python": sys.version.split()[0]}
    assert facts["resolved"] == {"dtype": "bfloat16", "quantization": None, "batch_size": 8, "attention": "sdpa"}
    layers = [{"method": "Linear", "quantized": False, "layers": 2, "weights": 200, "held_bytes": 400}]
    assert facts["weights"] == {"declared": {}, "asked": None, "resolved": None, "dummy": False, "loaded_bytes": 4096,
                                "layers": layers}  # fmt: skip
    assert (facts["prefix_caching"], facts["kv_cache_tokens"], facts["kv_cache_bytes"]) == (False, None, None)


@pytest.mark.parametrize(
    ("longest", "limit", "told"), [(64, None, 64), (64, 9, 9), (64, 99, 64), (None, 99, 99), (None, None, 2**31)]
)
def test_the_longest_request(world: World, longest: int | None, limit: int | None, told: int) -> None:
    world.config = {} if longest is None else {"max_position_embeddings": longest}
    _, facts = world.load(max_model_len=limit)
    assert facts["max_model_len"] == told


@pytest.mark.parametrize(
    ("tokenizer", "vocabulary", "special"),
    [
        (Tokenizer(1), 40, [0, 9]),  # the model's table may be longer than what it has words for
        (OSError("no such file"), 50, []),
        (ValueError("unrecognized"), 50, []),
    ],
)
def test_a_model_may_have_no_tokenizer(
    world: World, tokenizer: Tokenizer | Exception, vocabulary: int, special: list[int]
) -> None:
    world.tokenizer = tokenizer
    engine, facts = world.load()
    assert (facts["vocab_size"], facts["special_token_ids"]) == (vocabulary, special)
    assert engine.prompt({"index": 0, "prompt_token_ids": (5, 6), "output_tokens": 1}) == [5, 6]


NF4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


@pytest.mark.parametrize(
    ("engine_args", "config", "compute"),
    [
        ({"quantization": "bitsandbytes-nf4"}, NF4, "torch.bfloat16"),
        ({"quantization": "bitsandbytes-nf4", "dtype": "float16"}, NF4, "torch.float16"),
        ({"quantization": "bitsandbytes-nf4", "dtype": "nn"}, NF4, "torch.bfloat16"),  # no dtype
        ({"quantization": "bitsandbytes-int8"}, {"load_in_8bit": True}, "None"),
    ],
)
def test_bitsandbytes(world: World, engine_args: dict[str, Any], config: dict[str, Any], compute: str) -> None:
    _, facts = world.load(**engine_args)
    (given,) = world.loads
    passed = dict(given["quantization_config"])
    assert repr(passed.pop("bnb_4bit_compute_dtype", None)) == compute
    assert passed == config
    assert facts["versions"]["bitsandbytes"] == "0.49"
    assert facts["weights"]["asked"] == facts["resolved"]["quantization"] == engine_args["quantization"]


def test_a_quantization_that_the_model_brings_along_is_told(world: World) -> None:
    world.config = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    _, facts = world.load()
    assert facts["resolved"]["quantization"] == facts["weights"]["resolved"] == "gptq"
    assert facts["weights"]["declared"] == {"quant_method": "gptq", "bits": 4}
    assert "bitsandbytes" not in facts["versions"]


class Lines(list[Any]):
    def __init__(self, *messages: dict[str, Any]) -> None:
        super().__init__(messages)
        self.sent: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)


@pytest.mark.parametrize(
    ("engine_args", "kind", "line"),
    [
        ({"no_such": 1}, "TypeError", UNKNOWN),
        (
            {"quantization": "awq"},
            "ValueError",
            "this backend does not support quantization='awq'; choose one of bitsandbytes-nf4, bitsandbytes-int8",
        ),
        (
            {"chat_template_content_format": "openai"},
            "ValueError",
            "this backend does not support chat_template_content_format='openai'; choose 'auto' or 'string'",
        ),
        (
            {"chat_template": "no-such.jinja"},
            "ValueError",
            "chat_template='no-such.jinja' is neither a template nor a readable file",
        ),
        *(
            ({name: value}, "ValueError", f"{name}={value!r} must be a whole number of at least 1")
            for name in ("batch_size", "max_model_len")
            for value in (0, -1, True, "8", 2.5)
        ),
    ],
)
def test_what_it_refuses_is_answered_in_one_line(
    world: World, engine_args: dict[str, Any], kind: str, line: str
) -> None:
    lines = Lines({"op": "load", "model": "org/model", "engine_args": engine_args}, {"op": "shutdown"}, {"op": "load"})
    world.script.serve(lines)
    (refused, ended) = lines.sent
    assert (refused["error"]["type"], refused["error"]["message"]) == (kind, line)
    assert ended == {"ok": None}
    assert world.loads == []  # before minutes are spent on it


def test_chats_are_rendered_by_its_own_tokenizer_or_anothers(world: World) -> None:
    engine, _ = world.load()
    assert engine.render([CHAT]) == [{"ids": [1, 5], "tokens": ["<1>", "<5>"]}]
    assert engine.render([CHAT], model="org/other") == [{"ids": [2, 5], "tokens": ["<2>", "<5>"]}]


def test_a_chat_template_of_its_own_renders_its_chats_alone(world: World) -> None:
    engine, facts = world.load(chat_template="{{ x }}", chat_template_content_format="string")
    assert world.loads == [PLAIN]
    request = {"index": 0, "messages": CHAT, "output_tokens": 1}
    assert engine.prompt(request) == engine.render([CHAT])[0]["ids"] == [1, 5 + 7]
    assert engine.render([CHAT], model="org/other")[0]["ids"] == [2, 5]
    assert len(facts["resolved"]["chat_template"]) == 12

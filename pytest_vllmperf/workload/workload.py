"""`Workload`: what to send, how much of it at once, and from which seed."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload.request import Message, Request

Length = int | tuple[int, int]


@dataclass(frozen=True)
class Workload:
    """What one iteration sends; build one with `synthetic`, `prompts` or `chat`.

    Attributes:
        kind: `synthetic`, `prompts` or `chat`.
        count: requests per iteration.
        input_tokens: prompt length in tokens, as one number or an inclusive range; synthetic only.
        output_tokens: tokens to generate per request, as one number or an inclusive range.
        concurrency: requests in flight at once; None sends all of them at once.
        seed: of lengths and token ids.
        shared_prefix_tokens: how many leading tokens all prompts have in common; synthetic only.
        inputs: the prompts, or the chats as JSON; empty for a synthetic workload.
        ignore_eos: generate exactly `output_tokens`, so that two runs do the same work.
        temperature: of sampling; 0 is greedy.
    """

    kind: str
    count: int
    output_tokens: Length
    input_tokens: Length | None = None
    concurrency: int | None = None
    seed: int = 0
    shared_prefix_tokens: int = 0
    inputs: tuple[str, ...] = ()
    ignore_eos: bool = True
    temperature: float = 0.0

    @classmethod
    def synthetic(
        cls,
        *,
        requests: int,
        input_tokens: Length,
        output_tokens: Length,
        concurrency: int | None = None,
        seed: int = 0,
        shared_prefix_tokens: int = 0,
        temperature: float = 0.0,
    ) -> Workload:
        """Random token ids with given lengths: no tokenizer, no download, the same in every run.

        Raises:
            WorkloadError: for a length or count below 1, a range that is upside down, or a shared prefix that
                leaves no room for a token of the request's own.
        """
        _check_count("requests", requests)
        _check_concurrency(concurrency)
        shortest = _check_length("input_tokens", input_tokens)[0]
        whole = isinstance(shared_prefix_tokens, int) and not isinstance(shared_prefix_tokens, bool)
        if not whole or not 0 <= shared_prefix_tokens < shortest:
            raise WorkloadError(
                f"shared_prefix_tokens={shared_prefix_tokens!r} must be at least 0 and below input_tokens={shortest}"
            )
        return cls(
            kind="synthetic",
            count=requests,
            output_tokens=_check_length("output_tokens", output_tokens, keep=True),
            input_tokens=_check_length("input_tokens", input_tokens, keep=True),
            concurrency=concurrency,
            seed=seed,
            shared_prefix_tokens=shared_prefix_tokens,
            temperature=temperature,
        )

    @classmethod
    def prompts(
        cls,
        prompts: Sequence[str],
        *,
        output_tokens: int,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """Texts of one's own.

        Raises:
            WorkloadError: for an empty list, an entry that is not text, or a length below 1.
        """
        listed = isinstance(prompts, (list, tuple)) and len(prompts) > 0
        if not listed or not all(isinstance(p, str) and p for p in prompts):
            raise WorkloadError("prompts must be a list of one or more non-empty strings")
        return cls._listed("prompts", tuple(prompts), output_tokens, concurrency, ignore_eos, temperature, seed)

    @classmethod
    def chat(
        cls,
        chats: Sequence[Sequence[Message]],
        *,
        output_tokens: int,
        concurrency: int | None = None,
        ignore_eos: bool = True,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Workload:
        """Chats: each a list of `{"role": …, "content": …}`, rendered through the model's chat template.

        Raises:
            WorkloadError: for an empty list, a message without role or content, or a length below 1.
        """
        if not isinstance(chats, (list, tuple)) or not chats:
            raise WorkloadError("chats must be a list of one chat or more")
        encoded = tuple(_encode_chat(number, messages) for number, messages in enumerate(chats))
        return cls._listed("chat", encoded, output_tokens, concurrency, ignore_eos, temperature, seed)

    @classmethod
    def _listed(
        cls,
        kind: str,
        inputs: tuple[str, ...],
        output_tokens: int,
        concurrency: int | None,
        ignore_eos: bool,
        temperature: float,
        seed: int,
    ) -> Workload:
        _check_concurrency(concurrency)
        _check_count("output_tokens", output_tokens)
        return cls(
            kind=kind,
            count=len(inputs),
            output_tokens=output_tokens,
            concurrency=concurrency,
            seed=seed,
            inputs=inputs,
            ignore_eos=ignore_eos,
            temperature=temperature,
        )

    @property
    def fresh_prompts(self) -> bool:
        """Whether no two prompts of an iteration begin alike by design, so that no prefix is worth caching."""
        return self.kind == "synthetic" and not self.shared_prefix_tokens

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits over everything that changes the work; stored beside a baseline."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]

    def describe(self) -> dict[str, Any]:
        """The workload for a stored file and a person: its settings, with the texts left to the key."""
        settings = {key: value for key, value in asdict(self).items() if key != "inputs" and value is not None}
        return {**settings, "key": self.key}

    def requests(self, vocab_size: int, special_token_ids: Sequence[int] = ()) -> tuple[Request, ...]:
        """The requests of one iteration, the same at every call.

        Args:
            vocab_size: token ids are drawn from 0 to this, exclusive.
            special_token_ids: ids never drawn, such as the end token.

        Raises:
            WorkloadError: when no ordinary token is left to draw from.
        """
        if self.kind == "synthetic":
            return self._synthetic_requests(vocab_size, frozenset(special_token_ids))
        make = _prompt_request if self.kind == "prompts" else _chat_request
        assert isinstance(self.output_tokens, int)
        return tuple(make(i, text, self.output_tokens) for i, text in enumerate(self.inputs))

    def _synthetic_requests(self, vocab_size: int, special: frozenset[int]) -> tuple[Request, ...]:
        ordinary = [token for token in range(vocab_size) if token not in special]
        if not ordinary:
            raise WorkloadError(f"no ordinary token among a vocabulary of {vocab_size}")
        draw = random.Random(self.seed)  # noqa: S311 - reproducible, not secret
        prefix = draw.choices(ordinary, k=self.shared_prefix_tokens)
        requests = []
        for index in range(self.count):
            length = _draw_length(draw, self.input_tokens)
            own = draw.choices(ordinary, k=length - len(prefix))
            requests.append(Request(index, _draw_length(draw, self.output_tokens), prompt_token_ids=(*prefix, *own)))
        return tuple(requests)


def _encode_chat(number: int, messages: object) -> str:
    whole = isinstance(messages, (list, tuple)) and len(messages) > 0
    if not whole or not all(isinstance(m, Mapping) and {"role", "content"} <= set(m) for m in messages):  # type: ignore[attr-defined]
        raise WorkloadError(f"chat {number} must be a list of messages with 'role' and 'content'")
    try:
        return json.dumps([dict(m) for m in messages], sort_keys=True)  # type: ignore[attr-defined]
    except (TypeError, ValueError) as error:
        raise WorkloadError(f"chat {number} has content that is not JSON: {error}") from None


def _prompt_request(index: int, text: str, output_tokens: int) -> Request:
    return Request(index, output_tokens, prompt=text)


def _chat_request(index: int, text: str, output_tokens: int) -> Request:
    return Request(index, output_tokens, messages=tuple(json.loads(text)))


def _draw_length(draw: random.Random, length: Length | None) -> int:
    low, high = _check_length("length", length)
    return low if low == high else draw.randint(low, high)


def _check_count(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise WorkloadError(f"{name}={value!r} must be a whole number of at least 1")


def _check_concurrency(concurrency: object) -> None:
    if concurrency is not None:
        _check_count("concurrency", concurrency)


def _check_length(name: str, length: Any, *, keep: bool = False) -> Any:
    """`length` as (low, high), or as it was given where `keep` is set."""
    low, high = length if isinstance(length, (tuple, list)) and len(length) == 2 else (length, length)
    _check_count(name, low)
    _check_count(name, high)
    if low > high:
        raise WorkloadError(f"{name}={length!r} is upside down: the smaller length comes first")
    if keep:
        return low if low == high else (low, high)
    return low, high

"""`Plan`: all that a workload says, what follows from it, and how it is sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from pytest_vllmperf.errors import WorkloadError, did_you_mean
from pytest_vllmperf.workload import building
from pytest_vllmperf.workload.arrivals import CLOSED, Arrivals
from pytest_vllmperf.workload.asking import asked, model_names
from pytest_vllmperf.workload.entries import shown
from pytest_vllmperf.workload.lengths import Lengths
from pytest_vllmperf.workload.media import media
from pytest_vllmperf.workload.request import NOTHING_ASKED, Asked, Request
from pytest_vllmperf.workload.sending import arrivals_at, check_positive

_FIRST: Final = frozenset(
    {
        "kind",
        "count",
        "output_tokens",
        "input_tokens",
        "concurrency",
        "seed",
        "shared_prefix_tokens",
        "inputs",
        "ignore_eos",
        "temperature",
    }
)
"""Fields that are in every key. Others are in it only where they are set, so that stored keys stay what they are."""

CONNECTIONS: Final = ("keep-alive", "new")

P = TypeVar("P", bound="Plan")


@dataclass(frozen=True)
class Plan:
    """What one iteration sends, and when; `Workload` adds the ways to make one.

    Attributes:
        kind: `synthetic`, `prompts`, `chat`, `tokens`, `mixed`, `conversations` or `trace`.
        count: requests per iteration.
        output_tokens: tokens to generate per request: one number, an inclusive range, or a histogram.
        input_tokens: prompt length in tokens, likewise; synthetic and traces only.
        concurrency: requests in flight at once; None sends all of them at once.
        seed: of lengths, token ids, and random arrivals.
        shared_prefix_tokens: how many leading tokens prompts have in common; synthetic only.
        inputs: the prompts, the chats as JSON, or what a trace tells of each; empty for a synthetic workload.
        ignore_eos: generate exactly `output_tokens`, so that two runs do the same work.
        temperature: of sampling; 0 is greedy.
        prefix_groups: groups of requests, each with a shared prefix of its own.
        output_lengths: tokens to generate of each request, where a file tells them and they differ.
        after: index of the turn before each request, for conversations; empty where none has one.
        block_tokens: tokens of a block of a trace; 0 where it names none.
        arrivals: when requests are due.
        send_for: seconds after which no more request is sent; None sends all.
        stream: whether answers come as events.
        keep_alive: whether connections are used again; else each request opens its own.
        asked: what requests ask of a server besides an answer.
        models: names of models, such as LoRA adapters, that requests are sent to in turn: the first to the first, and
            so on, from the start again; an empty one is the engine's own model. Without them all are sent to
            `asked.model`.
    """

    kind: str
    count: int
    output_tokens: Lengths
    input_tokens: Lengths | None = None
    concurrency: int | None = None
    seed: int = 0
    shared_prefix_tokens: int = 0
    inputs: tuple[str, ...] = ()
    ignore_eos: bool = True
    temperature: float = 0.0
    prefix_groups: int = 1
    output_lengths: tuple[int, ...] = ()
    after: tuple[int | None, ...] = ()
    block_tokens: int = 0
    arrivals: Arrivals = CLOSED
    send_for: float | None = None
    stream: bool = True
    keep_alive: bool = True
    asked: Asked = NOTHING_ASKED
    models: tuple[str, ...] = ()

    def at(
        self: P,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        arrivals: str = "poisson",
        burstiness: float = 1.0,
        ramp_to: float | None = None,
        seconds: float | None = None,
        speed: float | None = None,
    ) -> P:
        """The same requests at another load; what is not named stays as it is.

        Args:
            concurrency: requests in flight at once: a closed loop.
            rate: requests a second, whatever the server does: an open loop.
            arrivals: of an open loop: `poisson`, `constant`, `gamma` or `ramp`.
            burstiness: of `gamma`: less than 1 comes in bursts, more is more even.
            ramp_to: requests a second that `ramp` ends at; it begins at `rate`.
            seconds: after which no more request is sent.
            speed: how much faster the clock of a trace runs than it does now.

        Raises:
            WorkloadError: for values that are not valid, or do not belong together.
        """
        timed = arrivals_at(self.arrivals, concurrency, rate, arrivals, burstiness, ramp_to, speed)
        if all(one is None for one in (concurrency, rate, seconds, speed)):
            raise WorkloadError("at() needs at least one of concurrency=, rate=, seconds= and speed=")
        if seconds is not None:
            check_positive("seconds", seconds)
        return replace(
            self,
            arrivals=timed,
            concurrency=None if timed.open_loop else concurrency or self.concurrency,
            send_for=self.send_for if seconds is None else float(seconds),
        )

    def streamed(self: P, stream: bool = True) -> P:
        """The same requests with answers that come as events, or each as a whole.

        Raises:
            WorkloadError: for what is neither True nor False.
        """
        if not isinstance(stream, bool):
            raise WorkloadError(f"streamed() takes True or False, not {shown(stream)}")
        return replace(self, stream=stream)

    def over(self: P, connections: str) -> P:
        """The same requests over connections that are used again (`keep-alive`), or a `new` one for each.

        Raises:
            WorkloadError: for any other word.
        """
        if connections not in CONNECTIONS:
            near = did_you_mean(connections, CONNECTIONS) if isinstance(connections, str) else ""
            raise WorkloadError(f"connections={shown(connections)} must be 'keep-alive' or 'new'{near}")
        return replace(self, keep_alive=connections == "keep-alive")

    def asking(
        self: P,
        *,
        json_schema: Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        logprobs: int | None = None,
        model: str | Sequence[str | None] | None = None,
    ) -> P:
        """The same requests, each asking the server for more; what is not named stays as it is.

        With a schema or tools `ignore_eos` is off: tokens past the end of an answer would make it invalid.

        Args:
            json_schema: that each answer has to follow.
            tools: that the model may call, as OpenAI's `tools`.
            logprobs: alternatives that each token is to come with.
            model: name of another model, such as a LoRA adapter; or a list of names that requests are sent to in turn,
                None for the engine's own model.

        Raises:
            WorkloadError: for what is no JSON, or nothing asked.
        """
        if all(one is None for one in (json_schema, tools, logprobs, model)):
            raise WorkloadError("asking() needs at least one of json_schema=, tools=, logprobs= and model=")
        in_turn = model_names(model) if isinstance(model, (list, tuple)) else ()
        more = asked(self.asked, json_schema, tools, logprobs, None if isinstance(model, (list, tuple)) else model)
        more = replace(more, model="") if in_turn else more
        models = self.models if model is None else in_turn
        exact = self.ignore_eos and not (more.json_schema or more.tools)
        return replace(self, asked=more, models=models, ignore_eos=exact)

    @property
    def named_models(self) -> tuple[str, ...]:
        """Names of the models that requests ask for, each once; without the engine's own."""
        return tuple(dict.fromkeys(name for name in (*self.models, self.asked.model) if name))

    @property
    def why_server(self) -> str:
        """The first reason why no engine in process can send this, as the end of a sentence; empty where one can."""
        named = [name for name in self.asked.settings() if name != "model"]
        reasons = (
            (self.arrivals.open_loop, f"its requests are sent on a schedule ({self.arrivals.process} arrivals)"),
            (self.send_for is not None, f"it has a time limit (seconds={self.send_for})"),
            (not self.stream, "its answers are not streamed"),
            (not self.keep_alive, "each request opens its own connection"),
            (bool(named), f"it asks for {', '.join(named)}"),
            (any(before is not None for before in self.after), "its requests are turns of conversations"),
        )
        return next((reason for applies, reason in reasons if applies), "")

    @property
    def needs_server(self) -> bool:
        """Whether only a server can be sent this: engines in process refuse it."""
        return bool(self.why_server)

    @property
    def fresh_prompts(self) -> bool:
        """Whether no two prompts of an iteration begin alike by design, so that no prefix is worth caching."""
        return self.kind in ("synthetic", "trace") and not self.shared_prefix_tokens and not self.block_tokens

    @property
    def media(self) -> dict[str, Any]:
        """What its chats hold besides text: numbers of items and digests of contents, by kind; empty without."""
        return media(self.inputs) if self.kind in ("chat", "conversations", "mixed") else {}

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits over everything that changes the work; stored beside a baseline."""
        return hashlib.sha256(json.dumps(self._set(), sort_keys=True).encode()).hexdigest()[:12]

    def describe(self) -> dict[str, Any]:
        """The workload for a stored file and a person: its settings, with texts and long lists left to the key."""
        settings = {key: value for key, value in self._set().items() if key != "inputs" and value is not None}
        settings.pop("output_lengths", None)
        settings |= {"media": self.media} if self.media else {}
        if settings.pop("after", None):
            settings["conversations"] = self.after.count(None)
        if due := settings.get("arrivals", {}).pop("due", None):
            settings["arrivals"]["seconds"] = due[-1]
        for text in ("json_schema", "tools"):
            if text in settings.get("asked", {}):
                settings["asked"][text] = hashlib.sha256(settings["asked"][text].encode()).hexdigest()[:12]
        return {**settings, "key": self.key}

    def _set(self) -> dict[str, Any]:
        """What the key is made of, as JSON."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _FIRST or value != field.default:
                found[field.name] = value.settings() if isinstance(value, (Arrivals, Asked)) else value
        return found

    def requests(self, vocab_size: int, special_token_ids: Sequence[int] = ()) -> tuple[Request, ...]:
        """The requests of one iteration, the same at every call.

        Args:
            vocab_size: token ids are drawn from 0 to this, exclusive.
            special_token_ids: ids never drawn, such as the end token.

        Raises:
            WorkloadError: when no ordinary token is left to draw from, or a token id is none of the model's.
        """
        made = self._requests(vocab_size, special_token_ids)
        if not self.models:
            return made
        by_place = [replace(self.asked, model=name) for name in self.models]
        return tuple(replace(one, asked=by_place[one.index % len(by_place)]) for one in made)

    def _requests(self, vocab_size: int, special_token_ids: Sequence[int]) -> tuple[Request, ...]:
        """The requests, all sent to one model."""
        if self.kind == "synthetic":
            assert self.input_tokens is not None
            prefixes = building.Prefixes(self.shared_prefix_tokens, self.prefix_groups)
            vocabulary = building.Vocabulary.of(vocab_size, special_token_ids)
            lengths = (self.input_tokens, self.output_tokens)
            return building.synthetic(self.count, lengths, prefixes, self.seed, vocabulary, self.asked)
        if self.output_lengths:
            outputs = self.output_lengths
        else:
            assert isinstance(self.output_tokens, int)
            outputs = (self.output_tokens,) * self.count
        if self.kind == "trace":
            vocabulary = building.Vocabulary.of(vocab_size, special_token_ids)
            return building.traced(self.inputs, outputs, self.block_tokens, self.seed, vocabulary, self.asked)
        after = self.after or (None,) * self.count
        return building.listed(self.kind, self.inputs, outputs, after, vocab_size, self.asked)

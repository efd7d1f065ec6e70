"""`Request`: one request of a workload, and what may be asked of a server besides the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

Message = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """What a request asks of a server besides an answer; engines that run in process refuse all but an adapter.

    Attributes:
        json_schema: a JSON schema, as canonical JSON, that the answer has to follow; empty for none.
        tools: tools that the model may call, as canonical JSON of OpenAI's `tools`; empty for none.
        logprobs: how many alternatives each token is to come with; None for no log-probabilities.
        model: the served name of another model, such as a LoRA adapter; empty for the server's own.
    """

    json_schema: str = ""
    tools: str = ""
    logprobs: int | None = None
    model: str = ""

    def settings(self) -> dict[str, Any]:
        """What is asked for, by name; empty for nothing."""
        own = ((field, getattr(self, field.name)) for field in fields(self))
        return {field.name: value for field, value in own if value != field.default}


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class Request:
    """One request; exactly one of the three inputs is set.

    Attributes:
        index: its place in the workload, from 0; requests of equal index are the same work in every iteration.
        output_tokens: tokens to generate (at most, where the workload does not ignore the end token).
        prompt_token_ids: a prompt that needs no tokenizer.
        prompt: text, tokenized by the engine.
        messages: a chat, rendered by the engine through the model's chat template.
        after: index of the request that has to end before this one is sent: the turn before it in a conversation.
        asked: what it asks of a server besides.
    """

    index: int
    output_tokens: int
    prompt_token_ids: tuple[int, ...] | None = None
    prompt: str | None = None
    messages: tuple[Message, ...] | None = None
    after: int | None = None
    asked: Asked = NOTHING_ASKED

    def to_wire(self) -> dict[str, Any]:
        """The request as JSON for the process of an engine that needs no server."""
        own = {key: value for key, value in asdict(self).items() if value is not None}
        del own["asked"]
        return {**own, "adapter": self.asked.model} if self.asked.model else own

"""Engines that are driven in process: the operations that child scripts without a server know."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_vllmperf.engines.base import run_result
from pytest_vllmperf.engines.child_engine import ChildEngine
from pytest_vllmperf.records.engine import Continuations, RenderedChat, Sampling, TokenScores
from pytest_vllmperf.records.run import RunResult
from pytest_vllmperf.workload import Message, Request


class InProcessEngine(ChildEngine):
    """An engine whose child is handed requests, and answers with what it measured itself."""

    def run(self, requests: Sequence[Request], sampling: Sampling) -> RunResult:
        """Send the requests once and wait for all of them.

        Raises:
            WorkloadError: when a request does not fit the engine.
            EngineDiedError: when the engine's process ends meanwhile.
            EngineTimeoutError: when it takes longer than the operation's time-out; the engine is ended.
        """
        message = {
            "op": "run",
            "requests": [request.to_wire() for request in requests],
            "concurrency": sampling.concurrency,
            "sampling": {
                "ignore_eos": sampling.ignore_eos,
                "temperature": sampling.temperature,
                "seed": sampling.seed,
            },
        }
        return run_result(self.ask(message), requests)

    def generate(self, requests: Sequence[Request]) -> Continuations:
        """Greedy continuations, past any end token.

        Raises:
            WorkloadError: when a request does not fit the engine.
        """
        answer = self.ask({"op": "generate", "requests": [request.to_wire() for request in requests]})
        return Continuations(_tuples(answer["prompts"]), _tuples(answer["outputs"]))

    def score(self, sequences: Sequence[Sequence[int]]) -> tuple[TokenScores, ...]:
        """How probable each token of these sequences is after those before it."""
        answer = self.ask({"op": "score", "sequences": [list(sequence) for sequence in sequences]})
        return tuple(TokenScores(tuple(one["logprobs"]), tuple(one["top"])) for one in answer)

    def render(self, chats: Sequence[Sequence[Message]], model: str | None = None) -> tuple[RenderedChat, ...]:
        """Chats as token ids, as this engine renders them; by another model's tokenizer and its template with `model`.

        Raises:
            WorkloadError: for a tokenizer without chat template, or a chat that the template refuses.
        """
        listed = [[dict(message) for message in messages] for messages in chats]
        answer = self.ask({"op": "render", "chats": listed, "model": model})
        return tuple(RenderedChat(tuple(one["ids"]), tuple(one["tokens"])) for one in answer)


def _tuples(rows: Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(row) for row in rows)

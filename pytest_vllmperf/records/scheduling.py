"""What an engine's scheduler tells of one iteration: how full it was, and what speculative decoding did."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Occupation:
    """The most that was seen at the end of any engine step; requests that ended in that step do not count.

    Attributes:
        running: requests running at once; None where the engine does not tell.
        waiting: requests waiting at once; None where the engine does not tell.
        kv_usage: share of the KV cache's blocks in use, 0 .. 1; None where the engine does not tell.
    """

    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None


@dataclass(frozen=True)
class Drafting:
    """What speculative decoding proposed, and what became of it.

    Attributes:
        drafts: how often tokens were proposed for a request; None where the engine does not tell.
        proposed: tokens proposed.
        accepted: of these, tokens that the model confirmed.
    """

    drafts: float | None
    proposed: float
    accepted: float

    @property
    def acceptance(self) -> float | None:
        """Tokens accepted of those proposed, 0 .. 1; None where nothing was proposed."""
        return self.accepted / self.proposed if self.proposed else None

    @property
    def length(self) -> float | None:
        """Tokens that a step with a draft made, on average: those accepted and the model's own.

        vLLM's "mean acceptance length" (vllm.v1.spec_decode.metrics). None where nothing was proposed.
        """
        return 1 + self.accepted / self.drafts if self.drafts else None

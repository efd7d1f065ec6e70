"""How far two engines say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Tokens = Sequence[int]


@dataclass(frozen=True)
class Quality:
    """How far an engine says the same as the reference, on the same prompts.

    Attributes:
        prompts: how many.
        tokens: the longest continuation that was compared, in tokens.
        agreement: mean share of the reference's greedy continuation before the first token that differs, 0 .. 1.
        logprob_difference: mean absolute difference of the log-probabilities (natural) that the two give to the
            reference's continuation, each token after those before it.
        top1_agreement: share of these places where both hold the same token most probable, 0 .. 1.
    """

    prompts: int
    tokens: int
    agreement: float
    logprob_difference: float
    top1_agreement: float

    def shortfalls(self, agreement: float, logprob_difference: float, top1_agreement: float) -> list[str]:
        """What misses these limits, each in words; a value that is not a number misses any."""
        found = []
        if not self.agreement >= agreement:
            found.append(f"greedy agreement {self.agreement:.1%} of {self.tokens} tokens (at least {agreement:.0%})")
        if not self.logprob_difference <= logprob_difference:
            found.append(
                f"mean log-probability difference {self.logprob_difference:.3g} (at most {logprob_difference:g})"
            )
        if not self.top1_agreement >= top1_agreement:
            found.append(f"top-1 agreement {self.top1_agreement:.1%} (at least {top1_agreement:.0%})")
        return found

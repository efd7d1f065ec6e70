"""Two engines asked the same: who is asked what, and what is made of the answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from pytest_vllmperf.comparing.answers import checked_chats, compare_answers, first_requests
from pytest_vllmperf.engines.base import Engine
from pytest_vllmperf.engines.simulated import SimulatedEngine
from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.lab.sharing import Sharing, Way
from pytest_vllmperf.lab.target import Target
from pytest_vllmperf.metrics.measurement import Measurement
from pytest_vllmperf.records.engine import Continuations, TokenScores
from pytest_vllmperf.records.quality import Quality
from pytest_vllmperf.records.spec import EngineSpec
from pytest_vllmperf.workload import Request, Workload

Answer = TypeVar("Answer")
SYNTHETIC = Workload.synthetic(requests=20, input_tokens=3, output_tokens=(2, 9), seed=4)
HELLO = [{"role": "user", "content": "hello"}]


class Scripted(SimulatedEngine):
    """Says what it is told to, and notes what it was asked."""

    def __init__(self, outputs: Sequence[tuple[int, ...]], logprob: float, top: int, prompt: int = 1) -> None:
        super().__init__(EngineSpec.create("m", backend="simulated"))
        self.outputs, self.logprob, self.top, self.prompt = outputs, logprob, top, prompt
        self.asked: list[tuple[Request, ...]] = []
        self.scored: list[Sequence[Sequence[int]]] = []

    def generate(self, requests: Sequence[Request]) -> Continuations:
        self.asked.append(tuple(requests))
        return Continuations(tuple((7, self.prompt) for _ in self.outputs), tuple(self.outputs))

    def score(self, sequences: Sequence[Sequence[int]]) -> tuple[TokenScores, ...]:
        self.scored.append(sequences)
        return tuple(TokenScores((self.logprob,) * (len(one) - 1), (self.top,) * (len(one) - 1)) for one in sequences)


class Rounds:
    """Two engines that are there, and notes which was used."""

    sharing = Sharing(Way.RESIDENT, (Target(EngineSpec.create("a")), Target(EngineSpec.create("b"))))

    def __init__(self, own: SimulatedEngine, reference: SimulatedEngine, workload: Workload = SYNTHETIC) -> None:
        self.engines = (own, reference)
        self.workload = workload
        self.used: list[int] = []

    def measure_round(self) -> tuple[Measurement, Measurement]:
        raise AssertionError("nothing is to be measured")

    def ask(self, side: int, use: Callable[[Engine], Answer]) -> Answer:
        self.used.append(side)
        return use(self.engines[side])


@pytest.fixture
def own() -> Scripted:
    return Scripted(outputs=[(1, 2, 3), (9, 9)], logprob=-1.5, top=3)


@pytest.fixture
def reference() -> Scripted:
    return Scripted(outputs=[(1, 2, 8, 8), (5, 6)], logprob=-1.0, top=3)


def test_both_are_judged_on_the_references_continuation(own: Scripted, reference: Scripted) -> None:
    rounds = Rounds(own, reference)
    found = compare_answers(rounds, ["x", "y"], 4)
    assert own.scored == reference.scored == [[[7, 1, 1, 2, 8, 8], [7, 1, 5, 6]]]
    assert found == Quality(prompts=2, tokens=4, agreement=0.25, logprob_difference=0.5, top1_agreement=1.0)


def test_each_engine_is_asked_once_and_the_reference_first(own: Scripted, reference: Scripted) -> None:
    """Where engines are started in turns, each question costs a start."""
    rounds = Rounds(own, reference)
    compare_answers(rounds, ["x", "y"], 4)
    assert rounds.used == [1, 0]
    assert len(own.asked) == len(reference.asked) == 1


@pytest.mark.parametrize(
    ("prompts", "sent"),
    [
        (["x y", "z"], {"prompt": ("x y", "z")}),
        (("x y", "z"), {"prompt": ("x y", "z")}),
        ([HELLO, [*HELLO, *HELLO]], {"messages": (tuple(HELLO), (*HELLO, *HELLO))}),
    ],
)
def test_both_are_sent_the_prompts_that_were_given(
    own: Scripted, reference: Scripted, prompts: Any, sent: dict[str, tuple[Any, ...]]
) -> None:
    compare_answers(Rounds(own, reference), prompts, 11)
    ((name, values),) = sent.items()
    assert own.asked == reference.asked == [tuple(Request(i, 11, **{name: value}) for i, value in enumerate(values))]


def test_without_prompts_it_is_the_beginning_of_the_workload(own: Scripted, reference: Scripted) -> None:
    compare_answers(Rounds(own, reference), None, 5)
    wanted = SYNTHETIC.requests(1000, (0,))[:16]
    assert [one.prompt_token_ids for one in own.asked[0]] == [one.prompt_token_ids for one in wanted]
    assert [one.output_tokens for one in own.asked[0]] == [min(5, one.output_tokens) for one in wanted]
    assert {one.output_tokens for one in own.asked[0]} == {2, 3, 4, 5}  # some have less room than was asked for
    assert own.asked == reference.asked


def test_prompts_that_make_other_tokens_are_told(reference: Scripted) -> None:
    own = Scripted(reference.outputs, -1.0, 3, prompt=2)
    with pytest.raises(WorkloadError) as caught:
        compare_answers(Rounds(own, reference), ["x", "y"], 4)
    assert str(caught.value) == ("the two engines cannot be compared: prompt 0: token 1 is 2, the reference has 1")


def test_a_synthetic_workload_is_not_the_same_for_engines_of_two_vocabularies() -> None:
    class OfTheirOwn(Scripted):
        def generate(self, requests: Sequence[Request]) -> Continuations:
            prompts = tuple(one.prompt_token_ids or () for one in requests)
            return Continuations(prompts, tuple((1,) * one.output_tokens for one in requests))

    own, reference = OfTheirOwn((), -1.0, 3), OfTheirOwn((), -1.0, 3)
    assert compare_answers(Rounds(own, reference), None, 2).prompts == 16
    own.facts = type(own.facts)(**{**vars(own.facts), "vocab_size": 500})
    with pytest.raises(WorkloadError, match="cannot be compared: prompt 0: token 0 is "):
        compare_answers(Rounds(own, reference), None, 2)


@pytest.mark.parametrize(
    ("prompts", "tokens", "line"),
    [
        ([], 4, "prompts must be a list of at least one text or chat"),
        ((), 4, "prompts must be a list of at least one text or chat"),
        ("hello", 4, "prompts must be a list of at least one text or chat"),
        (["a", HELLO], 4, "prompts must be either all texts or all chats"),
        (["a", ""], 4, "prompts must be a list of one or more non-empty strings"),
        ([HELLO, []], 4, "chat 1 must be a list of messages with 'role' and 'content'"),
        ([HELLO[0]], 4, "chat 0 must be a list of messages with 'role' and 'content'"),
        (["a"], 0, "tokens=0 must be a whole number of at least 1"),
        (["a"], True, "tokens=True must be a whole number of at least 1"),
        (["a"], 2.0, "tokens=2.0 must be a whole number of at least 1"),
        (None, -1, "tokens=-1 must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_an_engine_is_asked(
    own: Scripted, reference: Scripted, prompts: Any, tokens: Any, line: str
) -> None:
    rounds = Rounds(own, reference)
    with pytest.raises(WorkloadError) as caught:
        compare_answers(rounds, prompts, tokens)
    assert str(caught.value) == line
    assert rounds.used == []


@pytest.mark.parametrize(("count", "tokens", "lengths"), [(2, 3, [3, 3]), (9, 3, [3, 3, 3]), (1, 100, [8])])
def test_the_first_requests(own: Scripted, count: int, tokens: int, lengths: list[int]) -> None:
    requests = first_requests(own, Workload.prompts(["a", "b", "c"], output_tokens=8), count, tokens)
    assert [one.output_tokens for one in requests] == lengths
    assert [one.prompt for one in requests] == ["a", "b", "c"][:count]


def test_chats_are_taken_as_they_are() -> None:
    spoken = [{"role": "system", "content": "be brief"}, *HELLO]
    assert checked_chats([HELLO, tuple(spoken)]) == [tuple(HELLO), tuple(spoken)]


@pytest.mark.parametrize("chats", [[], "hello", [HELLO[0]], [[]], [[{"role": "user"}]], [["hello"]]])
def test_chats_that_are_none_are_refused(chats: Any) -> None:
    with pytest.raises(WorkloadError, match=r"^chats must be a list|^chat 0 must be a list of messages"):
        checked_chats(chats)


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
PICTURES = Workload.chat([[{"role": "user", "content": [IMAGE]}]], output_tokens=4)


@pytest.mark.parametrize(
    ("workload", "prompts", "said"),
    [
        (SYNTHETIC.asking(model="sql"), None, "of the adapter 'sql' cannot be compared"),
        (SYNTHETIC.asking(model=[None, "sql"]), ["x", "y"], "of the adapter 'sql' cannot be compared"),
        (PICTURES, None, "answers to images or sound cannot be compared; pass prompts= of text"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anybody_is_asked(
    own: Scripted, reference: Scripted, workload: Workload, prompts: Any, said: str
) -> None:
    """Scored by the model alone, an adapter's answers would look the same however wrong they are."""
    rounds = Rounds(own, reference, workload)
    with pytest.raises(WorkloadError, match=said):
        compare_answers(rounds, prompts, 4)
    assert rounds.used == []


def test_text_can_be_compared_beside_images(own: Scripted, reference: Scripted) -> None:
    assert compare_answers(Rounds(own, reference, PICTURES), ["x", "y"], 4).prompts == 2

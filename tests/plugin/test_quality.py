"""Whether two engines say the same, as a test asserts it; a simulated engine's `deviation` makes it say other things.

Of the 5 tokens of each answer, a deviation of 0.2 spoils the last one, and 0.6 the last three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.plugin.conftest import Project

OURS = ("Traceback", "comparison.py", "fixture.py", "answers.py", "def test_same")
CHATS = '[[{"role": "user", "content": "hi there"}], [{"role": "user", "content": "and now"}]]'


def _compare(project: Project, claim: str, deviation: float = 0.0, way: str = "resident") -> None:
    """A test that compares two engines; `claim` is what it does with the comparison."""
    project.module(f"""
CHATS = {CHATS}

def test_same(vllmperf):
    a = vllmperf.engine("own", backend="simulated", deviation={deviation})
    b = vllmperf.engine("right", backend="simulated")
    comparison = vllmperf.compare(a, b, WORK, way={way!r})
    {claim}
""")


def _without_a_trace(result: pytest.RunResult) -> None:
    for trace in OURS:
        assert trace not in result.stdout.str()


@pytest.mark.parametrize("way", ["resident", "restart"])
def test_engines_that_say_the_same_pass(project: Project, way: str, workers: list[str]) -> None:
    _compare(project, "comparison.assert_same_quality()", way=way)
    result = project.run("--vllmperf", *workers)
    result.assert_outcomes(passed=1)
    assert [line for line in result.outlines if "agreement" in line] == [
        "  greedy agreement 100% of 5 tokens, log-probability difference 0, top-1",
        "    agreement 100% (4 prompts)",
    ]


@pytest.mark.parametrize("way", ["resident", "restart"])
def test_engines_that_do_not_fail_in_one_text(project: Project, way: str, workers: list[str]) -> None:
    _compare(project, "comparison.assert_same_quality()", 0.6, way)
    result = project.run("--vllmperf", "--tb=long", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "QUALITY own deviation=0.6 against right, 4 prompts:",
            "    greedy agreement 40.0% of 5 tokens (at least 50%)",
            "    mean log-probability difference 0.6 (at most 0.1)",
            "    top-1 agreement 0.0% (at least 90%)",
        ],
        consecutive=True,
    )
    result.stdout.fnmatch_lines(
        [
            "  greedy agreement 40% of 5 tokens, log-probability difference 0.6, top-1",
            "    agreement 0% (4 prompts)",
        ],
        consecutive=True,
    )
    _without_a_trace(result)


def test_only_what_falls_short_is_named(project: Project) -> None:
    _compare(project, "comparison.assert_same_quality()", 0.2)
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    start = result.outlines.index("QUALITY own deviation=0.2 against right, 4 prompts:")
    assert result.outlines[start + 1] == "    mean log-probability difference 0.2 (at most 0.1)"
    assert "at least" not in result.stdout.str()


@pytest.mark.parametrize(
    ("limits", "passes"),
    [
        ("agreement=0.4, logprob_difference=0.61, top1_agreement=0", True),
        ("agreement=0.41, logprob_difference=0.61, top1_agreement=0", False),
        ("agreement=0.4, logprob_difference=0.59, top1_agreement=0", False),
        ("agreement=0.4, logprob_difference=0.61, top1_agreement=0.01", False),
    ],
)
def test_each_limit_decides(project: Project, limits: str, passes: bool) -> None:
    _compare(project, f"comparison.assert_same_quality({limits})", 0.6)
    result = project.run("--vllmperf")
    result.assert_outcomes(**({"passed": 1} if passes else {"failed": 1}))
    assert ("QUALITY own deviation=0.6 against right, 4 prompts:" in result.outlines) is not passes


def test_measuring_it_fails_nothing(project: Project) -> None:
    claim = "found = comparison.measure_quality(); assert (found.prompts, found.tokens) == (4, 5); "
    claim += "assert found.agreement == 0.4; assert found.logprob_difference == pytest.approx(0.6); "
    _compare(project, f"{claim}assert found.top1_agreement == 0", 0.6)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  greedy agreement 40% of 5 tokens, log-probability difference 0.6, top-1"])


@pytest.mark.parametrize("prompts", ["['a b c', 'd']", CHATS])
def test_prompts_and_tokens_of_ones_own(project: Project, prompts: str) -> None:
    claim = f"found = comparison.assert_same_quality({prompts}, tokens=10, logprob_difference=1); "
    _compare(project, f"{claim}assert (found.prompts, found.tokens, found.agreement) == (2, 10, 0.7)", 0.3)
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["  greedy agreement 70% of 10 tokens, log-probability difference 0.3, top-1"])


def test_the_summary_has_no_quality_that_was_not_asked_for(project: Project) -> None:
    _compare(project, "comparison.assert_same_chat_template(CHATS)")
    result = project.run("--vllmperf")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["test_same: own deviation=0.0 against right, both resident"])
    assert "agreement" not in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("'one text'", "prompts must be a list of at least one text or chat"),
        ("[]", "prompts must be a list of at least one text or chat"),
        ("['a text', CHATS[0]]", "prompts must be either all texts or all chats"),
        ("tokens=0", "tokens=0 must be a whole number of at least 1"),
        ("tokens=2.5", "tokens=2.5 must be a whole number of at least 1"),
    ],
)
def test_what_cannot_be_asked_is_one_line(project: Project, arguments: str, line: str) -> None:
    _compare(project, f"comparison.assert_same_quality({arguments})")
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    assert line in result.outlines
    _without_a_trace(result)


@pytest.mark.parametrize("way", ["resident", "restart"])
def test_chat_templates_of_two_engines(project: Project, way: str, workers: list[str]) -> None:
    _compare(project, "comparison.assert_same_chat_template(CHATS)", way=way)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    _compare(project, "comparison.assert_same_chat_template(CHATS)", 1.0, way)
    result = project.run("--vllmperf", "--tb=long", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "CHAT_TEMPLATE own deviation=1.0 differs from that of right",
            "    chat 0: token 0 is 5 'extra', the reference has 2 'hi'",
        ],
        consecutive=True,
    )
    _without_a_trace(result)


def _reference(project: Project, chats: str = CHATS, deviation: float = 0.0, argument: str = "") -> None:
    """A test that compares its engine's chat template with that of another model, which puts `extra` in front."""
    project.module(f"""
@pytest.mark.vllm("marked", backend="simulated", deviation={deviation})
def test_same(vllmperf):
    other = vllmperf.engine("other", backend="simulated", deviation=1.0 - {deviation})
    vllmperf.assert_same_chat_template("the/right", {chats}{argument})
""")


def test_the_chat_template_of_a_reference(project: Project, workers: list[str]) -> None:
    _reference(project, deviation=1.0)
    project.run("--vllmperf", *workers).assert_outcomes(passed=1)
    _reference(project)
    result = project.run("--vllmperf", "--tb=long", *workers)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "CHAT_TEMPLATE marked deviation=0.0 differs from that of the/right",
            "    chat 0: token 0 is 2 'hi', the reference has 5 'extra'",
        ],
        consecutive=True,
    )
    _without_a_trace(result)


def test_a_rendering_that_ends_before_the_references_is_told(project: Project) -> None:
    """A word of five letters has the token id of the reference's own first word."""
    _reference(project, '[[{"role": "user", "content": "seven"}]]')
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["    chat 0: token 1 is none (the end), the reference has 5 'seven'"])


def test_the_engine_that_is_named_goes_before_the_markers(project: Project) -> None:
    _reference(project, argument=", engine=other")
    project.run("--vllmperf").assert_outcomes(passed=1)
    _reference(project, deviation=1.0, argument=", engine=other")
    result = project.run("--vllmperf")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["CHAT_TEMPLATE other deviation=0.0 differs from that of the/right"])


def test_a_template_without_an_engine_is_one_line(project: Project) -> None:
    project.module(f"def test_same(vllmperf):\n    vllmperf.assert_same_chat_template('the/right', {CHATS})\n")
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["test_chat.py::test_same: no engine to measure; mark the test with *"])
    _without_a_trace(result)


@pytest.mark.parametrize(
    ("chats", "line"),
    [
        ("[]", "chats must be a list of one chat or more"),
        ("['hi']", "chat 0 must be a list of messages with 'role' and 'content'"),
        ('[[{"role": "user"}]]', "chat 0 must be a list of messages with 'role' and 'content'"),
    ],
)
def test_chats_that_are_none_are_one_line(project: Project, chats: str, line: str, starts: list[str]) -> None:
    _reference(project, chats)
    result = project.run("--vllmperf", "--tb=long")
    result.assert_outcomes(failed=1)
    assert line in result.outlines
    _without_a_trace(result)
    assert starts == []

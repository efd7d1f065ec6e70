"""Every block of Python in the documents runs: tests with the plugin armed, on the simulated engine."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import VllmPerfWarning
from pytest_vllmperf.storage import runs
from tests.docs import simulating
from tests.docs.blocks import Block, all_blocks
from tests.interpreters import interpreter
from tests.needs import VLLM
from tests.reporting import hostile_run

BLOCKS = [one for one in all_blocks() if one.language == "python"]
HEAD = """
import pathlib

import pytest

import pytest_vllmperf
from pytest_vllmperf import EngineSpec, Measurement, VllmPerf, VllmPerfSession, Workload

MODEL = "vllmperf:tiny"
MODELS = dict.fromkeys(["full", "awq", "gptq"], MODEL)


def grade(run):
    return 0.9


CHAT = WORK = WORKLOAD = BATCH = Workload.synthetic(requests=4, input_tokens=8, output_tokens=4, concurrency=2)
"""
LOOSE = """
@pytest.mark.vllm(MODEL)
def test_snippet(vllmperf):
    chats = Workload.chat([[{{"role": "user", "content": "Hello"}}]], output_tokens=4)
    run = vllmperf.measure(WORK)
    vllmperf.record("accuracy", grade, unit="share", better="higher")
{body}
"""
TALK = {
    "messages": [{"role": "user", "content": "Where is my parcel?"}, {"role": "assistant", "content": "On its way."}]
}
MOONCAKE = {"timestamp": 0, "input_length": 600, "output_length": 4, "hash_ids": [1, 2]}
AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,8,4\n2023-11-16 18:15:50.9951690,8,4\n"


class Seen:
    """What became of the tests of a snippet, and what they raised."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.raised: list[BaseException] = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
        report = yield
        if call.when == "call" and not report.skipped:
            self.ran.append(item.name)
        if call.excinfo is not None:
            self.raised.append(call.excinfo.value)
        return report


def source(text: str) -> str:
    """A module of a snippet; what is not a test stands in one."""
    if "def test_" in text or "import " in text:
        return HEAD + text
    return HEAD + LOOSE.format(body="".join(f"    {line}\n" for line in text.splitlines()))


def inputs(folder: Path) -> None:
    """The files that snippets read."""
    talk = [
        {"id": str(n), "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
        for n in range(2)
    ]
    (folder / "chats.json").write_text(json.dumps(talk * 250))
    (folder / "cat.png").write_bytes(b"a cat")
    (folder / "support.jsonl").write_text(f"{json.dumps(TALK)}\n" * 300)
    (folder / "mooncake.jsonl").write_text(
        "".join(json.dumps({**MOONCAKE, "timestamp": 10 * n}) + "\n" for n in range(1000))
    )
    (folder / "AzureLLMInferenceTrace_conv.csv").write_text(AZURE)
    (folder / "pytest.ini").write_text("[pytest]\n")
    runs.write(folder / "run.json", hostile_run())


def ran(pytester: pytest.Pytester, text: str) -> Seen:
    """Run a snippet, armed."""
    inputs(pytester.path)
    branch = pytester.path.parent / "vllm-branch" / ".venv"
    if not branch.exists():
        interpreter(branch)
    pytester.makepyfile(test_snippet=source(text))
    seen = Seen()
    short = ["--vllmperf-update", "--vllmperf-iterations=2", "--vllmperf-warmup=0", "--vllmperf-max-engines=3"]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.filterwarnings("default", category=VllmPerfWarning)
        patch.setenv("KEY", "a-key-of-a-server")
        plain = ["-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-p", "no:anyio"]
        pytester.runpytest_inprocess(*plain, *short, plugins=[simulating, seen])
    return seen


def wrong(seen: Seen) -> list[str]:
    """What is wrong with a snippet. A claim on speed need not hold on an engine that is none."""
    return [f"{type(one).__name__}: {one}" for one in seen.raised if not _a_claim(one)]


def _a_claim(error: BaseException) -> bool:
    return isinstance(error, AssertionError) and not str(error).startswith(("INVALID", "NOT_COMPARABLE"))


@pytest.mark.parametrize("block", BLOCKS, ids=lambda one: one.where)
def test_it_runs(pytester: pytest.Pytester, block: Block) -> None:
    if block.reason:
        pytest.skip(block.reason)
    seen = ran(pytester, block.text)
    tests = re.findall(r"^def (test_\w+)", source(block.text), re.MULTILINE)
    assert wrong(seen) == []
    assert {name.partition("[")[0] for name in seen.ran} == set(tests)


CHECKED = """
@pytest.mark.vllm(MODEL, max_model_len=512)
def test_chat(vllmperf):
    run = vllmperf.measure(CHAT)
    vllmperf.check(run)
"""
SERVED = """
def test_rate(vllmperf):
    run = vllmperf.find_max_rate(CHAT.at(concurrency=2), ttft=0.5, endpoint=vllmperf.endpoint("http://a/v1", model="m"))
"""


@pytest.mark.parametrize(
    ("text", "before", "after", "said"),
    [
        (CHECKED, "vllmperf.check(run)", "vllmperf.chek(run)", "chek"),
        (CHECKED, "vllmperf.check(run)", "vllmperf.check(run, margins=0.1)", "margins"),
        (CHECKED, "vllmperf.check(run)", "assert run.tftt.p99", "tftt"),
        (CHECKED, "measure(CHAT)", "measure(Workload.synthetic(request=4))", "request"),
        (CHECKED, "measure(CHAT)", 'measure(Workload.sharegpt("nope.json"))', "nope.json"),
        (SERVED, "ttft=0.5", "ttft=-1", "ttft"),
        (SERVED, "ttft=0.5", "tfft=0.5", "tfft"),
        (SERVED, "http://a/v1", "ftp://a/v1", "begins with http://"),
    ],
)
def test_a_wrong_snippet_is_found(pytester: pytest.Pytester, text: str, before: str, after: str, said: str) -> None:
    assert text.count(before) == 1
    (found,) = wrong(ran(pytester, text.replace(before, after)))
    assert said in found


@VLLM
def test_an_argument_that_vllm_does_not_have_is_found(pytester: pytest.Pytester) -> None:
    (found,) = wrong(ran(pytester, CHECKED.replace("max_model_len", "max_modle_len")))
    assert "max_modle_len" in found


def test_the_models_of_wrong_snippets_are_right(pytester: pytest.Pytester) -> None:
    assert wrong(ran(pytester, CHECKED + SERVED)) == []

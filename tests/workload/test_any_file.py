"""Whatever stands in a file: a workload, or one line that says what is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_vllmperf.errors import WorkloadError
from pytest_vllmperf.workload import Workload

relaxed = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])

NAMES = ["prompt", "prompt_token_ids", "messages", "output_tokens", "max_tokens", "conversations", "from", "value"]
NAMES += ["role", "content", "timestamp", "input_length", "output_length", "hash_ids"]

ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 40) | st.just(10**400) | st.floats() | st.text(max_size=5)
    | st.sampled_from(["user", "human", "gpt"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)  # fmt: skip

SOUND = (
    '{"prompt": "größe", "output_tokens": 3}\n{"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}\n',
    '{"timestamp": 1, "input_length": 20, "output_length": 2, "hash_ids": [1, 2]}\n' * 2,
    '[{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]',
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4,1\n2023-11-16 18:17:03.9799601,3,2\n",
)

READERS: Any = pytest.mark.parametrize(
    "read",
    [
        lambda path: Workload.jsonl(path),
        lambda path: Workload.sharegpt(path),
        lambda path: Workload.conversations(path, output_tokens=2),
        lambda path: Workload.trace(path),
        lambda path: Workload.dataset(path.parent, "prompt", output_tokens=1),
    ],
    ids=["jsonl", "sharegpt", "conversations", "trace", "dataset"],
)


def outcome(call: Any, *arguments: Any) -> Any:
    """What a call returns, or what it is refused with; any other exception is a failure."""
    try:
        return call(*arguments)
    except WorkloadError as error:
        return str(error)


def check(read: Any, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    workload = outcome(read, path)
    if isinstance(workload, str):
        assert workload.isprintable(), "one line"
        return
    assert read(path) == workload
    requests = outcome(workload.requests, 50)
    if isinstance(requests, str):
        assert "token id" in requests
        return
    assert len(requests) == workload.count
    assert all(request.output_tokens >= 1 for request in requests)
    for request in requests:
        json.dumps(request.to_wire(), ensure_ascii=False, allow_nan=False).encode()


@READERS
@relaxed
@given(values=st.lists(ANY, max_size=4))
def test_any_json(read: Any, values: list[Any], tmp_path: Path) -> None:
    check(read, tmp_path / "any.jsonl", "\n".join(map(json.dumps, values)).encode())
    check(read, tmp_path / "any.jsonl", json.dumps(values).encode())


@READERS
@relaxed
@given(content=st.binary(max_size=60))
def test_any_bytes(read: Any, content: bytes, tmp_path: Path) -> None:
    check(read, tmp_path / "any.jsonl", content)


@READERS
@relaxed
@given(sound=st.sampled_from(SOUND), at=st.integers(0, 200), cut=st.integers(0, 6), put=st.binary(max_size=4))
def test_sound_files_that_were_damaged(read: Any, sound: str, at: int, cut: int, put: bytes, tmp_path: Path) -> None:
    content = sound.encode()
    at %= len(content)
    check(read, tmp_path / "any.jsonl", content[:at] + put + content[at + cut :])

"""Whatever bytes a file holds: it is valid, or one line says what is wrong with it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pytest_vllmperf import cli
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage import scorecards
from pytest_vllmperf.storage.baselines import BaselineFile, load
from pytest_vllmperf.storage.versioned import dumps
from tests.storage.conftest import entry
from tests.storage.test_scorecards import row

relaxed = settings(
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
WHOLE = dumps(BaselineFile(tests={"test_a": entry(), "test_b": entry(2)})).encode()


def readable(path: Path, content: bytes) -> bool:
    """Whether a file can be read; an error is one line about that file."""
    path.write_bytes(content)
    for read in (load, scorecards.read_rows):
        try:
            read(path)
        except BaselineError as error:
            message = str(error)
            assert message.startswith(f"{path}: ")
            assert message.isprintable()
            assert len(message) < 1000 + len(str(path))
        else:
            return True
    return False


@relaxed
@given(st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    assert not readable(tmp_path / "a.json", content)


def spliced(content: bytes, start: int, end: int, new: bytes) -> bytes:
    start, end = sorted((start, end))
    return content[:start] + new + content[end:]


places = st.integers(0, len(WHOLE))
WORDS = (b"NaN", b"-Infinity", b"1e400", b"null", b"-0", b"true", b",", b'{"schema": "x"}')
BYTES = (b"9" * 5000, b'"\\ud800"', b"[" * 300, b"\xff", b"\x00", b'"\\n"')
tokens = st.binary(max_size=4) | st.sampled_from(WORDS + BYTES)


@relaxed
@given(places, places, tokens)
def test_a_file_with_a_part_replaced(tmp_path: Path, start: int, end: int, new: bytes) -> None:
    readable(tmp_path / "a.json", spliced(WHOLE, start, end, new))


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, child in children for found in paths(child, (*path, key)))]


DOCUMENT = json.loads(WHOLE)
numbers = st.sampled_from([0, -1, 1e308, 5e-324, 10**400, 2**63, math.nan, math.inf, 1e-30, 1e30]) | st.floats()
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = replaced(value[path[0]], path[1:], new)
    return copy


@relaxed
@given(st.sampled_from(paths(DOCUMENT)), values)
def test_a_value_replaced_is_refused_or_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: tuple[Any, ...], new: Any
) -> None:
    """What the reader takes, all commands that read it must be able to use."""
    file, other = tmp_path / "a.json", tmp_path / "b.json"
    other.write_bytes(WHOLE)
    valid = readable(file, json.dumps(replaced(DOCUMENT, path, new)).encode("utf-8", "surrogatepass"))
    for command in (["check", file, other], ["check", other, file], ["baseline", "show", file],
                    ["baseline", "diff", file, other], ["check", file, other, "--json"],
                    ["check", file, other, "--explain"], ["check", other, file, "--explain", "--json"]):  # fmt: skip
        code = cli.main(list(map(str, command)))
        out, err = capsys.readouterr()
        assert "internal error" not in err, err
        assert code in ((0, 1, 2, 3) if valid else (2,))
        assert err.count("\n") <= 1
        assert out or err or valid


ROWS = (row("bf16", gpus=1, gpu_hour_price=2.5), row("awq", 250.0))
CARD = json.loads(dumps(scorecards.CardFile(name="card", profile="h200", baseline="bf16", rows=ROWS)))


@relaxed
@given(st.sampled_from(paths(CARD)), values)
@example(path=("rows", 1, "profile"), new="\x00")
def test_so_is_one_in_a_scorecard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: tuple[Any, ...], new: Any
) -> None:
    file = tmp_path / "card.json"
    valid = readable(file, json.dumps(replaced(CARD, path, new)).encode("utf-8", "surrogatepass"))
    code = cli.main(["scorecard", str(file), "--output", str(tmp_path / "cards")])
    _, err = capsys.readouterr()
    assert "internal error" not in err, err
    assert code in ((0, 2) if valid else (2,))
    assert err.count("\n") <= 1

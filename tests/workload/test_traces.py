"""Traces: lengths, times and shared blocks as they were recorded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.workload import Workload

Write = Callable[..., Path]
Refused = Callable[..., str]

HEAD = "TIMESTAMP,ContextTokens,GeneratedTokens\n"


def line(timestamp: Any = 0, tokens: Any = 3, output: Any = 2, *blocks: Any) -> dict[str, Any]:
    named = {"hash_ids": list(blocks)} if blocks else {}
    return {"timestamp": timestamp, "input_length": tokens, "output_length": output, **named}


def prompts(workload: Workload) -> list[tuple[int, ...]]:
    return [request.prompt_token_ids or () for request in workload.requests(1_000, (0,))]


MOONCAKE = [line(27_000, 1_100, 500, 46, 47, 48), line(30_052, 700, 36, 46, 90), line(30_052, 1_536, 8, 46, 47, 90)]
QWEN = [line(61.5, 40, 5, 1, 2, 3), line(62.25, 17, 6, 1, 9)]


def test_blocks_of_512_tokens_go_with_milliseconds(write: Write) -> None:
    workload = Workload.trace(write("mooncake.jsonl", lines=MOONCAKE))
    assert workload.block_tokens == 512
    assert workload.arrivals.schedule(3, 0) == (0, 3_052_000_000, 3_052_000_000)
    made = prompts(workload)
    assert [len(prompt) for prompt in made] == [1_100, 700, 1_536]
    assert [request.output_tokens for request in workload.requests(100)] == [500, 36, 8]
    assert made[0][:512] == made[1][:512] == made[2][:512]
    assert made[0][512:1024] == made[2][512:1024]
    assert made[1][512:] == made[2][1024:1212], "a cut block is the beginning of the whole one"
    assert made[0][512:700] != made[1][512:700]
    assert 0 not in {token for prompt in made for token in prompt}


def test_blocks_of_16_tokens_go_with_seconds(write: Write) -> None:
    workload = Workload.trace(write("qwen.jsonl", lines=QWEN))
    assert workload.block_tokens == 16
    assert workload.arrivals.schedule(2, 0) == (0, 750_000_000)
    made = prompts(workload)
    assert made[0][:16] == made[1][:16]
    assert made[0][16:17] != made[1][16:17]


def test_a_trace_without_blocks_has_fresh_prompts_and_seconds(write: Write) -> None:
    workload = Workload.trace(write("t.jsonl", lines=[line(1.5), line(2, 9)]))
    assert workload.arrivals.schedule(2, 0) == (0, 500_000_000)
    assert [len(prompt) for prompt in prompts(workload)] == [3, 9]
    assert workload.fresh_prompts
    assert not Workload.trace(write("m.jsonl", lines=MOONCAKE)).fresh_prompts


def test_the_caller_may_say_the_unit_and_the_size_of_blocks(write: Write) -> None:
    path = write("t.jsonl", lines=[line(0, 100, 1, 7), line(500, 50, 1, 7, 8)])
    workload = Workload.trace(path, unit="ms", block_tokens=64)
    assert workload.arrivals.schedule(2, 0) == (0, 500_000_000)
    made = prompts(workload)
    assert [len(prompt) for prompt in made] == [100, 50]
    assert made[0][:50] == made[1]


def test_unnamed_blocks_are_of_the_requests_own(write: Write) -> None:
    path = write("t.jsonl", lines=[line(0, 128, 1, 7), line(0, 128, 1, 7)])
    one, other = prompts(Workload.trace(path, block_tokens=64))
    assert one[:64] == other[:64]
    assert one[64:] != other[64:]


def test_a_block_is_the_same_in_whatever_part_of_a_trace(write: Write) -> None:
    whole = prompts(Workload.trace(write("a.jsonl", lines=MOONCAKE)))
    part = prompts(Workload.trace(write("b.jsonl", lines=MOONCAKE[1:])))
    assert whole[1:] == part


def test_tokens_depend_on_the_seed(write: Write) -> None:
    path = write("a.jsonl", lines=MOONCAKE)
    one, other = (Workload.trace(path, seed=seed) for seed in (1, 2))
    assert prompts(one)[0] != prompts(other)[0]
    assert one.key != other.key


AZURE = (
    HEAD
    + "2023-11-16 18:17:03.9799600,4808,10\n"
    + "2023-11-16 18:17:03.9799601,3180,8\n"
    + "2023-11-17 00:00:00.0000000,110,27\n"
)


def test_azure_keeps_seven_digits_and_midnight(write: Write) -> None:
    workload = Workload.trace(write("azure.csv", AZURE))
    until_midnight = 20_576_020_040_000
    assert workload.arrivals.schedule(3, 0) == (0, 100, until_midnight)
    assert [len(prompt) for prompt in prompts(workload)] == [4_808, 3_180, 110]
    assert [request.output_tokens for request in workload.requests(10)] == [10, 8, 27]
    assert workload.fresh_prompts


@pytest.mark.parametrize(
    "content",
    [
        AZURE.replace("\n", "\r\n"),
        "\ufeff" + AZURE,
        AZURE.replace("00\n", "00"),
        "Id,GeneratedTokens,TIMESTAMP,ContextTokens\n"
        "x,10,2023-11-16T18:17:03.97996,4808\n"
        'y,8,"2023-11-16 19:17:03.9799601+01:00",3180\n'
        "z,27,2023-11-17 00:00:00Z,110\n",
    ],
    ids=["crlf", "mark", "no end", "other order"],
)
def test_tables_may_be_written_otherwise(content: str, write: Write) -> None:
    plain = Workload.trace(write("azure.csv", AZURE))
    assert Workload.trace(write("other.csv", content)).key == plain.key


def test_only_the_differences_of_times_count(write: Write) -> None:
    later = [{**one, "timestamp": one["timestamp"] + 1_000} for one in MOONCAKE]
    paths = [write("a.jsonl", lines=MOONCAKE), write("b/c.jsonl", lines=later)]
    assert len({Workload.trace(path).key for path in paths}) == 1


@pytest.mark.parametrize(
    "changed",
    [
        [line(27_000, 1_100, 500, 46, 47, 48), *MOONCAKE[1:2], line(30_053, 1_536, 8, 46, 47, 90)],
        [*MOONCAKE[:2], line(30_052, 1_535, 8, 46, 47, 90)],
        [*MOONCAKE[:2], line(30_052, 1_536, 9, 46, 47, 90)],
        [*MOONCAKE[:2], line(30_052, 1_536, 8, 46, 47, 91)],
    ],
    ids=["time", "input", "output", "block"],
)
def test_whatever_changes_the_work_changes_the_key(changed: list[Any], write: Write) -> None:
    original, other = (Workload.trace(write("t.jsonl", lines=lines)).key for lines in (MOONCAKE, changed))
    assert original != other


def test_speed_and_requests_are_taken_over(write: Write) -> None:
    path = write("m.jsonl", lines=MOONCAKE)
    fast = Workload.trace(path, requests=2, speed=4)
    assert fast.arrivals.schedule(2, 0) == (0, 763_000_000)
    assert Workload.trace(path, requests=2).at(speed=4) == fast


def test_a_description_is_short(write: Write) -> None:
    workload = Workload.trace(write("t.jsonl", lines=[line(index / 10) for index in range(2_000)]))
    shown = workload.describe()
    assert len(str(shown)) < 500
    assert shown["arrivals"] == {"process": "trace", "seconds": pytest.approx(199.9)}
    assert (shown["count"], shown["input_tokens"], shown["output_tokens"]) == (2_000, 3, 2)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([line(2), line(3), line(2.5)], "t.jsonl, line 3: this request is earlier"),
        ([line(0), line("1")], "line 2: timestamp='1' must be a number"),
        ([line(0), line(True)], "timestamp=True must be a number"),
        ([line(0), line(None)], "timestamp=None must be a number"),
        ([line(0), '{"timestamp": 1e999, "input_length": 1, "output_length": 1}'], "timestamp=inf must be a number"),
        ([line(0), line(0, 0)], "line 2: input_length=0 must be a whole number from 1 to 10,000,000"),
        ([line(0), line(0, 10**400)], "input_length=1000"),
        ([line(0), line(10**400)], "must be a number below 1e+15"),
        ([line(0), line(0, 1, 0)], "output_length=0 must be"),
        ([line(0), line(0, 1.5)], "input_length=1.5 must be"),
        ([line(0), line(0, True)], "input_length=True must be"),
        ([line(0), {"timestamp": 1}], "line 2: input_length=None must be"),
        ([line(0), line(0, 1, 1, "x")], "hash_ids=['x'] must be a list of whole numbers"),
        ([line(0), {**line(0), "hash_ids": 7}], "hash_ids=7 must be a list of whole numbers"),
        ([line(0), "[1]"], "line 2: must be an object with timestamp"),
        ([line(0), "{", "}", line(1)], "2 of 4 lines cannot be used (lines 2, 3); line 2: not JSON"),
        ([line(0, 100, 1, 1, 2)], "blocks of neither 16 and 512 tokens fit its hash_ids (line 1: 100 tokens, 2 ids)"),
        ([line(0), line(0, 9, 1, 1)], "blocks of 16 and 512 tokens both fit its hash_ids (line 2: 9 tokens, 1 ids)"),
    ],
)
def test_traces_that_cannot_be_used_are_refused(lines: list[Any], words: str, write: Write, refused: Refused) -> None:
    assert words in refused(Workload.trace, write("t.jsonl", lines=lines))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "t.csv is not a trace"),
        ("timestamp,input,output\n", "t.csv is not a trace: neither JSON lines with timestamp"),
        ("[]", "t.csv is not a trace"),
        (HEAD, "t.csv holds no usable request"),
        (HEAD + "2023-11-16 18:17:03.5,1\n", "t.csv, line 2: has 2 columns, fewer than its header"),
        (HEAD + "\n2023-13-16 18:17:03.5,1,1\n", "line 3: TIMESTAMP='2023-13-16 18:17:03.5' is not a time"),
        (HEAD + "yesterday,1,1\n", "TIMESTAMP='yesterday' must be a time such as"),
        (HEAD + "2023-11-16 18:17:03,,1\n", "ContextTokens='' must be a whole number"),
        (HEAD + "2023-11-16 18:17:03,1,0\n", "GeneratedTokens=0 must be a whole number from 1 to 10,000,000"),
        (HEAD + "2023-11-16 18:17:03,1,²\n", "GeneratedTokens='²' must be"),
        (AZURE + "2023-11-16 23:59:59.9,1,1\n", "t.csv, line 5: this request is earlier"),
        (HEAD.encode() + b"\xff,1,1\n", "line 2: not UTF-8 text (byte 0xff)"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(content: Any, words: str, write: Write, refused: Refused) -> None:
    assert words in refused(Workload.trace, write("t.csv", content))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"requests": 4}, "m.jsonl holds 3 requests, fewer than requests=4"),
        ({"requests": 0}, "requests=0"),
        ({"speed": 0}, "speed=0"),
        ({"speed": "2"}, "speed='2'"),
        ({"unit": "us"}, "unit='us' must be one of 's', 'ms'"),
        ({"unit": ["s"]}, "unit=['s'] must be one of 's', 'ms'"),
        ({"block_tokens": 0}, "block_tokens=0"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    arguments: dict[str, Any], words: str, write: Write, refused: Refused
) -> None:
    assert words in refused(Workload.trace, write("m.jsonl", lines=MOONCAKE), **arguments)


def test_a_table_has_a_clock_of_its_own(write: Write, refused: Refused) -> None:
    assert "are valid only for traces in JSON lines" in refused(Workload.trace, write("a.csv", AZURE), unit="s")

"""Fuzzes the reader of answers: responses of all kinds, mutated and split at random, from a seed.

Run as `python tests/loadgen/fuzz_reading.py --rounds 1000000 --seconds 300 --seed 1`. Each round is one mutated
response in two splits; both must give the same answer but for its times, and no exception.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import sys
import time
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pytest_vllmperf.loadgen.job import Api, Call
from pytest_vllmperf.loadgen.reading import read
from pytest_vllmperf.records.answers import FAILURES, Answer
from tests.loadgen import wire

WORDS = (" a", " café", "\n", '"', "\\", "𝄞 note", "", " the", "{", "data: x", "\u2028")
INSERTS = (
    b"\r\n", b"\n", b"\r", b"\n\n", b"data: ", b"data:", b": note\n", b"event: error\n", b"[DONE]", b"\xef\xbb\xbf",
    b"\xff", b"0\r\n\r\n", b"{", b"}", b"null", b"-1", b"1e999", b'"text":"', b"\\", b'"', b'"error":{"message":"no"},',
    b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"\x00", b"[" * 50,
)  # fmt: skip
ERRORS = (
    wire.event({"error": {"message": f"no {wire.KEY} \x07", "code": 500}}),
    wire.event({"object": "error", "message": "engine died"}),
    b"event: error\ndata: overloaded\n\n",
    wire.text_event(" x", token_ids=[1, 2]),
    wire.event({"choices": [{"index": 0, "text": " y"}], "usage": {"completion_tokens": 3}}),
)


def events(draw: random.Random) -> tuple[list[bytes], Api]:
    """The events of a stream, sound or nearly so."""
    texts = [draw.choice(WORDS) for _ in range(draw.randrange(8))]
    if draw.random() < 0.5:
        parts = wire.completion(texts, draw.choice(("stop", "length")))
        if draw.random() < 0.2:
            parts.insert(draw.randrange(len(parts)), draw.choice(ERRORS))
        return parts, Api.COMPLETIONS
    key = draw.choice(("content", "reasoning", "reasoning_content"))
    tokens = [wire.chat_event({key: text}, token_ids=[1] if draw.random() < 0.3 else None) for text in texts]
    tool = {"index": 0, "id": "t", "function": {"name": "f", "arguments": draw.choice(WORDS)}}
    tokens.append(wire.chat_event({"tool_calls": [tool]}))
    first = wire.chat_event({"role": "assistant", "content": ""})
    ends = [wire.chat_event({}, finish_reason="stop"), wire.usage_event(len(texts)), wire.DONE]
    return [first, *tokens, *ends[draw.randrange(3) :]], Api.CHAT


def response(draw: random.Random) -> tuple[bytes, Call]:
    """One response, and the call that it answers."""
    parts, api = events(draw)
    call = wire.call(api, stream=draw.random() < 0.8, keep=draw.random() < 0.5)
    if draw.random() < 0.2:
        parts = [part.replace(b"\n", draw.choice((b"\r\n", b"\r"))) for part in parts]
    headers, body, kind = dict(wire.STREAM_TYPE), b"".join(parts), draw.random()
    if not call.stream:
        message = {"message": {"content": draw.choice(WORDS)}, "text": draw.choice(WORDS), "finish_reason": "stop"}
        whole = {"choices": [message]} if draw.random() < 0.8 else {"error": {"message": "no such model"}}
        body, headers = json.dumps(whole).encode(), dict(wire.JSON_TYPE)
    if kind < 0.15:
        headers["Content-Encoding"], body = "gzip", gzip.compress(body)
    elif kind < 0.25:
        headers["Content-Encoding"], body = "deflate", zlib.compress(body)
    elif kind < 0.6 and call.stream:
        return wire.chunked(parts, headers, end=draw.random() < 0.9), call
    status = draw.choice((200, 200, 200, 200, 204, 302, 404, 429, 500, 503))
    if draw.random() < 0.3:
        return wire.head(status, headers) + body, call
    if draw.random() < 0.5:
        return wire.chunked(wire.split(body, [draw.randrange(1 + len(body)) for _ in range(4)]), headers, status), call
    return wire.sized(body, headers, status, short_of=draw.choice((0, 0, 0, 5))), call


def mutate(data: bytes, draw: random.Random) -> bytes:
    """The bytes with up to four faults in them; a quarter of all stay sound."""
    for _ in range(draw.choice((0, 1, 1, 2, 4)) if draw.random() < 0.9 else 0):
        place = draw.randrange(len(data) + 1)
        kind = draw.randrange(5)
        if kind == 0:
            data = data[:place] + draw.choice(INSERTS) + data[place:]
        elif kind == 1:
            data = data[:place] + bytes([draw.randrange(256)]) + data[place + 1 :]
        elif kind == 2:
            data = data[:place] + data[place + draw.randrange(1, 40) :]
        elif kind == 3:
            data = data[:place]
        else:
            data = data[:place] + data[max(place - draw.randrange(1, 80), 0) :]
    return data


def pieces_of(data: bytes, draw: random.Random) -> list[bytes]:
    """The bytes in a few pieces, or in many, or in single bytes."""
    if not data:
        return []
    cuts = draw.choice((1, 3, 20, len(data)))
    return wire.split(data, range(len(data)) if cuts == len(data) else draw.choices(range(len(data) + 1), k=cuts))


def check(answer: Answer) -> None:
    """See that an answer is consistent in itself."""
    assert answer.failure in ("", *FAILURES), answer.failure
    assert bool(answer.failure) == bool(answer.detail), answer
    assert answer.detail.isprintable(), answer.detail
    assert len(answer.detail) <= 300, answer.detail
    assert wire.KEY not in answer.detail
    assert len(answer.piece_tokens) in (0, len(answer.gaps_ns) + (answer.first_ns is not None))
    assert all(gap >= 0 for gap in answer.gaps_ns)
    if not answer.failure:
        assert answer.first_ns is not None
        assert answer.last_ns is not None
        assert answer.first_ns <= answer.last_ns <= answer.end_ns


def round_of(seed: str) -> str:
    """One round; returns the kind of failure that it read."""
    draw = random.Random(seed)
    data, call = response(draw)
    data = mutate(data, draw)
    failure = draw.choice(("", "", "", "cut", "stalled"))
    answers = []
    for _ in range(2):
        pieces = wire.timed(pieces_of(data, draw))
        answers.append(read(call, wire.exchange(pieces, failure, "by the client" if failure else "")))
        check(answers[-1])
    one, other = (wire.timeless(answer) for answer in answers)
    assert one == other, f"two splits differ:\n{one}\n{other}\n{data!r}"
    return answers[0].failure


def run(rounds: int, seconds: float, seed: int) -> dict[str, int]:
    """Rounds until their number or the time is over; returns how often each kind of failure was read."""
    until = time.monotonic() + seconds
    counts: dict[str, int] = {}
    for number in range(rounds):
        if time.monotonic() > until:
            break
        name = f"{seed}:{number}"
        try:
            failure = round_of(name)
        except Exception as error:
            raise AssertionError(f"round {name}: {error!r}") from error
        counts[failure or "sound"] = counts.get(failure or "sound", 0) + 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    counts = run(options.rounds, options.seconds, options.seed)
    print(f"{sum(counts.values())} rounds, two splits each: {dict(sorted(counts.items()))}")  # noqa: T201


if __name__ == "__main__":
    main()

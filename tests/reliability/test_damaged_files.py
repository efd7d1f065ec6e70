"""Baselines damaged in every way, through the reader and `vllmperf check`: one line or a verdict, never a traceback."""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from pytest_vllmperf.cli.command import main
from pytest_vllmperf.errors import BaselineError
from pytest_vllmperf.storage.baselines import load

FILES = int(os.environ.get("VLLMPERF_FAULT_FILES") or 1_000_000)
CHECKED = 10
"""One in so many goes through the command as well."""
WORDS = [
    b"null", b"NaN", b"-Infinity", b"1e999", b"-1", b"0", b"1e308", b"1e-320", b"[]", b"{}", b'""', b"true", b"1.5",
    b"9" * 5000, b'"\\ud800"', b"\xff\xfe", b"\x00", b'"schema"', b"[" * 3000, b'{"a":' * 500, b'"\\u0000"', b",", b"]",
]  # fmt: skip
ROOT = Path(__file__).parents[2]


def originals() -> list[bytes]:
    """Real baselines: one test with one session, and a whole file where that is small."""
    files = sorted(ROOT.glob("baselines/**/*.json"), key=lambda file: file.stat().st_size)
    content = json.loads(files[0].read_text())
    for entry in content["tests"].values():
        entry["sessions"] = entry["sessions"][:1]
    small = json.dumps({**content, "tests": dict(list(content["tests"].items())[:1])}).encode()
    return [small, files[0].read_bytes()] if len(files[0].read_bytes()) < 20_000 else [small]


def damaged(source: bytes, draw: random.Random) -> bytes:
    """One to three changes: bytes flipped, cut, doubled, put elsewhere, or a word in the place of a value."""
    data = bytearray(source)
    for _ in range(draw.choice((1, 1, 2, 3))):
        if not data:
            break
        at, length = draw.randrange(len(data)), draw.choice((1, 2, 8, 64, 500))
        kind = draw.randrange(7)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            del data[at : at + length]
        elif kind == 2:
            data[at:at] = data[at : at + length]
        elif kind == 3:
            data[at:] = b""
        elif kind == 4:
            data[at : at + length] = draw.randbytes(length)
        else:
            start = data.find(b":", at) + 1
            ends = [end for mark in b",}]" if (end := data.find(bytes([mark]), start)) > 0]
            data[start : min(ends, default=len(data))] = draw.choice(WORDS)
    return bytes(data)


def go_through(folder: Path, files: int, seed: int) -> Counter[str]:
    """How so many files were taken.

    Raises:
        AssertionError: where anything but a line comes of one; it is kept in the folder.
    """
    draw, sources, counts = random.Random(seed), originals(), Counter[str]()
    lines = Counter[int]()
    good, file = folder / "good.json", folder / "damaged.json"
    good.write_bytes(sources[0])
    for number in range(files):
        file.write_bytes(damaged(draw.choice(sources), draw))
        try:
            load(file)
            counts["read"] += 1
        except BaselineError as error:
            lines[str(error).count("\n") + 1] += 1
            counts["refused"] += 1
        if number % CHECKED == 0:
            output, errors = StringIO(), StringIO()
            with redirect_stdout(output), redirect_stderr(errors):
                code = main(["check", str(good), str(file)])
            assert code in (0, 1, 2, 3)
            assert "please report" not in errors.getvalue(), errors.getvalue()
            assert (code == 2) == bool(errors.getvalue())
            counts[f"check: {code}"] += 1
    assert set(lines) == {1}
    return counts


@pytest.mark.parametrize(
    "files", [pytest.param(2_000, id="short"), pytest.param(FILES, marks=pytest.mark.long, id="all")]
)
def test_damaged_baselines(tmp_path: Path, files: int) -> None:
    started = time.monotonic()
    counts = go_through(tmp_path, files, seed=files)
    told = dict(counts) | {"files": files, "seconds": round(time.monotonic() - started)}
    (tmp_path.parent / "damaged.json").write_text(json.dumps(told))
    assert counts["read"] + counts["refused"] == files
    assert counts["refused"] > files / 2
    assert counts["read"] > 0

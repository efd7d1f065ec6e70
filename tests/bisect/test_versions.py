"""The releases between two ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_vllmperf.bisect import versions
from pytest_vllmperf.errors import BisectError


def ids(good: str, bad: str, known: list[str], *, every: bool = True) -> list[str]:
    return [point.id for point in versions.between(good, bad, known, every=every)]


def test_versions_are_sorted_and_cut_to_the_ends() -> None:
    known = ["0.33.1", "0.32.0", "0.31.10", "0.31.9", "0.30.0", "0.32.0", "0.33.0"]
    assert ids("0.31.0", "0.33.0", known) == ["0.31.0", "0.31.9", "0.31.10", "0.32.0", "0.33.0"]


def test_pre_releases_count_only_where_they_are_named() -> None:
    known = ["0.32.0rc1", "0.32.0.dev5", "0.32.0", "0.32.0.post1"]
    assert ids("0.31.0", "0.33.0", known) == ["0.31.0", "0.32.0.dev5", "0.32.0rc1", "0.32.0", "0.32.0.post1", "0.33.0"]
    assert ids("0.31.0", "0.33.0", known, every=False) == ["0.31.0", "0.32.0", "0.32.0.post1", "0.33.0"]
    assert ids("0.32.0rc1", "0.33.0", known, every=False) == ["0.32.0rc1", "0.32.0", "0.32.0.post1", "0.33.0"]


@pytest.mark.parametrize(
    ("good", "bad", "known", "words"),
    [
        ("0.31", "0.31.0", [], "--good and --bad are the same version, 0.31"),
        ("0.33.0", "0.31.0", [], "--good 0.33.0 is later than --bad 0.31.0"),
        ("newest", "0.31.0", [], "--good: 'newest' is not a version, such as 0.31.0"),
        ("0.31.0", "", [], "--bad: '' is not a version"),
        ("0.31.0", "0.33.0", ["0.32.0; rm -rf /"], "the list of versions: '0.32.0; rm -rf /' is not a version"),
    ],
)
def test_bad_input(good: str, bad: str, known: list[str], words: str) -> None:
    with pytest.raises(BisectError) as one:
        ids(good, bad, known)
    assert words in str(one.value)
    assert "\n" not in str(one.value)


@pytest.mark.parametrize(
    "told",
    [
        '{"name": "vllm", "versions": ["0.32.0", "0.31.1"], "latest": "0.32.0"}',
        '["0.32.0", "0.31.1"]',
        "0.32.0\n0.31.1\n",
        "0.32.0, 0.31.1",
    ],
)
def test_what_a_command_lists(tmp_path: Path, told: str) -> None:
    (tmp_path / "told").write_text(told)
    assert versions.listed(f"cat {tmp_path}/told", tmp_path / "log") == ["0.32.0", "0.31.1"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("true", "--versions-from 'true' printed no versions"),
        ("echo '{\"latest\": 1}'", "printed no versions"),
        ("echo 7", "printed no versions"),
        ("echo no network >&2; exit 4", "ended with 4: no network"),
        ("no-such-command-at-all", "ended with 127"),
    ],
)
def test_a_command_that_lists_nothing(tmp_path: Path, command: str, words: str) -> None:
    with pytest.raises(BisectError) as one:
        versions.listed(command, tmp_path / "log")
    assert words in str(one.value)

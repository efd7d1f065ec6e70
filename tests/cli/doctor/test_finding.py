"""Findings: a probe that fails is a line, and nothing shows a secret."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_vllmperf.cli.doctor.finding import Finding, State, blocking, section
from pytest_vllmperf.errors import NoGpuError


def fine() -> Iterator[Finding]:
    yield Finding("good", State.FINE, "there")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(5, "Input/output error"), "cannot be told: internal error: OSError: [Errno 5] Input/output error"),
        (NoGpuError("the GPU is gone"), "cannot be told: the GPU is gone"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), "cannot be told: internal error: UnicodeDecodeError: 'utf-8'"),
    ],
)
def test_a_probe_that_fails_is_a_line_and_the_others_still_tell(error: Exception, told: str) -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("half", State.FINE, "before it failed")
        raise error

    bad, good = section("Things", {"bad": fails, "good": fine}).findings
    assert (bad.name, bad.state) == ("bad", State.UNKNOWN)
    assert bad.text.startswith(told)
    assert good.text == "there"
    assert not blocking([section("Things", {"bad": fails})])


def test_secrets_and_the_home_folder_are_not_shown() -> None:
    secret = "hf_" + "a" * 30

    def tells() -> Iterator[Finding]:
        yield Finding(
            "hub", State.FINE, f"{Path.home()}/cache {secret}", f"use {secret}", {"path": str(Path.home()), "n": 1}
        )

    (one,) = section("Things", {"hub": tells}).findings
    assert one.as_dict() == {
        "name": "hub", "state": "ok", "text": "~/cache ***", "remedy": "use ***", "data": {"path": "~", "n": 1},
    }  # fmt: skip


def test_what_blocks_comes_in_order() -> None:
    def two() -> Iterator[Finding]:
        yield Finding("a", State.BLOCKS, "1")
        yield Finding("b", State.BLOCKS, "2")

    found = blocking([section("One", {"good": fine}), section("Two", {"two": two})])
    assert [one.name for one in found] == ["a", "b"]

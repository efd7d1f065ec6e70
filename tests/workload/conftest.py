"""Files of users, and what is said of those that cannot be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_vllmperf.errors import WorkloadError

Write = Callable[..., Path]
Refused = Callable[..., str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that is the current one, so that files have short names."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def write(folder: Path) -> Write:
    """Writes a file: bytes, text, JSON, or lines of these; returns the name as a user would write it."""

    def write_file(name: str, content: Any = None, *, lines: list[Any] | None = None) -> Path:
        if lines is not None:
            content = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
        if not isinstance(content, (bytes, str)):
            content = json.dumps(content)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return Path(name)

    return write_file


@pytest.fixture
def refused() -> Refused:
    """What a call is refused with: one line."""

    def call(make: Callable[..., Any], *arguments: Any, **named: Any) -> str:
        with pytest.raises(WorkloadError) as caught:
            make(*arguments, **named)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
        return str(caught.value)

    return call

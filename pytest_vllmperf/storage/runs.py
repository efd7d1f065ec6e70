"""The file of a whole run: written whole or not at all, and read with every doubt about it said in one line."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from pytest_vllmperf.errors import ReportError, VllmPerfError
from pytest_vllmperf.records.report import RunReport
from pytest_vllmperf.storage import atomic, regular
from pytest_vllmperf.storage.versioned import Format

LIMIT: Final = 1024 * regular.MIB
"""The largest file that is read or written, in bytes."""

FORMAT = Format(
    noun="run",
    schema="pytest-vllmperf/run",
    version=1,
    content=RunReport,
    foreign="name a file that --vllmperf-json has written",
    older="write it anew with --vllmperf-json",
    damaged="write it anew with --vllmperf-json",
    too_large="run fewer tests into it",
)


def load(path: str | os.PathLike[str]) -> RunReport:
    """What `--vllmperf-json` has written.

    Args:
        path: the file.

    Raises:
        ReportError: naming the file and what is wrong with it: there is none, it cannot be read, is not JSON or was
            cut short, is of another schema or a newer version, or its content does not fit.
    """
    try:
        found = FORMAT.read(Path(path), LIMIT)
    except VllmPerfError as error:
        raise ReportError(str(error)) from None
    if found is None:
        raise ReportError(f"{path}: there is no such file")
    return found


def write(path: Path, report: RunReport) -> None:
    """Write a run.

    Args:
        path: the file; its folder is made if need be.
        report: the run; see `without_secrets`.

    Raises:
        ReportError: where there is a file that no run has written.
        OSError: when it cannot be written. The file is then what it was.
    """
    if not replaceable(path):
        raise ReportError(f"{path}: not replaced, as it is not a file that --vllmperf-json has written")
    text = encoded(report)
    if len(text) > LIMIT:
        raise ReportError(f"{path}: not written: it would be larger than {LIMIT // regular.MIB} MiB")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic.write_text(path, text)


def replaceable(path: Path) -> bool:
    """Whether a run may be written there: there is nothing, an empty file, or the file of a run.

    Raises:
        OSError: when it cannot be read, or is not a regular file.
    """
    try:
        return path.stat().st_size == 0 or FORMAT.concerns(path)
    except FileNotFoundError:
        return True


def forget(path: Path) -> None:
    """Remove the file of an earlier run, so that it is never taken for that of a run that was killed.

    Raises:
        OSError: when it cannot be read or removed, or is not a regular file.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and FORMAT.concerns(target):
        target.unlink()


def encoded(report: RunReport) -> str:
    """A run as JSON, one test a line. Numbers that JSON does not have are the texts `NaN`, `Infinity`, `-Infinity`.

    Args:
        report: the run.
    """
    content = _plain(report.model_dump(mode="json", by_alias=True))
    tests = content.pop("tests")
    head, rest = {key: content.pop(key) for key in ("schema", "version", "run")}, content
    lines = ",\n".join(_json(test) for test in tests)
    return f'{_json(head)[:-1]}, "tests": [\n{lines}\n], {_json(rest)[1:]}\n'


def without_secrets(report: RunReport, redacted: Callable[[str], str]) -> RunReport:
    """The same run; only its texts are changed.

    Args:
        report: the run.
        redacted: takes secrets out of a text.
    """
    known = cache(redacted)  # most texts stand there often
    return RunReport.model_validate(_texts(report.model_dump(by_alias=True), known))


def _texts(value: Any, redacted: Callable[[str], str]) -> Any:
    """A value whose texts, also the keys, hold no secrets and no unpaired surrogates."""
    if isinstance(value, str):
        return redacted(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_texts(key, redacted): _texts(one, redacted) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return value if set(map(type, value)) <= {float, int} else type(value)(_texts(one, redacted) for one in value)
    return value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    """Texts without unpaired surrogates, and numbers that JSON has."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(one) for key, one in value.items()}
    if isinstance(value, list):
        return value if _are_finite(value) else [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _are_finite(values: list[Any]) -> bool:
    """Whether these are numbers that JSON has, or null; such lists are most of a run."""
    kinds = set(map(type, values))
    if not kinds <= {float, int, type(None)}:
        return False
    return math.isfinite(sum(values if type(None) not in kinds else filter(None, values)))


def schema() -> dict[str, Any]:
    """The JSON schema of the file, of draft 2020-12."""
    made = RunReport.model_json_schema(by_alias=True, mode="serialization")
    made["title"] = "A run of pytest-vllmperf"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **_with_texts(made)}


def _with_texts(node: Any) -> Any:
    """A schema in which a number may be one of the texts that stand for what JSON does not have."""
    if isinstance(node, list):
        return [_with_texts(one) for one in node]
    if not isinstance(node, dict):
        return node
    if node.get("type") != "number":
        return {key: _with_texts(one) for key, one in node.items()}
    about = {key: one for key, one in node.items() if key in ("title", "description", "default")}
    number = {key: one for key, one in node.items() if key not in about}
    return {**about, "anyOf": [number, {"enum": ["NaN", "Infinity", "-Infinity"]}]}

"""What a study measured, as a file: raw numbers, and the machine that they are of."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytest_vllmperf import gpu
from pytest_vllmperf.harness.machine import vllm_version
from pytest_vllmperf.lab.environment import cpu_model
from pytest_vllmperf.storage.atomic import write_text

FORMAT = 1


def file_name(module: str, test: str) -> str:
    """Of the results of a test, the same in every run: `concurrency.with_room_for_all_nobody_is_preempted.json`.

    Args:
        module: name of the test's file, without its suffix.
        test: its name, with its parameters.
    """
    study, name = (part.removeprefix("test_") for part in (module, test))
    return f"{study}.{re.sub('[^A-Za-z0-9_-]+', '-', name).strip('-')}.json"


def machine() -> dict[str, object]:
    """The GPU's name where there is one, else the processor's model, and how many cores vLLM may use."""
    found = gpu.devices()
    cores = len(os.sched_getaffinity(0))
    return {"name": found[0].name if found else f"{cpu_model()}, {cores} cores", "gpu": bool(found), "cores": cores}


def table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> dict[str, Any]:
    """One table, with the numbers as they were measured."""
    return {"title": title, "headers": list(headers), "rows": [list(row) for row in rows]}


def write(folder: Path, module: str, test: str, tables: Sequence[Mapping[str, Any]], *, passed: bool) -> Path:
    """Write what a test told.

    Args:
        folder: made where it is missing.
        module: name of the test's file, without its suffix.
        test: its name.
        tables: of `table`.
        passed: whether the study's claims held.

    Returns:
        The file.

    Raises:
        OSError: when it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT,
        "study": module.removeprefix("test_").replace("_", "-"),
        "test": test,
        "passed": passed,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": machine(),
        "vllm": vllm_version(),
        "tables": list(tables),
    }
    path = folder / file_name(module, test)
    write_text(path, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    return path

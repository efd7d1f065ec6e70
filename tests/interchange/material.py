"""Reports of real tools, trimmed, and runs made of them that vary as engines do.

Each tool was run three times against one scripted server (20 ms to the first token, 4 ms a token, 12 requests of 8
tokens, 4 at once), and once against a server that answers every fourth request with 500.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from random import Random
from typing import Any

from pytest_vllmperf.interchange import formats
from pytest_vllmperf.interchange.report import Report

REPORTS = Path(__file__).parent / "reports"
_SECONDS = ("ttfts", "latencies", "start_times", "queue_times")
_RATES = ("request_throughput", "output_throughput", "total_token_throughput")


def content(name: str) -> bytes:
    return (REPORTS / name).read_bytes()


def stored(name: str) -> Any:
    return json.loads(content(name))


def encoded(*values: Any) -> bytes:
    return "\n".join(json.dumps(value) for value in values).encode()


def read(*names: str) -> Report:
    """The one run of a report, or of the files of a folder."""
    (report,) = formats.read([content(name) for name in names])
    return report


def changed(name: str, **fields: Any) -> Report:
    """A report with other fields; None takes one out."""
    data = {**stored(name), **fields}
    (report,) = formats.read([encoded({key: value for key, value in data.items() if value is not None})])
    return report


def run(level: float, seed: int) -> dict[str, Any]:
    """A result of `vllm bench serve` whose times are `level` times those of a real one, within about 1 %."""
    data = stored("vllm-detailed-1.json")
    factor = level * math.exp(Random(seed).gauss(0, 0.01))
    kept = {name: value for name, value in data.items() if not name.endswith("_ms")}
    return {
        **kept,
        "duration": data["duration"] * factor,
        **{name: data[name] / factor for name in _RATES},
        **{name: [value * factor for value in data[name]] for name in _SECONDS},
        "itls": [[gap * factor for gap in gaps] for gaps in data["itls"]],
    }


def written(folder: Path, *, level: float = 1.0, seeds: tuple[int, ...] = (1, 2, 3)) -> list[Path]:
    """Files of such runs."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{level:g}-{seed}.json" for seed in seeds]
    for file, seed in zip(files, seeds, strict=True):
        file.write_bytes(encoded(run(level, seed)))
    return files

"""Traces of engines of failed tests, in a folder of the user's."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_vllmperf.records.kernels import KernelTrace
from pytest_vllmperf.storage.names import slug

_LONGEST_STEM = 180
_SUFFIX = ".json.gz"


def keep_traces(test: str, traces: Sequence[KernelTrace], folder: Path) -> list[KernelTrace]:
    """Move the traces of a test into a folder, as `TEST-HASH-engineN.json.gz`; those of an earlier run are replaced.

    Args:
        test: its node id.
        traces: of its engines, in the order of their starts.
        folder: where to; made if it is not there.

    Returns:
        Where each lies now; of one that is not there, or could not be written, why.
    """
    stem = f"{slug(test)[:_LONGEST_STEM]}-{hashlib.sha256(test.encode('utf-8', 'backslashreplace')).hexdigest()[:8]}"
    with suppress(OSError):
        for old in folder.glob(f"{stem}-engine*{_SUFFIX}"):
            old.unlink()
    return [_moved(one, folder / f"{stem}-engine{number}{_SUFFIX}") for number, one in enumerate(traces, start=1)]


def drop_traces(traces: Sequence[KernelTrace]) -> None:
    """Remove the traces of a test that passed."""
    for one in traces:
        if one.file is not None:
            with suppress(OSError):
                one.file.unlink(missing_ok=True)


def _moved(trace: KernelTrace, place: Path) -> KernelTrace:
    if trace.file is None:
        return trace
    temporary = place.with_name(f".vllmperf-{secrets.token_hex(8)}.tmp")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(trace.file, temporary)
        temporary.replace(place)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        return KernelTrace(None, f"{place} could not be written: {error.strerror or error}")
    finally:
        drop_traces([trace])
    return KernelTrace(place)

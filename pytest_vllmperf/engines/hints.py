"""What to write in a test where vLLM's own advice names a flag of its command line."""

from __future__ import annotations

import re

_SHARE_TOO_LARGE = re.compile(r"less than desired \w+ memory utilization")
_FREE_OF_TOTAL = re.compile(r"\(([\d.]+)/([\d.]+) GiB\) on startup")
_CACHE_TOO_LARGE = re.compile("less than requested memory for kv")
_USUAL_SHARE = 0.2
_SMALL_CACHE = "2**28"


def with_memory_hint(reason: str) -> str:
    """A refusal for want of memory with the engine argument to set; every other one unchanged.

    Args:
        reason: vLLM's own words.
    """
    if _SHARE_TOO_LARGE.search(reason):
        argument = f"gpu_memory_utilization={_share(reason):g}"
    elif _CACHE_TOO_LARGE.search(reason):
        argument = f"kv_cache_memory_bytes={_SMALL_CACHE}"
    else:
        return reason
    return f"{reason.rstrip('.')}; in a test: @pytest.mark.vllm(..., {argument})"


def _share(reason: str) -> float:
    """Nine tenths of what is free, as a share of all memory, in whole per cent."""
    found = _FREE_OF_TOTAL.search(reason)
    free, total = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if total <= 0:
        return _USUAL_SHARE
    return max(1, int(90 * free / total)) / 100

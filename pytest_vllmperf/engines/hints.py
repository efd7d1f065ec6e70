"""What to write in a test where a library's own advice names a flag of its command line, or a call of its own."""

from __future__ import annotations

import re

_SHARE_TOO_LARGE = re.compile(r"less than desired \w+ memory utilization")
_FREE_OF_TOTAL = re.compile(r"\(([\d.]+)/([\d.]+) GiB\) on startup")
_CACHE_TOO_LARGE = re.compile("less than requested memory for kv")
_NEEDS_TRUST = re.compile("trust[_-]remote[_-]code")
_USUAL_SHARE = 0.2
_SMALL_CACHE = "2**28"


def with_hint(reason: str, message: str = "") -> str:
    """A refusal for want of memory, or of trust in a model's own code, with the argument to set; others unchanged.

    Args:
        reason: the library's own words, in one line.
        message: all of its words.
    """
    if _SHARE_TOO_LARGE.search(reason):
        argument = f"gpu_memory_utilization={_share(reason):g}"
    elif _CACHE_TOO_LARGE.search(reason):
        argument = f"kv_cache_memory_bytes={_SMALL_CACHE}"
    elif _NEEDS_TRUST.search(reason + message):
        argument = "trust_remote_code=True"
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

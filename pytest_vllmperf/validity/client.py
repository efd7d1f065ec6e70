"""Whether the load generator was the limit, so that its own figures are measured instead of the server's."""

from __future__ import annotations

from statistics import median

from pytest_vllmperf.records.served import Served

MOST_CPU = 0.90
"""CPU time over wall time of one client process."""
MOST_LAG_SHARE = 0.05
"""p99 of the lag between when a request was due and when it was sent, as a share of the median TTFT."""
MOST_LAG_S = 0.010
"""The same in seconds, however long the TTFT is."""
FINEST_LAG_S = 0.002
"""What the load generator itself promises: a TTFT so short that its share is less is no reason."""
_NS = 1e-9


def limit(served: Served) -> str:
    """Why the client was the limit, with its figures; empty where it was not.

    Args:
        served: what was seen of one iteration.
    """
    audit = served.audit
    lag = audit.lag_p99_ns * _NS
    ttfts = [(one.first_ns - one.due_ns) * _NS for one in served.answers if one.first_ns is not None]
    most = min(MOST_LAG_S, max(FINEST_LAG_S, MOST_LAG_SHARE * median(ttfts))) if ttfts else MOST_LAG_S
    busiest = max((one.cpu_share for one in audit.processes), default=0.0)
    delay = max((one.loop_delay_p99_ns for one in audit.processes), default=0) * _NS
    reasons = []
    if lag > most:
        reasons.append(f"requests were sent {lag * 1e3:.1f} ms late (p99), more than {most * 1e3:.1f} ms")
    if busiest > MOST_CPU:
        reasons.append(f"a client process used {busiest:.0%} of its core, more than {MOST_CPU:.0%}")
    if not reasons:
        return ""
    achieved = (
        ""
        if audit.achieved_rate is None or audit.wanted_rate is None
        else f", {audit.achieved_rate:.4g} of {audit.wanted_rate:.4g} requests/s sent"
    )
    return (
        f"{' and '.join(reasons)} (lag p50 {audit.lag_p50_ns * _NS * 1e3:.2f} ms, event loop late by "
        f"{delay * 1e3:.2f} ms{achieved}); use more client processes (--vllmperf-client-processes) or another machine"
    )

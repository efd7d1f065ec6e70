"""Whether the load generator was the limit, so that its own figures are measured instead of the server's."""

from __future__ import annotations

from statistics import median

from pytest_vllmperf.records.served import Served

MOST_CPU = 0.90
"""CPU time over wall time of one client process."""
MOST_LAG_SHARE = 0.05
"""The lag is the time from when a request was due until it was sent. Its p50 and its p99 may each be this share of the
median TTFT."""
LEAST_P99_S = 0.010
"""A p99 of the lag below this is never a reason: one late request in a hundred moves no median."""
LEAST_P50_S = 0.0005
"""A median lag below this is never a reason."""
_NS = 1e-9


def limit(served: Served) -> str:
    """Why the client was the limit, with its figures; empty where it was not.

    Args:
        served: what was seen of one iteration.
    """
    audit = served.audit
    lags = {"p50": (audit.lag_p50_ns * _NS, LEAST_P50_S), "p99": (audit.lag_p99_ns * _NS, LEAST_P99_S)}
    ttfts = [(one.first_ns - one.due_ns) * _NS for one in served.answers if one.first_ns is not None]
    share = MOST_LAG_SHARE * median(ttfts) if ttfts else 0.0
    busiest = max((one.cpu_share for one in audit.processes), default=0.0)
    delay = max((one.loop_delay_p99_ns for one in audit.processes), default=0) * _NS
    reasons = [
        f"requests were sent {lag * 1e3:.1f} ms late ({point}), more than {max(least, share) * 1e3:.1f} ms"
        for point, (lag, least) in lags.items()
        if lag > max(least, share)
    ]
    most = max(LEAST_P99_S, share)
    if delay > most:  # the only sign in a closed loop, where a request is due when the client has seen another end
        reasons.append(f"its event loop was {delay * 1e3:.1f} ms late (p99), more than {most * 1e3:.1f} ms")
    if busiest > MOST_CPU:
        reasons.append(f"a client process used {busiest:.0%} of its core, more than {MOST_CPU:.0%}")
    if not reasons:
        return ""
    achieved = (
        ""
        if audit.achieved_rate is None or audit.wanted_rate is None
        else f" ({audit.achieved_rate:.4g} of {audit.wanted_rate:.4g} requests/s sent)"
    )
    return (
        f"{', and '.join(reasons)}{achieved}; free the machine of other work, or use more client processes "
        f"(--vllmperf-client-processes)"
    )

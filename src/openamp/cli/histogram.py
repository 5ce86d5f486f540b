"""A histogram of latencies with round limits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

__all__ = ["histogram"]

_STEPS = (10, 12, 15, 20, 25, 30, 40, 50, 60, 80)


def histogram(latencies: Iterable[int]) -> list[tuple[float, float, int]]:
    """Counts latencies (nanoseconds) between round limits.

    Returns:
        (lower limit, upper limit, count), limits in microseconds, with no empty rows before the first and behind the
        last; a latency equal to a limit counts above it.
    """
    limits = [step * 10**power / 10 for power in range(8) for step in _STEPS]
    counts = [0] * (len(limits) + 1)
    for latency in latencies:
        counts[bisect_right(limits, latency / 1000)] += 1
    edges = [0.0, *limits, float("inf")]
    rows = [(edges[i], edges[i + 1], n) for i, n in enumerate(counts)]
    while rows and not rows[-1][2]:
        rows.pop()
    first = next((i for i, row in enumerate(rows) if row[2]), len(rows))
    return rows[first:]

"""The interval of a median from a few repetitions, and the verdict that follows from it."""

import math
import statistics

CONFIDENCE = 0.90
PASSED, SHORT, UNDECIDED, PUBLISHED, MISSING = "met", "SHORT", "undecided", "published", "not measured"


def median_interval(values):
    """The median, and the narrowest pair of order statistics that holds the true median with at least
    90 % whatever the distribution is: each value lies below it with probability 1/2, so the number
    that do is binomial. With fewer than 5 values no pair does: (median, None, None)."""
    ordered = sorted(values)
    count = len(ordered)
    middle = statistics.median(ordered)
    lowest = None
    outside = 0.0
    for below in range(count // 2):
        outside += 2 * math.comb(count, below) / 2**count
        if 1 - outside < CONFIDENCE:
            break
        lowest = below
    if lowest is None:
        return middle, None, None
    return middle, ordered[lowest], ordered[count - 1 - lowest]


def verdict(low, high, target, at_least):
    """Met or short when the whole interval lies on one side of the target."""
    if target is None:
        return PUBLISHED
    if low is None:
        return UNDECIDED
    if not at_least:
        low, high, target = -high, -low, -target
    if low >= target:
        return PASSED
    return SHORT if high < target else UNDECIDED

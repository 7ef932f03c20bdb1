"""What is counted once: it does not depend on the moment, or takes too long to be repeated."""

import dataclasses
import re
import subprocess
import sys
import tempfile

from .programs import BENCHMARKS, BUILD, REPOSITORY

ALLOCATIONS, KEYS = "allocations", "keys"
MILLIONS_OF_KEYS = (1, 100)


@dataclasses.dataclass(frozen=True)
class Count:
    """A number that must not be above its target."""

    group: str
    name: str
    target: float


COUNTS = (
    # None in the engine; a log notes places for readers and makes spares now and then.
    Count(ALLOCATIONS, "allocations a record, blocking form, one in a batch", 0.01),
    Count(ALLOCATIONS, "allocations a record, completion form, one in a batch, 64 in flight", 0.01),
    Count(KEYS, "cost of a new key with 100 M retained ÷ with 1 M", 2.0),
)


def allocations():
    script = REPOSITORY / "Tests/EndToEnd/micro_benchmarks.py"
    done = subprocess.run(
        [sys.executable, script, "--allocations"], capture_output=True, text=True, check=True)
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    return {
        COUNTS[0].name: float(found["append-blocking-1"]) / 1000,
        COUNTS[1].name: float(found["append-completion-1"]) / 1000}


def keys(directory):
    """Appends 100 million keys; takes a quarter of an hour."""
    subprocess.run(
        ["swift", "build", "-c", "release", "--package-path", BENCHMARKS, "--scratch-path", BUILD,
         "--product", "KeyCurve"], check=True, capture_output=True)
    with tempfile.TemporaryDirectory(prefix="bsfg-keys-", dir=directory) as log:
        done = subprocess.run(
            [BUILD / "release/KeyCurve", f"{log}/log", str(MILLIONS_OF_KEYS[1])], text=True,
            capture_output=True, check=True)
    cost = {
        int(count) // 1_000_000: float(nanoseconds)
        for count, nanoseconds in re.findall(r"keys (\d+) ns_per_key (\d+)", done.stdout)}
    return {COUNTS[2].name: cost[MILLIONS_OF_KEYS[1]] / cost[MILLIONS_OF_KEYS[0]]}

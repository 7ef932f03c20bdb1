#!/usr/bin/env python3
"""What single steps of the engine and of a request cost, against Benchmarks/thresholds.json: allocations
by a counter that stands in front of the C library's, instructions by callgrind. Never time.

    micro_benchmarks.py                  check
    micro_benchmarks.py --update         write what is measured, with its margin, as the thresholds
    micro_benchmarks.py --places NAME    where the allocations of a case come from
    micro_benchmarks.py --allocations    name and allocations per 1,000 operations, of each case
"""

import argparse
import json
import math
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

from support import REPOSITORY, Checks

PACKAGE = REPOSITORY / "Benchmarks/Micro"
SCRATCH = REPOSITORY / ".build-micro"
PROGRAM = SCRATCH / "release/MicroBenchmarks"
# valgrind 3.19 does not read the debugging information that the compiler writes.
STRIPPED = SCRATCH / "release/MicroBenchmarks.stripped"
THRESHOLDS = REPOSITORY / "Benchmarks/thresholds.json"
# Cases of a log with its threads: how they meet decides how many commits there are, so instructions
# are not counted, and allocations have a margin.
THREADED = "append-"
THREADED_ATTEMPTS = 4

ALLOCATION_WARM_UP, ALLOCATION_OPERATIONS = 10_000, 10_000
# What comes before the first operation is the same in both runs and drops out of their difference.
INSTRUCTION_WARM_UP, INSTRUCTION_OPERATIONS = 100, (100, 300)
INSTRUCTION_MARGIN = 1.10
LIMIT_SECONDS = 900

ENVIRONMENT = dict(os.environ, SWIFT_DETERMINISTIC_HASHING="1")


def build():
    done = subprocess.run(
        ["swift", "build", "-c", "release", "--package-path", PACKAGE, "--scratch-path", SCRATCH],
        capture_output=True, text=True)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        raise SystemExit("the micro benchmarks do not build")
    subprocess.run(["strip", "-g", "-o", STRIPPED, PROGRAM], check=True)


def cases():
    listed = subprocess.run([PROGRAM, "list"], capture_output=True, text=True, check=True).stdout
    return dict(line.split("\t") for line in listed.splitlines())


def run(command):
    """In a directory of its own, empty at the beginning; in memory, where a sync takes no time."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bsfg-micro-", dir=memory) as directory:
        return subprocess.run(
            [str(word).replace("DIRECTORY", directory) for word in command], capture_output=True,
            text=True, check=True, timeout=LIMIT_SECONDS, env=ENVIRONMENT)


def allocations(name):
    """Per 1,000 operations."""
    done = run([PROGRAM, name, ALLOCATION_WARM_UP, ALLOCATION_OPERATIONS, "DIRECTORY"])
    counted, operations = map(int, done.stdout.split())
    return counted * 1000 / operations


def instructions(name):
    """Per operation."""
    totals = []
    for operations in INSTRUCTION_OPERATIONS:
        done = run([
            "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", STRIPPED, name,
            INSTRUCTION_WARM_UP, operations, "DIRECTORY"])
        totals.append(int(re.search(r"Collected : (\d+)", done.stderr).group(1)))
    return (totals[1] - totals[0]) / (INSTRUCTION_OPERATIONS[1] - INSTRUCTION_OPERATIONS[0])


def check(checks):
    thresholds = json.loads(THRESHOLDS.read_text())
    known = cases()
    checks.equal("every case has thresholds", sorted(thresholds), sorted(known))
    has_valgrind = shutil.which("valgrind") is not None
    for name in sorted(set(known) & set(thresholds)):
        limits = thresholds[name]
        with checks.guard(name):
            allowed = limits["allocations_per_1000_operations"]
            found = allocations(name)
            for _ in range(THREADED_ATTEMPTS if name.startswith(THREADED) else 0):
                # On a busy machine the threads may meet unluckily; what the steps cost, the best run tells.
                if found <= allowed:
                    break
                found = min(found, allocations(name))
            checks.check(
                f"{name}: allocations per 1,000 operations {found:g} of at most {allowed:g}",
                found <= allowed, known[name])
            if "instructions_per_operation" in limits and has_valgrind:
                found = instructions(name)
                allowed = limits["instructions_per_operation"]
                checks.check(
                    f"{name}: instructions per operation {found:.0f} of at most {allowed}",
                    found <= allowed, known[name])
    if not has_valgrind:
        checks.skip("instructions", "valgrind is not installed")


def update():
    thresholds = {}
    for name in sorted(cases()):
        counted = allocations(name)
        if name.startswith(THREADED):
            thresholds[name] = {"allocations_per_1000_operations": math.ceil(counted * 1.05 + 2)}
        else:
            thresholds[name] = {
                "allocations_per_1000_operations": math.ceil(counted),
                "instructions_per_operation": math.ceil(instructions(name) * INSTRUCTION_MARGIN)}
        print(name, thresholds[name], flush=True)
    THRESHOLDS.write_text(json.dumps(thresholds, indent=2) + "\n")


def print_places(name):
    done = run([
        PROGRAM, name, ALLOCATION_WARM_UP, ALLOCATION_OPERATIONS, "DIRECTORY", "--places"])
    places = [line.split() for line in done.stderr.splitlines() if line[:1].isdigit()]
    for calls, *addresses in sorted(places, key=lambda place: -int(place[0]))[:20]:
        print(f"{calls} of {ALLOCATION_OPERATIONS} operations")
        for address in addresses:
            module, offset = address.rsplit("+", 1)
            found = subprocess.run(
                ["llvm-symbolizer", f"--obj={module}", "--inlines", offset], capture_output=True,
                text=True).stdout
            found = subprocess.run(
                ["swift", "demangle", "--compact", "--simplified"], input=found,
                capture_output=True, text=True).stdout.strip().splitlines()
            for function, line in zip(found[::2], found[1::2]):
                if "AllocationCounter" not in line and not line.startswith("??"):
                    print(f"    {function[:100]}  {pathlib.PurePath(line).name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--places", metavar="NAME")
    parser.add_argument("--allocations", action="store_true")
    options = parser.parse_args()
    build()
    if options.places:
        print_places(options.places)
        return 0
    if options.allocations:
        for name in cases():
            print(f"{name}\t{allocations(name):g}")
        return 0
    if options.update:
        update()
        return 0
    checks = Checks("micro_benchmarks.py")
    check(checks)
    return checks.finish()


if __name__ == "__main__":
    raise SystemExit(main())

#!/usr/bin/env python3
"""Measures the log beside the raw disk and beside others' logs, in interleaved pairs, and writes what came
out into docs/performance.md, which says how to read it.

    bench.py                        every row, 9 pairs
    bench.py --rows w1-256,w3       rows of these groups (beginnings of their names)
    bench.py --busy                 the rows under load, with two cores busy
    bench.py --quick                3 short pairs of the rows with 256 bytes: a look, no result
    bench.py --list                 the groups, and about how long each takes
"""

import argparse
import datetime
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time

from harness import counts, machine, programs, report, rounds, rows
from harness.cells import LARGE_FACTOR, LARGE_SUFFIX, Bench
from harness.results import Results

DOCUMENT = programs.REPOSITORY / "docs/performance.md"
# What a repetition takes beside its clock: preparing 512 MiB, starting, waiting for quiet.
OVERHEAD_SECONDS = 0.6
# Free space for each GiB that is filled: of every program that keeps a log, and of the large one.
STORE_COUNT = 6


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9, help="repetitions of each row (9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a repetition (1)")
    parser.add_argument(
        "--sustained-seconds", type=float, default=3.0, help="of one that is sustained (3)")
    parser.add_argument("--fill-mebibytes", type=int, default=1024, help="of w5 and w6 (1024)")
    parser.add_argument("--rows", help="groups, by the beginnings of their names, with commas")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument(
        "--names", action="store_true", help="also every form, profile and keys in w2-256")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--keys", action="store_true", help="also 100 million keys: 15 minutes more")
    parser.add_argument("--no-counts", action="store_true", help="without the allocations")
    parser.add_argument("--driver", help="a program with the driver's command line, in place of ours")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="where logs are written")
    parser.add_argument("--document", type=pathlib.Path, default=DOCUMENT)
    parser.add_argument(
        "--quiet-seconds", type=float, default=30, help="waits so long for a quiet machine (30)")
    parser.add_argument(
        "--disturbance", type=float, default=machine.DISTURBANCE,
        help="of a core, used by others: with more a repetition does not count (0.15)")
    options = parser.parse_args()
    if options.quick:
        options.pairs, options.seconds, options.sustained_seconds = 3, 0.5, 1.0
        options.fill_mebibytes = 256
        options.rows = options.rows or "w1-256,w2-256,w3-256,w4-256,w5,w6"
    return options


def say(line):
    print(line, flush=True)


def chosen_groups(options):
    named = rows.NAME_ROWS if options.names else ()
    groups = rows.groups(rows.LOADED_ROWS if options.busy else rows.ROWS + named)
    if not options.rows:
        return groups
    beginnings = options.rows.split(",")
    # `w1-256` is that group and not its sustained form, which has a name of its own.
    found = {
        name: group for name, group in groups.items()
        if any(name == wanted or (name + "-").startswith(wanted + "-") and "-" not in wanted
               or name == f"{wanted}-{rows.LOADED}" for wanted in beginnings)}
    if not found:
        raise SystemExit(f"bench: no group {options.rows}; there are {', '.join(groups)}")
    return found


def estimate_seconds(group_rows, options):
    cells = rounds.cells_of_group(group_rows)
    sustained = group_rows[0].subject.mode == rows.SUSTAINED
    seconds = options.sustained_seconds if sustained else options.seconds
    return options.pairs * len(cells) * (seconds + OVERHEAD_SECONDS)


def without_large(group_rows, options):
    """Leaves the rows of the large log out where the disk has no room for it."""
    free = machine.free_bytes(options.directory)
    if free > (STORE_COUNT + LARGE_FACTOR + 4) * options.fill_mebibytes << 20:
        return group_rows
    kept = [row for row in group_rows if not row.subject.name.endswith(LARGE_SUFFIX)]
    if len(kept) < len(group_rows):
        say(f"SKIPPED bsfg{LARGE_SUFFIX}: {free >> 30} GiB free are too few")
    return kept


def shown(words):
    """Without the directory, which says nothing to anybody else."""
    if "--directory" in words:
        at = words.index("--directory")
        return words[:at] + words[at + 2:]
    return words


def describe_run(options, built, began):
    commit = subprocess.run(
        ["git", "-C", programs.REPOSITORY, "describe", "--always", "--dirty"], capture_output=True,
        text=True).stdout.strip()
    return {
        "run": began.strftime("%Y-%m-%dT%H:%M:%SZ"), "commit": commit or "unknown",
        "command": "python3 Benchmarks/bench.py " + shlex.join(shown(sys.argv[1:])),
        "pairs": options.pairs, "seconds": options.seconds,
        "sustained_seconds": options.sustained_seconds, "disturbance": options.disturbance,
        "fill_mebibytes": options.fill_mebibytes, "minutes": 0.0,
        "environment": machine.environment(options.directory), "versions": built.versions,
        "skipped": built.skipped}


def write(options, results):
    document = options.document.resolve()
    folder = document.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "results.tsv", folder / "results.png"
    if table.exists():
        results.merge_older(Results.read(table))
    results.write(table)
    drawn = report.draw(results, picture, say)
    report.write(document, results, f"{folder.name}/{picture.name}" if drawn else None)
    say(f"bench: wrote {document}, {table}" + (f", {picture}" if drawn else ""))


def main():
    options = parse()
    groups = chosen_groups(options)
    if options.list:
        for name, group_rows in groups.items():
            say(f"{name:18} {len(group_rows):2} rows, "
                f"{estimate_seconds(group_rows, options) / 60:4.1f} minutes")
    total = sum(estimate_seconds(group_rows, options) for group_rows in groups.values())
    say(f"bench: {len(groups)} groups, about {total / 60:.0f} minutes on a quiet machine")
    if options.list:
        return 0
    built = programs.build(options.driver)
    began, clock = datetime.datetime.now(datetime.timezone.utc), time.monotonic()
    results = Results(describe_run(options, built, began))
    bench = Bench(built, options)
    reported = set()
    try:
        for name, group_rows in groups.items():
            group_rows = without_large(group_rows, options)
            rounds.run(name, group_rows, bench, options, results, say, reported)
            for row in group_rows:
                say(report.line(results, row))
    finally:
        bench.close()
    if not options.no_counts and not options.rows and not options.busy:
        results.counts.update(counts.allocations())
    if options.keys:
        results.counts.update(counts.keys(options.directory))
    results.run["minutes"] = (time.monotonic() - clock) / 60
    say(f"bench: {report.summary(results)}; {results.disturbed_text()}")
    write(options, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())

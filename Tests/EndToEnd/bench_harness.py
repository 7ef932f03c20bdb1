#!/usr/bin/env python3
"""What `make bench` concludes from its repetitions: intervals, verdicts, pairs, the disturbance rule, and
a whole run of a few repetitions with the raw file's program in place of the log's."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from support import REPOSITORY, Checks

sys.path.insert(0, str(REPOSITORY / "Benchmarks"))

from harness import intervals, machine, rows  # noqa: E402  (from the folder above)
from harness.cells import Measurement  # noqa: E402
from harness.results import Results  # noqa: E402

RUN = {"run": "2026-01-01T00:00:00Z", "commit": "none"}


def check_intervals(checks):
    # Of 9 values, the 2nd and the 8th: 1 - 2 * (1 + 9) / 2^9 = 96 %; the 3rd and 7th hold only 82 %.
    checks.equal(
        "decision 23: the interval of 9 values is from the 2nd to the 8th",
        intervals.median_interval([9, 1, 8, 2, 7, 3, 6, 4, 5]), (5, 2, 8))
    checks.equal(
        "of 5 values it is all of them", intervals.median_interval([5, 1, 4, 2, 3]), (3, 1, 5))
    checks.equal("4 values have none", intervals.median_interval([1, 2, 3, 4]), (2.5, None, None))


def check_verdicts(checks):
    for low, high, target, at_least, expected in (
            (0.96, 1.1, 0.95, True, "met"), (0.9, 1.1, 0.95, True, "undecided"),
            (0.8, 0.94, 0.95, True, "SHORT"), (1.0, 1.2, 1.2, False, "met"),
            (1.1, 1.3, 1.2, False, "undecided"), (1.21, 1.3, 1.2, False, "SHORT"),
            (None, None, 1.0, True, "undecided"), (0.1, 0.2, None, True, "published")):
        relation = "≥" if at_least else "≤"
        checks.equal(
            f"{low}–{high} against {relation} {target} is {expected}",
            intervals.verdict(low, high, target, at_least), expected)


def check_rows(checks):
    for group, group_rows in rows.groups(rows.ROWS + rows.LOADED_ROWS + rows.NAME_ROWS).items():
        told = [(row.subject, row.against, row.measure) for row in group_rows]
        checks.equal(f"each row of {group} is there once", len(set(told)), len(told))
    names = {row.subject.name for row in rows.ROWS + rows.NAME_ROWS}
    for form in ("bsfg", "bsfg-blocking", "bsfg-completion"):
        for suffix in ("", "-silstrict", "-keys", "-silstrict-keys"):
            checks.check(f"decision 23: {form + suffix} has a row", form + suffix in names)
    checks.check(
        "decision 24: rows are published prepared and sustained",
        {row.subject.mode for row in rows.ROWS} == {rows.PREPARED, rows.SUSTAINED})


def check_pairs(checks):
    row = next(row for row in rows.ROWS if row.group == "w1-256" and row.target == 0.95)
    zeroed, direct = row.against
    results = Results(RUN)

    def add(cell, number, rate, is_counted=True):
        results.add(row.group, cell, number, 0, is_counted, Measurement(rate, 1.0, 1, 2), 0.0)

    for number in range(9):
        # The disk is twice as fast in every other round: only pairs of one round can be compared.
        drift = 1 + number % 2
        add(zeroed, number, 1000 * drift)
        add(direct, number, 800 * drift)
        add(row.subject, number, 990 * drift)
    found = results.compare(row)
    checks.equal("the best raw file counts", found.other, "raw-zeroed")
    checks.equal(
        "ratios are of one round", (found.low, found.ratio, found.high), (0.99, 0.99, 0.99))
    checks.equal("which decides", found.verdict, "met")
    add(row.subject, 9, 1, is_counted=False)
    add(zeroed, 9, 1000)
    checks.equal("decision 23: a disturbed repetition makes no pair", results.compare(row).pairs, 9)

    with tempfile.TemporaryDirectory(prefix="bsfg-bench-") as directory:
        path = pathlib.Path(directory) / "results.tsv"
        results.write(path)
        again = Results.read(path)
        checks.equal("what is kept reads back", again.compare(row), results.compare(row))
        newer = Results(dict(RUN, run="2026-01-02T00:00:00Z"))
        newer.add("w3-256", row.subject, 0, 0, True, Measurement(1, 1.0, 1, 2), 0.0)
        newer.merge_older(again)
        checks.equal(
            "a run of other groups keeps them", newer.compare(row).pairs, 9)


def check_loaded(checks):
    row = rows.LOADED_ROWS[0]
    results = Results(RUN)
    for number in range(5):
        for cell, quiet, loaded in ((row.subject, 900, 450), (row.against[0], 1000, 400)):
            for mode, rate in ((rows.PREPARED, quiet), (rows.LOADED, loaded)):
                measured = rows.Cell(cell.name, cell.workload, cell.size, mode)
                results.add(row.group, measured, number, 0, True, Measurement(rate, 1, 1, 1), 0.0)
    # Half of its rate is left to ours, 40 % to the raw file's.
    checks.equal("under load what is left is compared", results.compare(row).ratio, 0.5 / 0.4)


def check_disturbance(checks):
    with machine.busy(2) as loops:
        seen = machine.processor_ticks()
        checks.check(
            "a load of our own is not another's",
            os.getpid() not in seen and not any(loop.pid in seen for loop in loops))


def check_run(checks):
    if shutil.which("g++") is None or os.uname().machine != "x86_64":
        checks.skip("a run with a stand-in", "it wants g++ and x86-64")
        return
    with tempfile.TemporaryDirectory(prefix="bsfg-bench-") as directory:
        driver = pathlib.Path(directory) / "driver"
        raw = REPOSITORY / ".build-bench/peers/raw"
        driver.write_text(f'#!/bin/sh\nexec "{raw}" raw-grow "$2" "$3" "$4" "$5"\n')
        driver.chmod(0o755)
        page = pathlib.Path(directory) / "page.md"
        page.write_text("before\n<!-- bench:begin -->old\n<!-- bench:end -->\nafter\n")
        done = subprocess.run(
            [sys.executable, REPOSITORY / "Benchmarks/bench.py", "--driver", driver, "--pairs", "2",
             "--seconds", "0.1", "--quiet-seconds", "0", "--disturbance", "100", "--rows",
             "w1-256,w5-1024", "--fill-mebibytes", "8", "--directory", directory, "--document", page],
            capture_output=True, text=True, timeout=900)
        checks.equal("a run ends well", (done.returncode, done.stderr), (0, ""))
        text = page.read_text()
        checks.check(
            "the page keeps what is around the marks",
            text.startswith("before\n<!-- bench:begin -->") and text.endswith("-->\nafter\n")
            and "old" not in text, text[:80])
        wanted = [row for row in rows.ROWS if row.group in ("w1-256", "w5-1024")]
        measured = [
            line for line in text.splitlines()
            if line.startswith("| bsfg") and line.endswith((" undecided |", " not measured |"))]
        checks.equal("every row is there", len(measured), len(wanted))
        table = Results.read(page.with_suffix("") / "results.tsv")
        rounds_run = {
            one.round for one in table.repetitions if one.cell.name == "bsfg-blocking"}
        checks.equal("every repetition is kept", rounds_run, {0, 1})
        left = [path.name for path in pathlib.Path(directory).glob("bsfg-bench-*")]
        checks.equal("nothing is left behind", left, [])


def test(checks):
    check_intervals(checks)
    check_verdicts(checks)
    check_rows(checks)
    check_pairs(checks)
    check_loaded(checks)
    check_disturbance(checks)
    check_run(checks)


if __name__ == "__main__":
    checks = Checks("bench_harness.py")
    test(checks)
    raise SystemExit(checks.finish())

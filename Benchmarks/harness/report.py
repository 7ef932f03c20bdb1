"""The part of docs/performance.md that is written: between its two marks, everything else stays."""

import json
import pathlib
import statistics
import subprocess

from . import intervals, rows
from .counts import COUNTS
from .programs import VIRTUAL_ENVIRONMENT

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"

WORKLOADS = {
    "w1": "one writer, one record per sync",
    "w2": "64 in flight, each acknowledged when durable",
    "w3": "1,000 records per sync",
    "w4": "no sync waited for",
    "w5": "read back with every checksum verified, warm",
    "w6": "open after kill -9, files not in the page cache",
}
DURABILITY = {
    "w4": "written, not synced by each append; the clock stops when what was written is handed over, ours when it is durable",
    "w5": "read only", "w6": "the first durable append included",
}
BATCHES = {
    "w1": "a record a commit", "w2": "what queued meanwhile is the next commit",
    "w3": "1,000 records a commit", "w4": "a record an append",
}
MODES = {
    rows.PREPARED: "file prepared: 512 MiB of zeros or spares before the clock",
    rows.SUSTAINED: "sustained: preparing and sealing inside the clock",
    rows.LOADED: "two cores busy with something else; the figures are what is left of the rate without",
}


def _number(value):
    if value is None:
        return "–"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _size(size):
    return f"{size // 1024} KiB" if size >= 1024 else f"{size} B"


def _against(comparison):
    row = comparison.row
    if not row.against:
        return "–"
    return (comparison.other or "–") + (f" ({row.note})" if row.note else "")


def _target(row):
    if row.target is None:
        return "–"
    unit = {rows.SECONDS: " s", rows.RATE: "/s"}.get(row.measure, "") if not row.against else ""
    return ("≥ " if row.at_least else "≤ ") + f"{row.target:,g}" + unit


def _interval(comparison):
    if comparison.ratio is None:
        return "–"
    if comparison.low is None:
        return _number(comparison.ratio)
    return f"{_number(comparison.ratio)} ({_number(comparison.low)}–{_number(comparison.high)})"


def _verdict(comparison):
    verdict = comparison.verdict
    return f"**{verdict}**" if verdict == intervals.SHORT else verdict


def _ratio_table(results, group_rows):
    lines = [
        "| what | measure | median | against | its median | ratio (90 % interval) | target | pairs | |",
        "|---|---|---:|---|---:|---:|---:|---:|---|"]
    for row in group_rows:
        found = results.compare(row)
        lines.append(
            f"| {row.subject.name} | {row.measure} | {_number(found.subject_median)} | "
            f"{_against(found)} | {_number(found.other_median)} | {_interval(found)} | "
            f"{_target(row)} | {found.pairs} | {_verdict(found)} |")
    return lines


def _field_table(results, group):
    """Everything that was measured in a group, the fastest first."""
    cells = {one.cell: None for one in results.repetitions if one.group == group}
    found = []
    for cell in cells:
        values = {
            measure: list(results.by_round(group, cell, measure).values())
            for measure in (rows.RATE, rows.SECONDS, rows.LATENCY)}
        p50 = [
            one.measurement.p50_microseconds for one in results.repetitions
            if one.is_counted and one.group == group and one.cell == cell]
        if values[rows.RATE]:
            found.append((cell, statistics.median(values[rows.RATE]),
                          statistics.median(values[rows.SECONDS]), statistics.median(p50),
                          statistics.median(values[rows.LATENCY]), len(p50)))
    found.sort(key=lambda entry: -entry[1])
    lines = [
        "", "<details><summary>every program</summary>", "",
        "| program | workload | records/s | MB/s | p50 µs | p99 µs | seconds | repetitions |",
        "|---|---|---:|---:|---:|---:|---:|---:|"]
    for cell, rate, seconds, p50, p99, count in found:
        mode = "" if cell.mode == rows.PREPARED else f" ({cell.mode})"
        lines.append(
            f"| {cell.name}{mode} | {cell.workload} | {rate:,.0f} | {rate * cell.size / 1e6:,.1f} | "
            f"{p50:,.0f} | {p99:,.0f} | {seconds:.3g} | {count} |")
    return [*lines, "", "</details>"]


def _runs(results):
    """What was run and where; the machine once for all runs in a row that it was the same for."""
    lines = []
    described = None
    for run in results.runs.values():
        machine = [f"- {name}: {text}" for name, text in run["environment"].items()]
        versions = ", ".join(f"{name} {text}" for name, text in run["versions"].items())
        machine.append(f"- peers: {versions or 'none'}")
        machine += [f"- not there: {name}, {why}" for name, why in run["skipped"].items()]
        if described is not None and machine != described:
            lines += ["", *described, ""]
        described = machine
        lines.append(f"- `{run['command']}`, {run['run']}, commit {run['commit']}: {run['pairs']} pairs, "
                     f"{run['seconds']:g} s a repetition, sustained {run['sustained_seconds']:g} s, "
                     f"in {run['minutes']:.0f} minutes; not counted when others used more than "
                     f"{run['disturbance']:g} of a core.")
    return [*lines, "", "On:", "", *(described or []), ""]


def _counts(results):
    if not results.counts:
        return []
    lines = ["### Counted once", "", "| what | found | target | |", "|---|---:|---:|---|"]
    for count in COUNTS:
        found = results.counts.get(count.name)
        verdict = intervals.MISSING
        if found is not None:
            verdict = intervals.PASSED if found <= count.target else f"**{intervals.SHORT}**"
        lines.append(f"| {count.name} | {_number(found)} | ≤ {count.target:g} | {verdict} |")
    return [*lines, ""]


def measured_rows(results):
    measured = {(one.group, one.cell) for one in results.repetitions}
    groups = {group for group, _ in measured}
    # Of what is measured when it is asked for, only what was; of all else, also what could not be.
    return [
        row for row in rows.ROWS + rows.LOADED_ROWS + rows.NAME_ROWS if row.group in groups
        and (row not in rows.NAME_ROWS or (row.group, row.subject) in measured)]


def summary(results):
    """How many rows ended how, in words."""
    verdicts = [results.compare(row).verdict for row in measured_rows(results)]
    order = (intervals.PASSED, intervals.UNDECIDED, intervals.SHORT, intervals.PUBLISHED,
             intervals.MISSING)
    return ", ".join(
        f"{verdicts.count(verdict)} {verdict}" for verdict in order if verdict in verdicts)


def line(results, row):
    """A row as it is told while the run goes on."""
    found = results.compare(row)
    against = f" ÷ {_against(found)}" if row.against else ""
    return (f"{found.verdict:12} {row.group:16} {row.subject.name}{against} {row.measure}: "
            f"{_interval(found)}, target {_target(row)}")


def _conditions(results, workload, mode):
    durability = DURABILITY.get(workload, "durable when acknowledged (fdatasync or O_DSYNC)")
    if workload in BATCHES:
        return f"{BATCHES[workload]}; {durability}; {MODES[mode]}"
    mebibytes = next(iter(results.runs.values()))["fill_mebibytes"]
    return f"{durability}; a log of {mebibytes:,} MiB, filled 100 records a commit and killed"


def write(document, results, picture):
    """picture: the file beside the document, or None."""
    document = pathlib.Path(document)
    text = document.read_text() if document.exists() else f"{BEGIN}\n{END}\n"
    if BEGIN not in text or END not in text:
        raise SystemExit(f"bench: {document} has no lines {BEGIN} and {END}")
    lines = [BEGIN, "", *_runs(results), f"Rows: {summary(results)}; {results.disturbed_text()}.", ""]
    if picture:
        lines += [f"![Each row's ratio to its target, and the field]({picture})", ""]
    for group, group_rows in rows.groups(measured_rows(results)).items():
        workload, size = group.split("-")[:2]
        mode = group_rows[0].subject.mode
        lines += [
            f"### {group}: {WORKLOADS[workload]}", "",
            f"Payload {_size(int(size))}; {_conditions(results, workload, mode)}.", "",
            *_ratio_table(results, group_rows), *_field_table(results, group), ""]
    lines += [*_counts(results), END]
    before, rest = text.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    document.write_text(before + "\n".join(lines) + after)


def draw(results, path, say):
    """Draws the picture with the interpreter that has the library; False when there is none."""
    python = VIRTUAL_ENVIRONMENT / "bin/python"
    bars = []
    for row in measured_rows(results):
        found = results.compare(row)
        if row.target is None or found.ratio is None:
            continue
        # Above 1 is better, whichever way the row goes.
        relative = [
            None if value is None else (value / row.target if row.at_least else row.target / value)
            for value in (found.ratio, found.low, found.high)]
        bars.append({
            "label": f"{row.group}  {row.subject.name}  {row.measure}"
                     + (f" ÷ {found.other}" if found.other else ""),
            "value": relative[0], "ends": relative[1:], "verdict": found.verdict})
    field = {}
    for group in ("w1-256", "w2-256", "w3-256", "w4-256", "w5-1024"):
        for cell in {one.cell: None for one in results.repetitions if one.group == group}:
            values = results.by_round(group, cell, rows.RATE).values()
            if values and cell.workload != "w2w":
                field.setdefault(group, {})[cell.name] = statistics.median(values)
    try:
        done = subprocess.run(
            [python, pathlib.Path(__file__).with_name("plot.py"), path], text=True,
            input=json.dumps({"bars": bars, "field": field}), capture_output=True)
    except FileNotFoundError:
        say("SKIPPED plot: matplotlib is not installed (make bench-deps)")
        return False
    if done.returncode != 0:
        say(f"SKIPPED plot: {done.stderr.strip().splitlines()[-1]}")
    return done.returncode == 0

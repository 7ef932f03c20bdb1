"""Every repetition, kept as text: tab-separated columns, after a comment line of JSON for each run."""

import dataclasses
import json
import pathlib
import statistics

from . import intervals, rows
from .cells import Measurement

COLUMNS = (
    "run", "group", "mode", "name", "workload", "size", "round", "attempt", "counted", "records",
    "seconds", "records_per_second", "p50_us", "p99_us", "others_cores")


@dataclasses.dataclass(frozen=True)
class Repetition:
    run: str
    group: str
    cell: rows.Cell
    round: int
    attempt: int
    is_counted: bool
    measurement: Measurement
    others_cores: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A row with its figures: of the subject, of the best of the others, and their ratio."""

    row: rows.Row
    other: str
    pairs: int
    subject_median: float | None
    other_median: float | None
    ratio: float | None
    low: float | None
    high: float | None

    @property
    def verdict(self):
        if self.ratio is None:
            return intervals.MISSING
        return intervals.verdict(self.low, self.high, self.row.target, self.row.at_least)


class Results:
    def __init__(self, run=None):
        # Its name (when it began), and what is known of it.
        self.run = run or {}
        self.runs = {run["run"]: run} if run else {}
        self.repetitions = []
        # What is counted once and does not depend on the moment, by its name (counts.py).
        self.counts = {}

    def add(self, group, cell, number, attempt, is_counted, measurement, cores):
        self.repetitions.append(Repetition(
            self.run["run"], group, cell, number, attempt, is_counted, measurement, cores))

    def merge_older(self, older):
        """Keeps what an older run measured and this one did not."""
        groups = {repetition.group for repetition in self.repetitions}
        kept = [one for one in older.repetitions if one.group not in groups]
        for one in kept:
            self.runs.setdefault(one.run, older.runs[one.run])
        self.repetitions = kept + self.repetitions
        self.counts = {**older.counts, **self.counts}

    # Text

    def write(self, path):
        lines = [f"# {json.dumps(run)}" for run in self.runs.values()]
        lines.append(f"# {json.dumps({'counts': self.counts})}")
        lines.append("\t".join(COLUMNS))
        for one in self.repetitions:
            cell, found = one.cell, one.measurement
            lines.append("\t".join(map(str, (
                one.run, one.group, cell.mode, cell.name, cell.workload, cell.size, one.round,
                one.attempt, int(one.is_counted), found.records, f"{found.seconds:.6f}",
                f"{found.records_per_second:.1f}", found.p50_microseconds, found.p99_microseconds,
                f"{one.others_cores:.3f}"))))
        pathlib.Path(path).write_text("\n".join(lines) + "\n")

    @classmethod
    def read(cls, path):
        results = cls()
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith("# "):
                note = json.loads(line[2:])
                if "counts" in note:
                    results.counts = note["counts"]
                else:
                    results.runs[note["run"]] = note
            elif line != "\t".join(COLUMNS):
                field = dict(zip(COLUMNS, line.split("\t")))
                results.repetitions.append(Repetition(
                    field["run"], field["group"],
                    rows.Cell(field["name"], field["workload"], int(field["size"]), field["mode"]),
                    int(field["round"]), int(field["attempt"]), field["counted"] == "1",
                    Measurement(
                        int(field["records"]), float(field["seconds"]), float(field["p50_us"]),
                        float(field["p99_us"])),
                    float(field["others_cores"])))
        return results

    # Figures

    def disturbed_text(self):
        disturbed = sum(not one.is_counted for one in self.repetitions)
        return f"{disturbed} of {len(self.repetitions)} repetitions disturbed and not counted"

    def by_round(self, group, cell, measure):
        """The undisturbed value of each round."""
        return {
            one.round: one.measurement.value(measure) for one in self.repetitions
            if one.is_counted and one.group == group and one.cell == cell}

    def _best(self, row):
        """The fastest of those that the row is held against, by their medians."""
        speed = {}
        for cell in row.against:
            by_seconds = row.measure == rows.SECONDS
            values = self.by_round(row.group, cell, rows.SECONDS if by_seconds else rows.RATE)
            if values:
                middle = statistics.median(values.values())
                speed[cell] = -middle if by_seconds else middle
        return max(speed, key=speed.get) if speed else None

    def compare(self, row):
        subject = self.by_round(row.group, row.subject, row.measure)
        if not row.against:
            other, other_values, ratios = None, {}, list(subject.values())
        else:
            other = self._best(row)
            other_values = self.by_round(row.group, other, row.measure) if other else {}
            if row.subject.mode == rows.LOADED:
                subject = self._loaded_part(row, row.subject)
                other_values = self._loaded_part(row, other) if other else {}
            ratios = [
                value / other_values[number] for number, value in subject.items()
                if other_values.get(number)]
        if not ratios:
            return Comparison(row, other.name if other else "", 0, *[None] * 5)
        return Comparison(
            row, other.name if other else "", len(ratios), statistics.median(subject.values()),
            statistics.median(other_values.values()) if other_values else None,
            *intervals.median_interval(ratios))

    def _loaded_part(self, row, cell):
        """What is left under load of a cell's value without."""
        quiet = self.by_round(
            row.group, rows.Cell(cell.name, cell.workload, cell.size, rows.PREPARED), row.measure)
        loaded = self.by_round(row.group, cell, row.measure)
        return {
            number: value / quiet[number] for number, value in loaded.items() if quiet.get(number)}

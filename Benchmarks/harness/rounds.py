"""The order of measurements: every cell of a group once in a round, the order turned round each time, so
that what drifts (the disk, the machine) touches all alike. One rule for what is repeated."""

import contextlib

from . import machine, rows
from .cells import CellError

ATTEMPTS = 3
BUSY_CORES = 2


def cells_of_group(group_rows):
    """With the same cells without load for rows under load, which are held against each other."""
    cells = rows.cells_of(group_rows)
    if cells[0].mode != rows.LOADED:
        return cells
    quiet = [rows.Cell(cell.name, cell.workload, cell.size, rows.PREPARED) for cell in cells]
    return [cell for pair in zip(quiet, cells) for cell in pair]


def usable(cells, programs, say, reported):
    """The cells whose programs are there; says once of each other why it is skipped."""
    kept = []
    for cell in cells:
        if programs.program(cell.name):
            kept.append(cell)
        elif cell.name not in reported:
            reported.add(cell.name)
            reason = programs.skipped.get(cell.name, "not asked for")
            say(f"SKIPPED {cell.name}: {reason}")
    return kept


def run(group, group_rows, bench, options, results, say, reported):
    """Measures a group and adds each repetition to the results."""
    cells = usable(cells_of_group(group_rows), bench.programs, say, reported)
    for number in range(options.pairs):
        for cell in cells if number % 2 == 0 else reversed(cells):
            _measure(group, cell, number, bench, options, results, say)


def _measure(group, cell, number, bench, options, results, say):
    for attempt in range(ATTEMPTS):
        machine.wait_until_quiet(options.quiet_seconds)
        load = machine.busy(BUSY_CORES) if cell.mode == rows.LOADED else contextlib.nullcontext()
        others = machine.OthersProcessor()
        try:
            with load:
                measurement = bench.measure(cell)
        except CellError as error:
            say(f"FAILED {group} {cell.name} {cell.workload}: {error}")
            return
        cores = others.cores()
        is_counted = cores <= options.disturbance
        results.add(group, cell, number, attempt, is_counted, measurement, cores)
        if is_counted:
            return

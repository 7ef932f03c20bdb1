#!/usr/bin/env python3
"""How long a log takes to open after its writer was killed, at several sizes.

    Benchmarks/opening.py                              1 and 100 GiB, without keys
    Benchmarks/opening.py --keys --gibibytes 1,100     about 100 million keys in the larger one

Each log is filled with records of 1 KiB by `wal-peer-driver fill`, which kills itself at the end. So that
100 GiB fit a small disk, the records of a segment are taken out of its file (a hole is punched) once it is
sealed: header and footer stay. Opening reads neither the ones nor the others, only the tables, the key runs
and what was written since the last checkpoint; all of that is as the driver wrote it. Before each opening all
files are dropped from the page cache. One line a size: the log's size, records, the median and the range of
the openings until a first keyed append is durable and the last record read, in milliseconds, and the most
memory that the process had.
"""

import argparse
import ctypes
import os
import pathlib
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading

from harness import cells, programs

RECORD_BYTES = 1024
SEGMENT_NAME = re.compile(r"[0-9a-f]{16}\.segment")
FOOTER_MAGIC = b"BSFE"
# docs/format.md: the header, the spare of the header, and the footer's room at the end.
KEPT_AT_START_BYTES = 64 << 10
FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2
POLL_SECONDS = 0.2
LIMIT_SECONDS = 4 * 3600

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def footer_position(length):
    return length - 4096 - length // 1024


def punch_when_sealed(path):
    """True once the records are out of the file."""
    file = os.open(path, os.O_RDWR)
    try:
        end = footer_position(os.fstat(file).st_size)
        if os.pread(file, len(FOOTER_MAGIC), end) != FOOTER_MAGIC:
            return False
        end -= end % 4096
        mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
        if libc.fallocate(file, mode, KEPT_AT_START_BYTES, end - KEPT_AT_START_BYTES) != 0:
            raise OSError(ctypes.get_errno(), "fallocate", str(path))
        return True
    finally:
        os.close(file)


def segments(directory):
    return sorted(
        path for path in pathlib.Path(directory).rglob("*.segment") if SEGMENT_NAME.fullmatch(path.name))


class Puncher:
    """Takes the records out of sealed segments while the log is filled; the newest stay as they are."""

    def __init__(self, directory, kept_count=4):
        self.directory, self.kept_count = directory, kept_count
        self.punched = set()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.ended.wait(POLL_SECONDS):
            for path in segments(self.directory)[:-self.kept_count]:
                try:
                    if path.name not in self.punched and punch_when_sealed(path):
                        self.punched.add(path.name)
                except FileNotFoundError:
                    continue

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def fill(program, name, gibibytes, directory):
    with Puncher(directory) as puncher:
        filling = subprocess.Popen(
            [program, name, "fill", str(RECORD_BYTES), str(gibibytes << 10), directory],
            stdout=subprocess.PIPE, text=True)
        output, _ = filling.communicate(timeout=LIMIT_SECONDS)
    if not output.strip():
        raise SystemExit(f"the driver ended with {filling.returncode} before it had filled the log")
    subprocess.run(["sync", "-f", directory], check=True)
    return int(output.split()[0]), len(puncher.punched)


def open_once(program, name, directory):
    """Milliseconds, and the peak of the process in MiB."""
    cells.drop_from_cache(directory)
    opening = subprocess.Popen(
        [program, name, "recover", str(RECORD_BYTES), "0", directory], stdout=subprocess.PIPE, text=True)
    output = opening.stdout.read()
    _, status, usage = os.wait4(opening.pid, 0)
    if status != 0:
        raise SystemExit(f"the log does not open: wait status {status}")
    return float(output.split()[1]) * 1000, usage.ru_maxrss / 1024


def measure(program, name, gibibytes, parent, openings):
    directory = tempfile.mkdtemp(prefix="bsfg-opening-", dir=parent)
    try:
        records, punched = fill(program, name, gibibytes, directory)
        logical = sum(path.stat().st_size for path in segments(directory))
        count = len(segments(directory))
        results = [open_once(program, name, directory) for _ in range(openings)]
        times = [milliseconds for milliseconds, _ in results]
        print(
            f"{name} {gibibytes} GiB: {records} records, {count} segments of together {logical / 2**30:.1f} GiB, "
            f"{punched} of them without their records; opened in {statistics.median(times):.0f} ms "
            f"({min(times):.0f} to {max(times):.0f}, {openings} times), "
            f"peak {max(peak for _, peak in results):.0f} MiB", flush=True)
        return statistics.median(times)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gibibytes", default="1,100", help="sizes, separated by commas")
    parser.add_argument("--keys", action="store_true", help="every record with a key")
    parser.add_argument("--openings", type=int, default=7)
    parser.add_argument("--directory", default=tempfile.gettempdir())
    parser.add_argument("--driver", help="instead of building ours")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    program = programs.build(options.driver, wanted=()).paths["bsfg"]
    name = "bsfg-blocking-keys" if options.keys else "bsfg-blocking"
    sizes = [int(size) for size in options.gibibytes.split(",")]
    medians = [measure(program, name, size, options.directory, options.openings) for size in sizes]
    if len(medians) > 1:
        print(f"largest to smallest: {medians[-1] / medians[0]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

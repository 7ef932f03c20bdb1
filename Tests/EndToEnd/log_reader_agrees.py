#!/usr/bin/env python3
"""`bsfg log dump -o json` and the Python reader written from docs/format.md print the same bytes, over
several segments, in both profiles, with keys and without; and both end with 1 on a damaged log, after
the same records.

    BSFG=path log_reader_agrees.py
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile

from log_common import BSFG, finish

READER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "Interop", "log_reader.py")


def both(directory):
    """Exit status and output of the two programs."""
    dump = subprocess.run([BSFG, "log", "dump", "--dir", directory, "-o", "json"],
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    reader = subprocess.run([sys.executable, READER, directory],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    return (dump.returncode, dump.stdout), (reader.returncode, reader.stdout)


def append(directory, lines, *options):
    subprocess.run([BSFG, "log", "append", "--dir", directory, "--segment", "1MiB", "--capacity",
                    "64MiB", *options], input=b"".join(lines), stdout=subprocess.PIPE, check=True,
                   timeout=120)


def main():
    root = tempfile.mkdtemp(prefix="bsfg-reader-")
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    failures = []
    records = 0
    for profile in ("standard", "sil_strict"):
        directory = os.path.join(root, profile)
        keyed = [b"key %d\t%s\n" % (n, b"v" * chance.randrange(9000)) for n in range(300)]
        plain = [b"%d %s\n" % (n, b"p" * chance.randrange(9000)) for n in range(300)]
        append(directory, keyed, "--keyed", "--profile", profile)
        append(directory, plain + [b"\n"])
        append(directory, keyed[:50], "--keyed")
        ours, theirs = both(directory)
        records += len(ours[1].splitlines())
        if ours != theirs or ours[0] != 0 or len(ours[1].splitlines()) != 601:
            failures.append(f"{profile}: they differ: {ours[0]}, {theirs[0]}")
        # One bit in the middle of the first segment.
        with open(os.path.join(directory, "0000000000000001.segment"), "r+b") as file:
            file.seek(500_000)
            byte = file.read(1)[0] ^ 4
            file.seek(500_000)
            file.write(bytes([byte]))
        ours, theirs = both(directory)
        if ours[0] != 1 or theirs[0] != 1 or ours[1] != theirs[1] or not ours[1]:
            failures.append(f"{profile}: damaged, they differ: {ours[0]}, {theirs[0]}")
    if not failures:
        shutil.rmtree(root)
    finish(failures, f"{records} records the same in two programs and two profiles, seed {seed}")


if __name__ == "__main__":
    main()

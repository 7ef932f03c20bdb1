#!/usr/bin/env python3
"""strace over `bsfg log append`: every printed offset follows the sync that made it durable. What
happens when a call fails is the matter of log_syscalls.py.

    BSFG=path log_strace.py
"""

import os
import re
import shutil
import subprocess
import tempfile

from log_common import BSFG, finish, skip

LINE = re.compile(rb"^(\d+)\s+[\d.]+ (.*)$")
UNFINISHED = re.compile(rb"^(\w+)\((.*) <unfinished \.\.\.>$")
RESUMED = re.compile(rb"^<\.\.\. (\w+) resumed>(.*)$")
CALL = re.compile(rb"^(\w+)\((.*)\)\s+= (-?\d+)")


def calls(path):
    """System calls as (name, arguments, result, begin, end); begin and end are line numbers."""
    waiting = {}
    found = []
    with open(path, "rb") as trace:
        for number, line in enumerate(trace):
            match = LINE.match(line.rstrip())
            if not match:
                continue
            thread, text = match.groups()
            unfinished = UNFINISHED.match(text)
            if unfinished:
                waiting[thread] = (number, unfinished.group(2))
                continue
            begin = number
            resumed = RESUMED.match(text)
            if resumed:
                begin, start = waiting.pop(thread, (number, b""))
                text = resumed.group(1) + b"(" + start + resumed.group(2)
            call = CALL.match(text)
            if call:
                found.append((call.group(1), call.group(2), int(call.group(3)), begin, number))
    return found


def order(root, failures):
    """Each offset is printed after a sync that ended after the write of its frame ended."""
    directory = os.path.join(root, "order")
    trace = os.path.join(root, "order.trace")
    lines = b"".join(b"key %d\tpayload %d %s\n" % (i, i, b"x" * (i % 3000)) for i in range(3000))
    done = subprocess.run(
        ["strace", "-f", "-ttt", "-y", "-s", "200000", "-xx", "-o", trace, "-e",
         "trace=pwrite64,fdatasync,write,fsync", BSFG, "log", "append", "--dir", directory,
         "--keyed", "--segment", "1MiB", "--capacity", "64MiB"],
        input=lines, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=300)
    if done.returncode != 0:
        failures.append(f"append under strace ended with {done.returncode}: {done.stderr[-500:]}")
        return 0, 0
    printed = synced = 0
    written = []    # of segment frames: (end line, one past its last offset)
    durable = 0
    for name, arguments, result, begin, end in sorted(calls(trace), key=lambda call: call[4]):
        segment = b".segment>" in unhex_path(arguments)
        if name == b"pwrite64" and segment and result > 0:
            data = unhex(arguments)
            if data[:4] == b"BSFF":
                records = int.from_bytes(data[44:48], "little")
                first = int.from_bytes(data[56:64], "little")
                written.append((end, first + records))
        elif name == b"fdatasync" and segment and result == 0:
            synced += 1
            for finished, reach in written:
                if finished < begin:
                    durable = max(durable, reach)
        elif name == b"write" and arguments.startswith(b"1<"):
            for line in unhex(arguments).splitlines():
                offset = int(line.split(b"\t")[0])
                printed += 1
                if offset >= durable:
                    failures.append(
                        f"offset {offset} was printed when {durable} offsets were durable")
    if printed != 3000:
        failures.append(f"{printed} offsets were printed, not 3000")
    return printed, synced


def unhex_path(arguments):
    """The part of -y's output that names the file: it is escaped as strings are."""
    head = arguments.split(b'"')[0]
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match.group(1), 16)]), head)


def unhex(arguments):
    start = arguments.index(b'"') + 1
    text = arguments[start:arguments.rindex(b'"')]
    return bytes.fromhex(text.replace(b"\\x", b"").decode())


def main():
    if not shutil.which("strace"):
        skip("strace is not installed")
    root = tempfile.mkdtemp(prefix="bsfg-strace-")
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], stderr=subprocess.PIPE)
    if probe.returncode != 0:
        skip("strace may not trace here: " + probe.stderr.decode().strip())
    failures = []
    printed, synced = order(root, failures)
    if not failures:
        shutil.rmtree(root)
    finish(failures, f"{printed} offsets each printed after its fdatasync ({synced} syncs of segments)")


if __name__ == "__main__":
    main()

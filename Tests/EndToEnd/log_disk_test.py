#!/usr/bin/env python3
"""`bsfg log disk-test`: what it measures, and that the honesty test finds what a disk lost.

The power cut is a kill; a disk that lies is made by taking blocks away from the file afterwards.

    BSFG=path log_disk_test.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

from log_common import BSFG
from support import Checks, free_port, wait_until

BLOCK = 4096
BLOCKS = 1024


def disk_test(*arguments):
    done = subprocess.run(
        [BSFG, "log", "disk-test", *map(str, arguments)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def measures(checks, directory):
    status, output, error = disk_test(directory, "--count", 100, "--json")
    if not checks.check("it measures a directory", status == 0, error):
        return
    found = json.loads(output)
    latency = found["synchronised"]
    checks.check("latencies are in order", 0 < latency["p50_nanoseconds"] <= latency[
        "p99_nanoseconds"] <= latency["greatest_nanoseconds"] and latency["writes"] == 100, latency)
    checks.check("short writes are told", found["short_writes_told"] is True)
    checks.equal("it leaves nothing behind", os.listdir(directory), [])
    status, output, _ = disk_test(directory, "--count", 20)
    checks.check("the table names both writers", status == 0 and "pwrite and fdatasync" in output
                 and "faster here:" in output, output)
    status, _, error = disk_test(os.path.join(directory, "absent"))
    checks.check("a directory that is not there is one sentence",
                 status == 1 and error.count("\n") == 1, error)
    checks.equal("--check alone is a wrong command line", disk_test(directory, "--check")[0], 2)


def block(path, number):
    with open(path, "rb") as file:
        file.seek(number * BLOCK)
        return file.read(BLOCK)


def is_honest(checks, directory):
    port = free_port()
    listener = subprocess.Popen(
        [BSFG, "log", "disk-test", "--serve", str(port)], stdout=subprocess.PIPE, text=True)
    try:
        listener.stdout.readline()
        remote = f"127.0.0.1:{port}"
        writer = subprocess.Popen(
            [BSFG, "log", "disk-test", directory, "--remote", remote], stdout=subprocess.PIPE)
        writer.stdout.readline()
        path = os.path.join(directory, "bsfg-disk-test-numbers")
        wait_until("a dozen numbers", lambda: any(block(path, 12)))
        writer.kill()
        writer.wait()
        status, output, error = disk_test(directory, "--check", "--remote", remote, "--json")
        found = json.loads(output) if output else {}
        if not checks.check("after a kill nothing acknowledged is missing", status == 0, error):
            return
        checks.check("numbers were acknowledged", found["acknowledged"] > 0, found)
        # A disk that answered before the newest block was safe.
        with open(path, "r+b") as file:
            for number in range(found["acknowledged"], found["found"] + 1):
                file.seek(number % BLOCKS * BLOCK)
                file.write(bytes(BLOCK))
            os.fsync(file.fileno())
        status, output, error = disk_test(directory, "--check", "--remote", remote, "--json")
        found = json.loads(output)
        checks.check("a lost block is found", status == 1 and found["honest"] is False
                     and found["lost"] == 1, found)
        checks.check("and said in one sentence", "lost 1 writes" in error, error)
    finally:
        listener.kill()
        listener.wait()
    status, _, error = disk_test(directory, "--check", "--remote", remote)
    checks.check("without the second machine it says so", status == 4, error)


def main():
    checks = Checks("log_disk_test")
    directory = tempfile.mkdtemp(prefix="bsfg-disk-test-")
    try:
        with checks.guard("measuring"):
            measures(checks, directory)
        with checks.guard("honesty"):
            is_honest(checks, directory)
    finally:
        shutil.rmtree(directory)
    return checks.finish()


if __name__ == "__main__":
    sys.exit(main())

"""What the log scripts share: finding the binary, reading a dump, ending with PASS or FAIL."""

import base64
import json
import os
import subprocess
import sys

BSFG = os.environ.get("BSFG", ".build/release/bsfg")


def finish(failures, summary):
    """Prints the verdict and ends the process."""
    for failure in failures[:20]:
        print("  " + failure)
    if failures:
        print(f"FAIL {os.path.basename(sys.argv[0])}: {len(failures)} wrong; {summary}")
        sys.exit(1)
    print(f"PASS {os.path.basename(sys.argv[0])}: {summary}")
    sys.exit(0)


def skip(reason):
    print(f"SKIPPED {os.path.basename(sys.argv[0])}: {reason}")
    sys.exit(0)


def dump(directory, timeout=120):
    """The durable records of a log as a list of dictionaries, payloads decoded."""
    done = subprocess.run(
        [BSFG, "log", "dump", "--dir", directory, "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"dump ended with {done.returncode}: {done.stderr.decode()}")
    records = []
    for line in done.stdout.splitlines():
        record = json.loads(line)
        record["payload"] = base64.b64decode(record["payload"])
        records.append(record)
    return records


def verify(directory, timeout=120):
    """What `log verify` says, as (exit status, report)."""
    done = subprocess.run(
        [BSFG, "log", "verify", "--dir", directory, "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"error": done.stderr.decode()}


def information(directory):
    done = subprocess.run(
        [BSFG, "log", "info", "--dir", directory, "-o", "json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    if done.returncode != 0:
        raise RuntimeError(f"info ended with {done.returncode}: {done.stderr.decode()}")
    return json.loads(done.stdout)

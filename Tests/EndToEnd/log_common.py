"""What the log scripts share: finding the binary, reading a dump, ending with PASS or FAIL."""

import base64
import hashlib
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


def sha256(data):
    return hashlib.sha256(data).hexdigest()


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


def check_history(records, acknowledged, sent, failures, where):
    """Holds a dump against what was printed and what was sent.

    `acknowledged` and `sent` map a key (bytes) to an offset and to a payload.
    """
    keys = {}
    for index, record in enumerate(records):
        if record["offset"] != index:
            failures.append(f"{where}: offset {record['offset']} stands where {index} is expected")
            return
        if record["key"] in keys:
            failures.append(f"{where}: a key is at {keys[record['key']]} and at {index}")
        keys[record["key"]] = index
    by_hash = {sha256(key): key for key in sent}
    for record in records:
        key = by_hash.get(record["key"])
        if key is None:
            failures.append(f"{where}: offset {record['offset']} holds what was never sent")
        elif record["payload"] != sent[key] or record["content_digest"] != sha256(sent[key]):
            failures.append(f"{where}: offset {record['offset']} holds another content than sent")
    for key, offset in acknowledged.items():
        if offset >= len(records):
            failures.append(f"{where}: acknowledged offset {offset} is gone")
        elif records[offset]["key"] != sha256(key):
            failures.append(f"{where}: acknowledged offset {offset} holds another record")

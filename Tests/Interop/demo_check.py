#!/usr/bin/env python3
"""Compares the two logs of `bsfg demo --keep` without bsfg's own code.

    demo_check.py DEMO_DIRECTORY

Ends with 0 when the receiver's forward log holds the ids and content digests of the sender's store
log, each once, with increasing origin offsets that are the sender's own. Ids and digests are
computed from the messages' bytes as docs/api/record.md says.
"""

import hashlib
import os
import struct
import sys

from log_reader import read_log
from protobuf_fields import fields

STREAM = "facts.operational"


def framed(*values):
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def reference(data):
    part = dict(fields(data))
    text = [part.get(number, b"") for number in (1, 2, 3, 4)]
    rest = [part.get(number, b"") for number in (6, 7)]
    return framed(*text, struct.pack("<Q", part.get(5, 0)), *rest)


def key_and_digest(message):
    parts = dict(fields(message))
    envelope, fact = dict(fields(parts[1])), list(fields(parts[2]))
    first = dict(fact)
    kind = b"\x01" if 3 in first else b"\x02"
    references = [value for number, value in fact if number == 5]
    key = b"bsfg.key.v1\0" + framed(envelope[2], envelope[1])
    content = b"bsfg.fact.v1\0" + framed(
        first[1], first[2], kind, first.get(3, first.get(4)), envelope.get(9, b""),
        envelope.get(8, b"")) + struct.pack("<I", len(references))
    content += b"".join(reference(value) for value in references)
    return hashlib.sha256(key).hexdigest(), hashlib.sha256(content).hexdigest()


def facts(directory):
    """(offset, origin offset or None, key, digest) of every record, checked against the frame's."""
    for offset, _, _, key, content, payload in read_log(directory):
        record = dict(fields(payload))
        computed = key_and_digest(record[5])
        if computed != (key, content):
            sys.exit(f"{directory}: the digests of offset {offset} are not those of its bytes")
        origin = dict(fields(record[3])).get(3) if 3 in record else None
        yield offset, origin, key, content


def main():
    root = sys.argv[1]
    sent = list(facts(os.path.join(root, "plant-a/data/store", STREAM)))
    received = list(facts(os.path.join(root, "enterprise/data/forward", STREAM, "plant-a")))
    if not sent:
        sys.exit("the sender's log is empty")
    if [(offset, key, digest) for offset, _, key, digest in sent] != [
            (origin, key, digest) for _, origin, key, digest in received]:
        sys.exit(f"{len(sent)} facts were sent, {len(received)} received, and they differ")
    origins = [origin for _, origin, _, _ in received]
    if any(after <= before for before, after in zip(origins, origins[1:])):
        sys.exit("the origin offsets do not increase")
    if len({key for _, _, key, _ in received}) != len(received):
        sys.exit("an id is there twice")
    print(f"{len(received)} facts: same ids, same digests, origin offsets increase")


if __name__ == "__main__":
    main()

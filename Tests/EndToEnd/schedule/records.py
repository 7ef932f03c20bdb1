"""What lies in a node's logs, read from its directory once the node is gone, with keys and digests computed anew."""

import base64
import hashlib
import json
import struct
import subprocess

from support import BSFG, STREAM

from protobuf_fields import fields  # of Tests/Interop, where support leads


class Record:
    """One record of a log: a fact, or a notice in the place of one."""

    def __init__(self, offset, kind, item, origin):
        self.offset = offset
        # message, gap, refused or quarantined
        self.kind = kind
        # Of a message its encoded bytes; of a notice its fields.
        self.item = item
        # (log UUID, epoch, offset) at the origin; None in the origin's own log.
        self.origin = origin


KINDS = {5: "message", 6: "gap", 7: "refused", 8: "quarantined"}


def framed(*values):
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def content_digest(subject, predicate, canonical_object):
    """Of a fact with a JSON object and nothing optional, as docs/api/record.md says."""
    return hashlib.sha256(
        b"bsfg.fact.v1\0" + framed(subject, predicate, b"\x01", canonical_object, b"", b"")
        + bytes(4)).hexdigest()


def place(data):
    parts = dict(fields(data))
    return parts.get(1, b"").hex(), parts.get(2, 0), parts.get(3, 0)


def record(offset, payload):
    parts = dict(fields(payload))
    number = next(number for number in KINDS if number in parts)
    return Record(
        offset, KINDS[number], parts[number], place(parts[3]) if 3 in parts else None)


class Messages:
    """Message bytes to (from_zone, message id, content digest). The same bytes are looked at once: they cross
    unchanged."""

    def __init__(self):
        self.known = {}

    def read(self, data):
        found = self.known.get(data)
        if found is None:
            parts = dict(fields(data))
            envelope, fact = dict(fields(parts[1])), dict(fields(parts[2]))
            found = (
                envelope[2].decode(), envelope[1].decode(),
                content_digest(fact[1], fact[2], fact[3]))
            self.known[data] = found
        return found


def origins(node):
    """Whose facts lie in a node's directory: (of its own store, of its forward logs)."""
    forward = node.data / "forward" / STREAM
    return (
        (node.data / "store" / STREAM).is_dir(),
        sorted(path.name for path in forward.iterdir()) if forward.is_dir() else [])


def dumped(node, origin):
    """The records of a log of a node that does not run. `bsfg log dump` verifies every checksum and fails at damage."""
    directory = node.data / "store" / STREAM
    if origin != node.zone:
        directory = node.data / "forward" / STREAM / origin
    done = subprocess.run(
        [BSFG, "log", "dump", "--dir", str(directory), "-o", "json"], capture_output=True, text=True,
        timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"log dump of {directory}: {done.stderr.strip()}")
    found = []
    for line in done.stdout.splitlines():
        line = json.loads(line)
        found.append(record(line["offset"], base64.b64decode(line["payload"])))
    return found

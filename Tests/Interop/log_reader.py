#!/usr/bin/env python3
"""Lists the durable records of a log as JSON lines, as `bsfg log dump -o json` does.

Written from docs/format.md alone, with nothing but Python's library, so that the records stay
readable without bsfg and the document is known to be complete. Ends with 1 and a sentence where the
log is damaged.

    log_reader.py [--summary] DIRECTORY
    log_reader.py --seals DIRECTORY
    log_reader.py --keys DIRECTORY

With --seals it prints one line for each closed segment: what its footer says, once the digest in it is
found to be that of the segment's bytes and to continue from the segment before. With --keys it reads the key runs and holds their keys against the
records.
"""

import base64
import hashlib
import json
import os
import struct
import sys

SEGMENT_HEADER = 4096
FRAME_HEADER = 128
BLOCK_HEADER = 32
FOOTER_HEADER = 256
RECORD_MAXIMUM = 4 << 20
STATE_SLOT = 65536
TABLE_SLOT = 4096 + 4096 * 128 + 65536


class Damage(Exception):
    pass


def crc_tables():
    """Eight tables, so that eight bytes are taken at a time."""
    tables = [[]]
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        tables[0].append(value)
    for step in range(1, 8):
        before = tables[step - 1]
        tables.append([tables[0][value & 255] ^ (value >> 8) for value in before])
    return tables


T0, T1, T2, T3, T4, T5, T6, T7 = crc_tables()


def crc32c(data, crc=0):
    """CRC-32C; `crc` is the value of the bytes before."""
    crc ^= 0xFFFFFFFF
    view = memoryview(data)
    whole = len(view) // 8 * 8
    for low, high in struct.iter_unpack("<II", view[:whole]):
        low ^= crc
        crc = (T7[low & 255] ^ T6[low >> 8 & 255] ^ T5[low >> 16 & 255] ^ T4[low >> 24]
               ^ T3[high & 255] ^ T2[high >> 8 & 255] ^ T1[high >> 16 & 255] ^ T0[high >> 24])
    for byte in view[whole:]:
        crc = T0[(crc ^ byte) & 255] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def table_slot(data):
    """A table slot as a dictionary, or None when it does not verify."""
    if len(data) < 4096 or data[:4] != b"BSFT":
        return None
    crc, version, alignment, generation = struct.unpack_from("<IIIQ", data, 4)
    count, runs = struct.unpack_from("<II", data, 64)
    end = 4096 + 128 * count + 64 * runs
    if count > 4096 or end > len(data) or crc32c(data[8:end]) != crc:
        return None
    if version != 1 or any(data[128:144]):
        raise Damage(f"the manifest has format version {version} or features unknown to this reader")
    segments = []
    for index in range(count):
        start = 4096 + 128 * index
        names = ("id", "salt", "base", "first", "last", "end")
        entry = dict(zip(names, struct.unpack_from("<6Q", data, start)))
        entry["digest"] = data[start + 64:start + 96]
        entry["flags"], entry["crc"] = struct.unpack_from("<II", data, start + 96)
        segments.append(entry)
    run_names = ("id", "first", "end", "newest", "bytes", "keys", "tier", "copies", "flags", "crc")
    run_table = [dict(zip(run_names, struct.unpack_from("<QQQqQIBBHI", data, end - 64 * (runs - index))))
                 for index in range(runs)]
    checkpoint, = struct.unpack_from("<Q", data, 144)
    checkpoint_offset, = struct.unpack_from("<Q", data, 168)
    anchor, = struct.unpack_from("<Q", data, 80)
    return {"generation": generation, "log": data[24:40], "alignment": alignment,
            "profile": data[72], "anchor": anchor, "anchor_digest": data[96:128],
            "segments": segments, "runs": run_table,
            "checkpoint_offset": checkpoint_offset if checkpoint else 0}


def state_slot(data):
    """Generation, durable sequence and losses of a state slot, or None when it does not verify."""
    if data[:4] != b"BSFS":
        return None
    crc, _, length = struct.unpack_from("<III", data, 4)
    if not 128 <= length <= STATE_SLOT or crc32c(data[8:length]) != crc:
        return None
    generation, = struct.unpack_from("<Q", data, 16)
    durable, = struct.unpack_from("<Q", data, 40)
    epochs, losses = struct.unpack_from("<HH", data, 60)
    at = 128
    for _ in range(epochs):
        reason, = struct.unpack_from("<H", data, at + 24)
        at += 26 + reason
    spans = [struct.unpack_from("<QQ", data, at + 28 * index) for index in range(losses)]
    return generation, durable, spans


def read_manifest(directory):
    with open(os.path.join(directory, "manifest"), "rb") as file:
        data = file.read()
    states = [state_slot(data[slot * STATE_SLOT:(slot + 1) * STATE_SLOT]) for slot in range(2)]
    start = 2 * STATE_SLOT
    tables = [table_slot(data[start + slot * TABLE_SLOT:start + (slot + 1) * TABLE_SLOT])
              for slot in range(2)]
    states = [state for state in states if state]
    tables = [table for table in tables if table]
    if not states or not tables:
        raise Damage("no slot of the manifest verifies")
    return max(states), max(tables, key=lambda table: table["generation"])


def lz4_block(data, size, where):
    """The `size` bytes that an LZ4 block stands for."""
    out = bytearray()
    at = 0
    try:
        while True:
            token = data[at]
            at += 1
            literals = token >> 4
            if literals == 15:
                while True:
                    literals += data[at]
                    at += 1
                    if data[at - 1] != 255:
                        break
            if at + literals > len(data) or len(out) + literals > size:
                raise Damage(f"{where}: a block's compressed bytes are malformed")
            out += data[at:at + literals]
            at += literals
            if at == len(data):
                break
            distance = data[at] | data[at + 1] << 8
            at += 2
            length = token & 15
            if length == 15:
                while True:
                    length += data[at]
                    at += 1
                    if data[at - 1] != 255:
                        break
            length += 4
            if not 1 <= distance <= len(out) or len(out) + length > size:
                raise Damage(f"{where}: a block's compressed bytes are malformed")
            # A match may reach into what it produces itself: then its bytes repeat.
            piece = bytes(out[len(out) - distance:len(out) - distance + length])
            out += (piece * (length // len(piece) + 1))[:length]
    except IndexError:
        raise Damage(f"{where}: a block's compressed bytes are malformed") from None
    if len(out) != size:
        raise Damage(f"{where}: a block does not decompress to its raw length")
    return bytes(out)


def records_of(body, first, where):
    """The data records of a frame's body."""
    offset = first
    place = 0
    while place < len(body):
        crc, codec, flags, count, raw, stored, base, time = struct.unpack_from(
            "<IBBHIIQq", body, place)
        header = body[place + 4:place + BLOCK_HEADER]
        data = body[place + BLOCK_HEADER:place + BLOCK_HEADER + stored]
        if len(data) != stored or crc32c(header, crc32c(data)) != crc:
            raise Damage(f"{where}: a block does not verify")
        if codec == 1:
            if not 0 < stored < raw <= (RECORD_MAXIMUM + 65535 if count == 1 else 65536):
                raise Damage(f"{where}: a compressed block's lengths are out of bounds")
            data = lz4_block(data, raw, where)
        elif codec != 0 or raw != stored:
            raise Damage(f"{where}: codec {codec} is unknown to this reader")
        at = 0
        for _ in range(count):
            crc, header_bytes, kind, record_flags, size, delta = struct.unpack_from(
                "<IHBBII", data, at)
            end = at + header_bytes + size
            if end > raw or crc32c(data[at + 4:end]) != crc:
                raise Damage(f"{where}: a record does not verify")
            if not flags & 1:
                key = content = None
                if record_flags & 1:
                    key = data[at + 16:at + 48].hex()
                    content = data[at + 48:at + 80].hex()
                yield offset, time + delta, key, content, data[at + header_bytes:end]
                offset += 1
            at = end
        if at != raw:
            raise Damage(f"{where}: a block has bytes after its records")
        place += BLOCK_HEADER + stored


def frame_at(data, position, limit, salt, commit_maximum):
    """A frame's fields and body, or None when none verifies there."""
    head = data[position:position + FRAME_HEADER]
    if position + FRAME_HEADER > limit or head[:4] != b"BSFF":
        return None
    crc, size, body_crc, previous = struct.unpack_from("<IIII", head, 8)
    if crc32c(head[12:], crc32c(head[:8], crc32c(struct.pack("<QQ", salt, position)))) != crc:
        return None
    if head[4] != 1 or head[5] != 0 or head[6:8] != b"\x80\0":
        raise Damage(f"a frame at {position} is of a kind unknown to this reader")
    body = data[position + FRAME_HEADER:position + FRAME_HEADER + size]
    if FRAME_HEADER + size > commit_maximum or position + FRAME_HEADER + size > limit \
            or crc32c(body) != body_crc:
        return None
    epoch, sequence, count, records, durable, first, state = struct.unpack_from(
        "<QQIIQQQ", head, 24)
    return {"crc": crc, "previous": previous, "epoch": epoch, "sequence": sequence,
            "count": count, "records": records, "durable": durable, "first": first,
            "state": state, "body": body, "bytes": FRAME_HEADER + size}


def behind_losses(offset, losses):
    """The first offset from here on that is not declared lost."""
    for first, last in losses:
        if first <= offset <= last:
            offset = last + 1
    return offset


def later_frame(data, position, limit, step, salt, commit_maximum, sequence):
    """The next place whose frame header verifies and is of a later commit, or None."""
    place = position + step
    while place + FRAME_HEADER <= limit:
        if data[place:place + 4] == b"BSFF":
            head = data[place:place + FRAME_HEADER]
            crc, = struct.unpack_from("<I", head, 8)
            found, = struct.unpack_from("<Q", head, 32)
            if found > sequence and crc == crc32c(
                    head[12:], crc32c(head[:8], crc32c(struct.pack("<QQ", salt, place)))):
                return place
        place += step
    return None


def read_log(directory):
    """Yields (offset, time, epoch, key, content, payload) of every durable record."""
    (state_generation, durable, losses), table = read_manifest(directory)
    sequence = table["segments"][0]["first"] - 1
    offset = table["segments"][0]["base"]
    for number, entry in enumerate(table["segments"]):
        is_last = number == len(table["segments"]) - 1
        name = f"{entry['id']:016x}.segment"
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
            os.fdatasync(file.fileno())
        crc, version, alignment = struct.unpack_from("<III", data, 4)
        if data[:4] != b"BSFG" or version != 1 or crc != crc32c(data[8:SEGMENT_HEADER]) \
                or crc != entry["crc"] or data[40:56] != table["log"]:
            raise Damage(f"{name}: its header is not the one that the manifest names")
        identifier, salt, _, first, base = struct.unpack_from("<5Q", data, 56)
        size, commit_maximum, profile = struct.unpack_from("<QIB", data, 112)
        if (identifier, salt, first, base) != (
                entry["id"], entry["salt"], sequence + 1, offset) or len(data) != size:
            raise Damage(f"{name}: it does not follow the segment before it")
        step = alignment if profile == 2 else 8
        position = max(SEGMENT_HEADER, step)
        limit = size - 4096 - size // 1024 if is_last else entry["end"]
        previous = crc
        while position < limit:
            frame = frame_at(data, position, limit, salt, commit_maximum)
            if frame is None or frame["sequence"] != sequence + 1 \
                    or frame["previous"] != previous or frame["first"] != offset:
                # Records that are declared lost may be missing here; what follows them counts.
                place = later_frame(data, position, limit, step, salt, commit_maximum, sequence)
                if place is None or behind_losses(offset, losses) == offset:
                    break
                first, = struct.unpack_from("<Q", data, place + 56)
                if first != behind_losses(offset, losses):
                    break
                found, = struct.unpack_from("<Q", data, place + 32)
                previous, = struct.unpack_from("<I", data, place + 20)
                sequence, offset, position = found - 1, first, place
                continue
            end = position + frame["bytes"]
            following = (end + step - 1) // step * step
            if frame["state"] > state_generation:
                state_generation, _, losses = read_manifest(directory)[0]
                if frame["state"] > state_generation:
                    raise Damage(f"the state slot of generation {frame['state']} is lost")
            where = f"{name} at {position}"
            for found in records_of(frame["body"], offset, where):
                yield found[0], found[1], frame["epoch"], found[2], found[3], found[4]
                offset = found[0] + 1
            if offset != frame["first"] + frame["records"]:
                raise Damage(f"{where}: its count of records is wrong")
            sequence += frame["count"]
            previous = frame["crc"]
            durable = max(durable, frame["durable"])
            position = following
        if not is_last:
            following = behind_losses(offset, losses)
            if following == table["segments"][number + 1]["base"] != offset:
                sequence, offset, position = entry["last"], following, entry["end"]
            if sequence != entry["last"] or position != entry["end"]:
                raise Damage(f"{name} at {position}: a commit is damaged from offset {offset} on")
        else:
            end = len(data.rstrip(b"\0"))
            if sequence + 1 <= durable or end > position + commit_maximum:
                raise Damage(f"{name} at {position}: a commit is damaged from offset {offset} on")


RUN_PAGE = 4096


def run_keys(directory, table, entry):
    """Yields (key, content, offset) of a key run, every page verified."""
    name = f"{entry['id']:016x}.run"
    with open(os.path.join(directory, name), "rb") as file:
        data = file.read()
    head = data[:RUN_PAGE]
    crc, version, keys = struct.unpack_from("<III", head, 4)
    if head[:4] != b"BSFK" or version != 1 or crc != crc32c(head[8:]) or crc != entry["crc"] \
            or head[16:32] != table["log"] or len(data) != entry["bytes"] or keys != entry["keys"]:
        raise Damage(f"{name}: its header is not the one that the manifest names")
    identifier, first, end = struct.unpack_from("<QQQ", head, 32)
    pages, fences, filters, _, attached, attached_crc = struct.unpack_from("<6I", head, 64)
    if identifier != entry["id"] or (first, end) != (entry["first"], entry["end"]):
        raise Damage(f"{name}: its header contradicts the manifest")
    kinds = [1] * pages + [2] * fences + [3] * filters
    before = b""
    for number, kind in enumerate(kinds, 1):
        page = data[number * RUN_PAGE:(number + 1) * RUN_PAGE]
        where = struct.pack("<QQ", identifier, number * RUN_PAGE)
        if page[4] != kind or crc32c(page[4:], crc32c(where)) != struct.unpack_from("<I", page)[0]:
            raise Damage(f"{name}: page {number} does not verify")
        if kind != 1:
            continue
        for index in range(struct.unpack_from("<H", page, 6)[0]):
            at = 64 + 72 * index
            key = page[at:at + 32]
            offset, = struct.unpack_from("<Q", page, at + 64)
            if key <= before or not first <= offset < end:
                raise Damage(f"{name}: page {number} is not in order")
            before = key
            yield key.hex(), page[at + 32:at + 64].hex(), offset
    start = (1 + len(kinds)) * RUN_PAGE
    if crc32c(data[start:start + attached]) != attached_crc:
        raise Damage(f"{name}: its attachment does not verify")


def print_keys(directory):
    """Every key of a record before the checkpoint is in a run that covers it, and no other is."""
    _, table = read_manifest(directory)
    records = {}
    total = 0
    for offset, _, _, key, content, _ in read_log(directory):
        if key is None:
            continue
        total += 1
        if any(run["first"] <= offset < run["end"] for run in table["runs"]):
            records[offset] = (key, content)
    for run in table["runs"]:
        for key, content, offset in run_keys(directory, table, run):
            if offset < table["segments"][0]["base"]:
                continue
            if records.pop(offset, None) != (key, content):
                raise Damage(f"run {run['id']:016x}: the key of offset {offset} is not its record's")
        print(json.dumps({"run": f"{run['id']:016x}", "first_offset": run["first"],
                          "end_offset": run["end"], "keys": run["keys"]}))
    if records:
        raise Damage(f"the key of offset {min(records)} is in no run that covers it")
    print(f"{sum(run['keys'] for run in table['runs'])} in runs, of {total} keys")


def footer_of(room):
    """A footer's fields, or None when it does not verify."""
    if room[:4] != b"BSFE":
        return None
    crc, version, points = struct.unpack_from("<III", room, 4)
    end = FOOTER_HEADER + 24 * points
    if end > len(room) or crc32c(room[8:end]) != crc or version != 1 or any(room[end:]):
        return None
    names = ("id", "salt", "base", "offset_end", "first", "last", "end", "frames", "records", "keyed",
             "controls", "least_time", "greatest_time")
    footer = dict(zip(names, struct.unpack_from("<11Q2q", room, 32)))
    footer["log"] = room[16:32]
    footer["previous_digest"] = room[136:168]
    footer["digest"] = room[168:200]
    footer["points"] = [struct.unpack_from("<QQq", room, FOOTER_HEADER + 24 * index)
                        for index in range(points)]
    return footer


def read_seals(directory):
    """Yields (entry, footer or None) of every closed segment, each digest verified."""
    _, table = read_manifest(directory)
    # What the next footer must continue from; None behind a segment that has no footer yet.
    previous = table["anchor_digest"] if table["anchor"] else bytes(32)
    for entry in table["segments"][:-1]:
        name = f"{entry['id']:016x}.segment"
        with open(os.path.join(directory, name), "rb") as file:
            data = file.read()
        footer = footer_of(data[len(data) - 4096 - len(data) // 1024:])
        if footer is None:
            if entry["flags"] & 5 == 1:
                raise Damage(f"{name}: it is sealed and its footer does not verify")
            # One that was found damaged has a digest and no footer.
            previous = entry["digest"] if entry["flags"] & 1 else None
            yield entry, None
            continue
        named = (table["log"], entry["id"], entry["salt"], entry["base"], entry["first"],
                 entry["last"], entry["end"])
        if named != tuple(footer[key] for key in ("log", "id", "salt", "base", "first", "last", "end")):
            raise Damage(f"{name}: its footer is not of this segment")
        if previous is not None and footer["previous_digest"] != previous:
            raise Damage(f"{name}: its digest does not continue from that of the segment before")
        digest = hashlib.sha256(footer["previous_digest"] + data[:entry["end"]]).digest()
        if digest != footer["digest"] or entry["flags"] & 1 and digest != entry["digest"]:
            raise Damage(f"{name}: its bytes do not give the digest that it was sealed with")
        previous = digest
        yield entry, footer


def print_seals(directory):
    for entry, footer in read_seals(directory):
        line = {"segment": f"{entry['id']:016x}", "sealed": bool(entry["flags"] & 1),
                "repacked": bool(entry["flags"] & 2), "base_offset": entry["base"]}
        if footer:
            line.update({
                "end_offset": footer["offset_end"], "frames": footer["frames"],
                "records": footer["records"], "keyed_records": footer["keyed"],
                "control_records": footer["controls"], "points": len(footer["points"]),
                "least_time_unix_ms": footer["least_time"],
                "greatest_time_unix_ms": footer["greatest_time"],
                "previous_digest": footer["previous_digest"].hex(),
                "digest": footer["digest"].hex()})
        print(json.dumps(line, separators=(",", ":")))


def main():
    arguments = sys.argv[1:]
    summary = "--summary" in arguments
    directory = [one for one in arguments if not one.startswith("--")][0]
    try:
        if "--seals" in arguments:
            return print_seals(directory)
        if "--keys" in arguments:
            return print_keys(directory)
        for offset, time, epoch, key, content, payload in read_log(directory):
            if summary:
                print(offset, time, json.dumps(key), json.dumps(content), len(payload),
                      crc32c(payload))
            else:
                print(json.dumps({
                    "offset": offset, "append_time_unix_ms": time, "epoch": epoch, "key": key,
                    "content_digest": content, "payload": base64.b64encode(payload).decode(),
                }, separators=(",", ":")))
    except Damage as damage:
        sys.stdout.flush()
        print(damage, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()

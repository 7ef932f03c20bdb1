"""The one oracle of the fault tests: what a log holds, against what was sent and what was answered.

- every acknowledged record is there, at its offset, with its bytes, unless it lies below a confirmed
  frontier and was truncated, or in a gap that the log declared: anything else is *lost*;
- every record was sent, is there once, with its bytes, and is not one that was refused: anything
  else is a *phantom*;
- offsets are dense from the first one on, a batch is there whole or not at all, and of one writer's
  batches those that survive are the first ones;
- a cursor stands between what was answered and what was asked for.

Records are made by `bsfg log exercise`: their bytes follow from their name, `KEY/i`, and their size.
"""

import hashlib


def payload(name, size):
    """The bytes of a record, as ExercisePayload.swift makes them."""
    head = name.encode() + b":"
    if len(head) >= size:
        return head
    filler = hashlib.sha256(name.encode()).hexdigest().encode()
    rest = size - len(head)
    return head + (filler * (rest // len(filler) + 1))[:rest]


class Batch:
    """Records that were sent as one append."""

    def __init__(self, key, size, count, keyed, life):
        self.key = key
        self.size = size
        self.count = count
        self.keyed = keyed
        self.life = life
        self.answer = None  # appended, refused, unknown, poisoned, or None while there is none

    def names(self):
        return [f"{self.key}/{index}" for index in range(self.count)]


class Oracle:
    def __init__(self):
        self.batches = {}        # by key, in the order of sending
        self.acknowledged = {}   # name: offset
        self.checked = set()     # acknowledged names that were held against a log
        self.confirm_asked = 0
        self.confirm_answered = 0
        self.gaps = []           # (first, end) of what the log declared as dropped
        self.lost = []
        self.phantom = []
        self.wrong = []          # breaks of a promise that are neither

    @property
    def failures(self):
        return self.lost + self.phantom + self.wrong

    def sent(self, key, size, count, keyed, life):
        """Notes a batch before it is sent; the same key again is a retry."""
        known = self.batches.get(key)
        if known:
            assert (known.size, known.count, known.keyed) == (size, count, keyed)
            return known
        batch = self.batches[key] = Batch(key, size, count, keyed, life)
        return batch

    def answered(self, batch, first, outcomes=None, offsets=None):
        """Notes an acknowledgement; a second one must name the same offsets."""
        offsets = offsets or [first + index for index in range(batch.count)]
        for index, name in enumerate(batch.names()):
            if outcomes and outcomes[index] == "conflict":
                self.wrong.append(f"{name}: conflict at {offsets[index]} with the same content")
                continue
            before = self.acknowledged.setdefault(name, offsets[index])
            if before < self.confirm_asked and before < offsets[index]:
                # Confirmed, and removed since: its key went with it, and is new again.
                self.acknowledged[name] = offsets[index]
            elif before != offsets[index]:
                self.phantom.append(
                    f"{name} was acknowledged at {before} and is answered at {offsets[index]}")
        batch.answer = "appended"

    def check(self, records, where, cursor=None):
        """Holds the records of a log (log_common.dump) against everything known."""
        before = len(self.failures)
        found = {}
        first = records[0]["offset"] if records else None
        for index, record in enumerate(records):
            if record["offset"] != first + index:
                self.phantom.append(
                    f"{where}: offset {record['offset']} stands where {first + index} is expected")
                return False
            self.look(record, found, where)
        self.find_lost(found, first, where)
        self.look_at_batches(found, first, where)
        if cursor is not None and not self.confirm_answered <= cursor <= self.confirm_asked:
            self.wrong.append(
                f"{where}: the cursor is at {cursor}, answered was {self.confirm_answered}, asked "
                f"{self.confirm_asked}")
        return len(self.failures) == before

    def look(self, record, found, where):
        content = record["payload"]
        name = content.split(b":", 1)[0].decode("utf-8", "replace")
        key, _, index = name.rpartition("/")
        batch = self.batches.get(key)
        offset = record["offset"]
        if batch is None or not index.isdigit() or int(index) >= batch.count:
            self.phantom.append(f"{where}: offset {offset} holds {name[:60]!r}, never sent")
        elif content != payload(name, batch.size):
            self.phantom.append(f"{where}: offset {offset} holds other bytes for {name}")
        elif batch.keyed and record["key"] != hashlib.sha256(name.encode()).hexdigest():
            self.phantom.append(f"{where}: offset {offset} holds {name} under another key")
        elif name in found:
            self.phantom.append(f"{where}: {name} is at {found[name]} and at {offset}")
        elif batch.answer == "refused":
            self.phantom.append(f"{where}: offset {offset} holds {name}, which was refused")
        found[name] = offset

    def find_lost(self, found, first, where):
        for name, offset in self.acknowledged.items():
            if (first is None or offset < first) and offset < self.confirm_asked:
                continue  # truncated, after it was confirmed
            if any(begin <= offset < end for begin, end in self.gaps):
                if name in found:
                    self.wrong.append(f"{where}: {name} is there and declared as lost")
                continue
            self.checked.add(name)
            if name not in found:
                self.lost.append(f"{where}: {name}, acknowledged at {offset}, is gone")
            elif found[name] != offset:
                self.lost.append(
                    f"{where}: {name}, acknowledged at {offset}, stands at {found[name]}")
        accounted = max([self.confirm_asked, *(end for _, end in self.gaps)])
        if first is not None and first > accounted:
            self.lost.append(
                f"{where}: the log begins at {first}, confirmed were {self.confirm_asked}, declared as "
                f"lost {self.gaps}")

    def look_at_batches(self, found, first, where):
        """Whole or not at all; of one life those that survive come before those that do not."""
        missing = {}
        for batch in self.batches.values():
            if batch.answer == "refused":
                continue
            present = [name for name in batch.names() if name in found]
            truncated = any(
                self.acknowledged.get(name, first or 0) < (first or 0) for name in batch.names())
            if truncated:
                continue
            if present and len(present) != batch.count:
                # Truncation may have taken the front of a batch whose answer never came.
                if found[present[0]] != first:
                    self.phantom.append(
                        f"{where}: {len(present)} of {batch.count} records of {batch.key}")
            elif not present:
                missing.setdefault(batch.life, batch.key)
            elif batch.life in missing and batch.answer is None:
                self.phantom.append(
                    f"{where}: {batch.key} is there and {missing[batch.life]}, sent before, is not")

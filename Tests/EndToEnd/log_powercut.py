#!/usr/bin/env python3
"""Power cuts under a writer: a file system in a file on a loop device is shut down without flushing
its journal, which drops everything that was not synced, in one moment.

The cuts come at a random time, at the moment when the directory's names change (a roll, a truncation,
a spare), or while commits of a megabyte are under way. After each the file system is mounted again;
what was acknowledged must be there as `verify` and `dump` find it and as the next opening does.
Needs root and loop devices; skipped with a line that says so otherwise.

    BSFG=path log_powercut.py [--cases 20] [--minutes 0] [--seed N] [--file-system ext4|xfs]
"""

import os
import shutil
import threading
import time

from log_common import dump, information, verify
from log_devices import LoopFileSystem, Unmountable, why_not
from log_exercise import Exercise
from log_layer import Layer
from log_oracle import Oracle

# After so many cuts a new log begins, in the other profile.
CUTS_A_LOG = 12
SEGMENT = 1 << 20
CAPACITY = 16 << 20
PATIENCE_SECONDS = 120


def feed(writer, chance, stop, large):
    """Sends batches of all kinds, retries and confirmations until `stop`."""
    known = []
    index = 0
    # Filled by the lives before, it takes nothing before something is confirmed.
    while writer.opened is None and writer.reader.is_alive():
        time.sleep(0.001)
    if writer.opened:
        writer.confirm(writer.opened["head_offset"])
    while not stop.is_set() and not writer.pipe_broken and not writer.has_failed:
        index += 1
        if known and chance.random() < 0.1:
            key, size, count, keyed = chance.choice(known[-50:])
        else:
            key = f"{writer.life}-{index}"
            if large:
                # Near a commit's greatest size: its write takes many pieces.
                size, count = chance.choice(((40_000, 9), (3_900, 90), (390_000, 1)))
            else:
                size = chance.choice((10, 200, 3_000, 30_000, 200_000))
                count = chance.choice((1, 1, 1, 3, 12)) if size <= 30_000 else 1
            keyed = chance.random() < 0.7
            if keyed:
                known.append((key, size, count, keyed))
        writer.append(key, size, count, keyed)
        if chance.random() < 0.1 and writer.highest > 0:
            writer.confirm(chance.randint(max(0, writer.highest - 50), writer.highest))


def cut_when_names_change(system, directory, seconds):
    """Cuts at the first change in the log's directory."""
    deadline = time.monotonic() + seconds
    before = os.listdir(directory)
    while time.monotonic() < deadline and sorted(os.listdir(directory)) == sorted(before):
        time.sleep(0.0005)
    system.cut()


def cycle(layer, system, directory, oracle, profile):
    chance = layer.random
    kind = chance.choice(("at a random time", "at a change of names", "in a large commit"))
    writer = Exercise(oracle, directory, SEGMENT, CAPACITY, profile, in_flight=16)
    stop = threading.Event()
    feeder = threading.Thread(
        target=feed, args=(writer, chance, stop, kind == "in a large commit"))
    feeder.start()
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while writer.acknowledged == 0 and writer.process.poll() is None \
                and time.monotonic() < deadline:
            time.sleep(0.001)
        if writer.acknowledged == 0:
            layer.failures.append(
                f"cut {layer.cases}: nothing was answered: {writer.complaints.decode()} "
                f"{writer.failed} {writer.cause}")
        if kind == "at a change of names":
            cut_when_names_change(system, directory, 0.5)
        else:
            time.sleep(chance.random() * 0.25)
            system.cut()
        layer.faults += 1
        layer.note(kind)
    finally:
        stop.set()
        status = writer.close(PATIENCE_SECONDS)
        feeder.join(PATIENCE_SECONDS)
        if status is None:
            layer.failures.append(f"cut {layer.cases}: the writer hangs without power")
            writer.kill()
    layer.note("batches acknowledged", writer.acknowledged)


def check(layer, directory, oracle):
    """What lies on the device: sound, and what it must be."""
    status, report = verify(directory)
    if status != 0:
        layer.failures.append(f"cut {layer.cases}: verify says {report}")
        return
    layer.note(f"end {report['end']}")
    information_now = information(directory)
    cursors = information_now["cursors"]
    cursor = cursors[0]["next_offset"] if cursors else None
    if cursor is None and oracle.confirm_answered:
        layer.failures.append(f"cut {layer.cases}: the cursor is gone")
    if information_now["first_offset"] > 0:
        layer.note("found truncated")
    oracle.check(dump(directory), f"cut {layer.cases}", cursor)


def main():
    layer = Layer("L4", 20, __doc__)
    layer.parser.add_argument("--file-system", choices=("ext4", "xfs"), default="ext4")
    options = layer.begin()
    reason = why_not(options.file_system)
    if reason:
        layer.skip(reason)
    try:
        system = LoopFileSystem(layer.directory, options.file_system)
        layer.cleaner(system.remove)
        system.mount()
    except Unmountable as error:
        layer.skip(f"no loop mount here: {error}")
    oracle, directory, profile = None, None, "sil_strict"
    while layer.more():
        if layer.cases % CUTS_A_LOG == 0:
            if directory:
                layer.take(oracle)
                shutil.rmtree(directory)
            oracle = Oracle()
            directory = os.path.join(system.point, f"log{layer.cases}")
            profile = "standard" if profile == "sil_strict" else "sil_strict"
        cycle(layer, system, directory, oracle, profile)
        try:
            system.remount()
        except Unmountable as error:
            layer.failures.append(f"cut {layer.cases}: it does not mount again: {error}")
            break
        check(layer, directory, oracle)
        layer.cases += 1
        if oracle.failures:
            break
    layer.take(oracle)
    layer.end()


if __name__ == "__main__":
    main()

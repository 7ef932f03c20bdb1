#!/usr/bin/env python3
"""kill -9 at random moments over `bsfg log append --keyed`, the same directory throughout.

64 lines are in flight, one line in ten is a retry of an earlier one, and every cycle writes enough
to begin at least two segments. After each kill the log is opened again by the next cycle; after the
last, and on every tenth, every printed offset must be there with its content, offsets dense.

    BSFG=path log_kill9.py [--cycles 200] [--seed N] [--dir D]
"""

import argparse
import os
import random
import shutil
import signal
import struct
import subprocess
import tempfile
import threading
import time

from log_common import BSFG, check_history, dump, finish, information, sha256, verify

SEGMENT = 1 << 20
MINIMUM_BYTES = 2 * SEGMENT + SEGMENT // 4


class Cycle:
    """One life of the writer."""

    def __init__(self, directory, number, chance, sent, acknowledged, failures):
        self.directory = directory
        self.number = number
        self.random = chance
        self.sent = sent
        self.acknowledged = acknowledged
        self.failures = failures
        self.retries = 0
        self.retries_answered = 0
        self.answers = 0
        self.bytes = 0
        self.lines = []

    def feed(self, stream):
        """Writes lines until the writer is killed."""
        index = 0
        known = list(self.acknowledged)
        try:
            while True:
                part = []
                for _ in range(8):
                    if known and self.random.random() < 0.1:
                        # Mostly a recent one: its commit may still be in flight.
                        if self.lines and self.random.random() < 0.5:
                            key = self.lines[-self.random.randint(1, min(40, len(self.lines)))][0]
                        else:
                            key = self.random.choice(known)
                        payload = self.sent[key]
                        retry = True
                    else:
                        key = b"%d-%d" % (self.number, index)
                        index += 1
                        size = self.random.choice((20, 300, 9000, 20000, 60000))
                        filler = sha256(key).encode() * (size // 64 + 1)
                        payload = b"%s:%s" % (key, filler[:size])
                        self.sent[key] = payload
                        retry = False
                    self.lines.append((key, retry))
                    part.append(key + b"\t" + payload + b"\n")
                stream.write(b"".join(part))
                stream.flush()
        except (BrokenPipeError, ValueError, OSError):
            pass

    def run(self, delay):
        writer = subprocess.Popen(
            [BSFG, "log", "append", "--dir", self.directory, "--keyed", "--in-flight", "64",
             "--segment", "1MiB", "--capacity", "1GiB"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        feeder = threading.Thread(target=self.feed, args=(writer.stdin,))
        feeder.start()
        killer = None
        deadline = time.monotonic() + 60
        for line in writer.stdout:
            if not line.endswith(b"\n"):
                break
            self.take(line)
            if killer is None and self.bytes >= MINIMUM_BYTES:
                # Enough was rolled: the kill comes at a random moment from here.
                killer = threading.Timer(delay, writer.send_signal, (signal.SIGKILL,))
                killer.start()
            if time.monotonic() > deadline:
                self.failures.append(f"cycle {self.number}: the writer got nowhere in a minute")
                writer.kill()
                break
        status = writer.wait()
        if killer:
            killer.cancel()
        try:
            writer.stdin.close()
        except OSError:
            pass
        feeder.join()
        if status != -signal.SIGKILL:
            self.failures.append(
                f"cycle {self.number}: the writer ended with {status}: "
                + writer.stderr.read().decode())
        writer.stdout.close()
        writer.stderr.close()

    def take(self, line):
        offset, outcome = line.split()
        offset = int(offset)
        key, retry = self.lines[self.answers]
        self.answers += 1
        self.bytes += len(self.sent[key])
        if retry:
            self.retries += 1
        if outcome == b"existing":
            self.retries_answered += 1
            if key not in self.acknowledged and not retry:
                self.failures.append(f"cycle {self.number}: a new key is existing at {offset}")
        elif outcome != b"appended":
            self.failures.append(f"cycle {self.number}: outcome {outcome!r} at {offset}")
        before = self.acknowledged.setdefault(key, offset)
        if before != offset:
            self.failures.append(
                f"cycle {self.number}: {key!r} was at {before} and is answered as {offset}")


def segment_count(directory):
    """Segments that the newest table slot of the manifest lists (docs/format.md)."""
    with open(os.path.join(directory, "manifest"), "rb") as file:
        data = file.read()
    slots = []
    for slot in range(2):
        start = 131072 + slot * 593920
        slots.append((struct.unpack_from("<Q", data, start + 16)[0],
                      struct.unpack_from("<I", data, start + 64)[0]))
    return max(slots)[1]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--dir")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    print(f"seed {options.seed}, {options.cycles} cycles", flush=True)
    root = options.dir or tempfile.mkdtemp(prefix="bsfg-kill9-")
    directory = os.path.join(root, "log")
    sent, acknowledged, failures = {}, {}, []
    totals = {"answers": 0, "retries": 0, "existing": 0, "bytes": 0}
    rolls, fewest_rolls, segments = 0, None, 1  # a log begins with one
    begun = time.monotonic()
    for number in range(options.cycles):
        cycle = Cycle(directory, number, chance, sent, acknowledged, failures)
        cycle.run(chance.random() * 0.1)
        totals["answers"] += cycle.answers
        totals["retries"] += cycle.retries
        totals["existing"] += cycle.retries_answered
        totals["bytes"] += cycle.bytes
        now = segment_count(directory)
        fewest_rolls = now - segments if fewest_rolls is None else min(fewest_rolls, now - segments)
        rolls += now - segments
        segments = now
        if (number + 1) % 50 == 0 or number + 1 == options.cycles or failures:
            check_history(dump(directory), acknowledged, sent, failures, f"after cycle {number}")
            status, report = verify(directory)
            if status != 0:
                failures.append(f"after cycle {number}: verify says {report}")
            print(f"  cycle {number + 1}: {len(acknowledged)} acknowledged records checked, "
                  f"{time.monotonic() - begun:.0f} s", flush=True)
        if failures:
            break
    # Retried after the last kill, everything sent is answered with its one offset.
    if not failures:
        sample = chance.sample(sorted(sent), min(2000, len(sent)))
        text = b"".join(key + b"\t" + sent[key] + b"\n" for key in sample)
        done = subprocess.run(
            [BSFG, "log", "append", "--dir", directory, "--keyed"], input=text,
            stdout=subprocess.PIPE, timeout=120)
        lines = done.stdout.splitlines()
        if done.returncode != 0 or len(lines) != len(sample):
            failures.append(f"retrying everything ended with {done.returncode}")
        for key, line in zip(sample, lines):
            offset = int(line.split()[0])
            if acknowledged.setdefault(key, offset) != offset:
                failures.append(f"{key!r} was at {acknowledged[key]} and is answered as {offset}")
        check_history(dump(directory), acknowledged, sent, failures, "after the retries")
        if information(directory)["head_offset"] < len(acknowledged):
            failures.append("the head is below the number of acknowledged keys")
    if not options.dir and not failures:
        shutil.rmtree(root)
    elif failures:
        print(f"  the log is kept in {directory}")
    if fewest_rolls is not None and fewest_rolls < 2:
        failures.append(f"a cycle began only {fewest_rolls} segments")
    finish(failures, (
        f"{options.cycles} kills, {totals['answers']} lines acknowledged, {totals['retries']} of "
        f"them retries ({totals['existing']} existing), {rolls} segments begun (at least "
        f"{fewest_rolls} a cycle), {totals['bytes'] >> 20} MiB, lost 0, twice 0, "
        f"{time.monotonic() - begun:.0f} s, seed {options.seed}"))


if __name__ == "__main__":
    main()

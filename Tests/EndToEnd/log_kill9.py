#!/usr/bin/env python3
"""kill -9 at random moments over `bsfg log append --keyed`, the same directory for many cycles.

64 lines are in flight, one line in ten is a retry of an earlier one, and every cycle writes enough
to begin at least two segments. After each kill the log is opened again by the next cycle; now and again
and at the end every printed offset must be there with its content, offsets dense, and what is sent again
is answered with its one offset.

    BSFG=path log_kill9.py [--cases 60] [--minutes 0] [--seed N]
"""

import os
import shutil
import signal
import struct
import subprocess
import threading
import time

from log_common import BSFG, dump, information, verify
from log_layer import Layer
from log_oracle import Oracle, payload

SEGMENT = 1 << 20
# Whatever is free in the last segment, more than this begins two.
MINIMUM_BYTES = 2 * SEGMENT + SEGMENT // 16
# After so many kills a new log begins.
KILLS_A_LOG = 100
KILLS_A_CHECK = 25


class Cycle:
    """One life of the writer."""

    def __init__(self, directory, number, chance, oracle, failures):
        self.directory = directory
        self.number = number
        self.random = chance
        self.oracle = oracle
        self.failures = failures
        self.retries = 0
        self.retries_answered = 0
        self.answers = 0
        self.bytes = 0
        self.lines = []

    def feed(self, stream):
        """Writes lines until the writer is killed."""
        index = 0
        known = [batch for batch in self.oracle.batches.values() if batch.answer]
        try:
            while True:
                part = []
                for _ in range(8):
                    if known and self.random.random() < 0.1:
                        # Mostly a recent one: its commit may still be in flight.
                        if self.lines and self.random.random() < 0.5:
                            batch = self.lines[-self.random.randint(1, min(40, len(self.lines)))][0]
                        else:
                            batch = self.random.choice(known)
                        retry = True
                    else:
                        size = self.random.choice((20, 300, 9000, 20000, 60000))
                        batch = self.oracle.sent(
                            f"{self.number}-{index}", size, 1, True, self.number)
                        index += 1
                        retry = False
                    self.lines.append((batch, retry))
                    part.append(line(batch))
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
        for text in writer.stdout:
            if not text.endswith(b"\n"):
                break
            self.take(text)
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

    def take(self, text):
        offset, outcome = text.split()
        offset = int(offset)
        batch, retry = self.lines[self.answers]
        self.answers += 1
        if retry:
            self.retries += 1
        if outcome == b"existing":
            self.retries_answered += 1
            if batch.answer is None and not retry:
                self.failures.append(f"cycle {self.number}: a new key is existing at {offset}")
        elif outcome == b"appended":
            self.bytes += batch.size
        else:
            self.failures.append(f"cycle {self.number}: outcome {outcome!r} at {offset}")
        self.oracle.answered(batch, offset)


def line(batch):
    name = f"{batch.key}/0"
    return name.encode() + b"\t" + payload(name, batch.size) + b"\n"


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


def check(layer, directory, oracle, where):
    oracle.check(dump(directory), where)
    status, report = verify(directory)
    if status != 0:
        layer.failures.append(f"{where}: verify says {report}")


def retry_everything(layer, directory, oracle):
    """After the last kill, everything sent is answered with its one offset."""
    sample = layer.random.sample(
        list(oracle.batches.values()), min(2000, len(oracle.batches)))
    done = subprocess.run(
        [BSFG, "log", "append", "--dir", directory, "--keyed"],
        input=b"".join(map(line, sample)), stdout=subprocess.PIPE, timeout=120)
    answers = done.stdout.splitlines()
    if done.returncode != 0 or len(answers) != len(sample):
        layer.failures.append(f"retrying everything ended with {done.returncode}")
    for batch, answer in zip(sample, answers):
        oracle.answered(batch, int(answer.split()[0]))
    check(layer, directory, oracle, "after the retries")
    if information(directory)["head_offset"] < len(oracle.acknowledged):
        layer.failures.append("the head is below the number of acknowledged keys")


def main():
    layer = Layer("L7", 60, __doc__)
    layer.begin()
    directory, oracle, segments, fewest_rolls = None, None, 1, None
    while layer.more():
        if layer.cases % KILLS_A_LOG == 0:
            if directory:
                retry_everything(layer, directory, oracle)
                layer.take(oracle)
                if layer.failures:
                    break
                shutil.rmtree(directory)
            oracle, segments = Oracle(), 1  # a log begins with one
            directory = os.path.join(layer.directory, f"log{layer.cases}")
        cycle = Cycle(directory, layer.cases, layer.random, oracle, layer.failures)
        cycle.run(layer.random.random() * 0.05)
        layer.cases += 1
        layer.faults += 1
        layer.note("lines acknowledged", cycle.answers)
        layer.note("retries", cycle.retries)
        layer.note("retries existing", cycle.retries_answered)
        now = segment_count(directory)
        rolls = now - segments
        fewest_rolls = rolls if fewest_rolls is None else min(fewest_rolls, rolls)
        layer.note("segments begun", rolls)
        segments = now
        if layer.cases % KILLS_A_CHECK == 0:
            check(layer, directory, oracle, f"after kill {layer.cases}")
        if oracle.failures:
            break
    if not layer.failures and not oracle.failures:
        retry_everything(layer, directory, oracle)
    layer.take(oracle)
    if fewest_rolls is not None and fewest_rolls < 2:
        layer.failures.append(f"a cycle began only {fewest_rolls} segments")
    layer.end()


if __name__ == "__main__":
    main()

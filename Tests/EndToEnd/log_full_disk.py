#!/usr/bin/env python3
"""A file system without a free byte, on a loop device.

*No room*: a ballast takes the last block while a log writes. Appends are refused with a typed reason
and leave nothing behind; nothing is poisoned; records can be read and confirmations are durable. The
ballast goes, and the same process writes on. *Full*: the log is filled past its high watermark and
refuses; then the ballast takes what is left of the disk. Everything is confirmed, and with 0 bytes
free the log truncates itself and takes records again, in the same process; the alarm of a sil_strict log
stays until it is acknowledged. *Reserve*: less is free than the reserve, and appends are refused before
the disk is full. *Drop*: what a log drops that drops its oldest records is a gap
that is exact. In between the writer is
killed now and again and opened with 0 bytes free. Needs root and loop devices; skipped with a line that
says so otherwise.

    BSFG=path log_full_disk.py [--cases 8] [--minutes 0] [--seed N]
"""

import os
import shutil
import statistics
import time

from log_common import dump, information, verify
from log_devices import LoopFileSystem, Unmountable, why_not
from log_exercise import Exercise
from log_layer import Layer
from log_oracle import Oracle

SEGMENT = 1 << 20
CAPACITY = 24 << 20
KINDS = ("no room", "full", "reserve", "drop")
REFUSALS = {"no room": "noSpace", "full": "full", "reserve": "lowSpace"}
RESERVE = 16 << 20
# A refusal takes microseconds; this is for a machine that does other things too. Now and then such a machine
# does nothing else for a while, so that not every one counts but the one in the middle.
REFUSAL_MICROSECONDS_MAXIMUM = 200_000
PATIENCE_SECONDS = 120


class Case:
    def __init__(self, layer, system, directory, kind, profile):
        self.layer = layer
        self.system = system
        self.directory = directory
        self.kind = kind
        self.profile = profile
        self.where = f"case {layer.cases}, {kind}"
        self.oracle = Oracle()
        self.writer = None

    def fail(self, text):
        self.layer.failures.append(f"{self.where}: {text}")

    def open(self):
        options = ()
        if self.kind == "reserve":
            options = ("--reserve", str(RESERVE))
        elif self.kind == "drop":
            options = ("--when-full", "drop_oldest")
        self.writer = Exercise(
            self.oracle, self.directory, SEGMENT, CAPACITY, self.profile, in_flight=4,
            options=options)
        self.writer.wait()
        if not self.writer.opened:
            self.writer.close()
            raise RuntimeError(
                f"{self.where}: it cannot be opened: {self.writer.complaints.decode().strip()}")

    def append_until_refused(self):
        """Whether a refusal came before twice the capacity was written."""
        chance = self.layer.random
        written = 0
        while written < 2 * CAPACITY and not self.writer.refused and not self.writer.has_failed:
            size = chance.choice((100, 20_000, 100_000, 300_000))
            written += size + 200
            self.writer.append(
                f"{self.writer.life}-{self.writer.line}", size, keyed=chance.random() < 0.7)
        self.writer.wait()
        return bool(self.writer.refused)

    def append_until_seen(self):
        """Free space is looked at every second while a log writes; it writes little, so that the reserve is met
        and not the end of the disk."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.writer.refused and not self.writer.has_failed and time.monotonic() < deadline:
            self.writer.append(f"{self.writer.life}-{self.writer.line}", 1000)
            self.writer.wait()
            time.sleep(0.05)

    def expect_refusals(self):
        """Each of several more is refused, at once and for the reason that is true."""
        writer = self.writer
        writer.refusals = []
        for index in range(20):
            before = dict(writer.refused)
            writer.append(f"{writer.life}-refused-{index}", 100_000)
            writer.wait()
            if writer.refused == before and not writer.has_failed:
                self.layer.note("small room left")
        self.layer.faults += sum(writer.refused.values())
        self.layer.notes["slowest refusal in microseconds"] = max(
            *writer.refusals, 0, self.layer.notes.get("slowest refusal in microseconds", 0))
        unexpected = set(writer.refused) - set(REFUSALS.values())
        if unexpected or writer.has_failed or writer.failed:
            self.fail(f"refused {writer.refused}, {writer.cause}, {writer.failed}")
        if REFUSALS[self.kind] not in writer.refused:
            self.fail(f"the reasons were {writer.refused}")
        if writer.refusals and statistics.median(writer.refusals) > REFUSAL_MICROSECONDS_MAXIMUM:
            self.fail(f"refusals took {writer.refusals} microseconds")
        self.layer.note("refusals", sum(writer.refused.values()))

    def confirm(self, offset):
        answer = self.writer.answer(self.writer.confirm(offset))
        if not answer or answer["answer"] != "confirmed" or answer["next_offset"] < offset:
            self.fail(f"confirming {offset} with {self.system.free_bytes()} bytes free: {answer}")

    def append_until_taken(self, seconds=PATIENCE_SECONDS):
        """The same process takes records again."""
        deadline = time.monotonic() + seconds
        before = self.writer.acknowledged
        while self.writer.acknowledged == before:
            if time.monotonic() > deadline or self.writer.has_failed:
                self.fail(
                    f"it does not go on: {self.writer.refused} {self.writer.cause} "
                    f"{self.writer.statistics()}")
                return
            self.writer.append(f"{self.writer.life}-{self.writer.line}", 50_000)
            self.writer.wait()
            time.sleep(0.01)

    def kill_and_open(self):
        self.writer.kill()
        self.layer.note("opened with 0 bytes free")
        self.open()

    def run(self):
        chance = self.layer.random
        self.ballast = None
        try:
            self.open()
            for index in range(chance.randint(1, 20)):
                self.writer.append(f"{self.writer.life}-first-{index}", 60_000)
            self.writer.wait()
            if self.kind == "drop":
                self.drop()
            else:
                self.refuse()
            if self.writer.close(60) != 0:
                self.fail(f"closing: {self.writer.complaints.decode().strip()}")
        finally:
            if self.writer:
                self.writer.kill()
            if self.ballast:
                os.unlink(self.ballast)
        self.look()

    def take_space(self):
        self.ballast = self.system.fill(leave=RESERVE // 2 if self.kind == "reserve" else 0)
        self.layer.faults += 1

    def give_space(self):
        os.unlink(self.ballast)
        self.ballast = None

    def refuse(self):
        if self.kind != "full":
            self.take_space()
        if self.kind == "reserve":
            self.append_until_seen()
        if not self.append_until_refused():
            self.fail(f"nothing was refused: {self.writer.statistics()}")
            return
        if self.kind == "full":
            self.take_space()
        self.expect_refusals()
        now = self.writer.statistics()
        answer = self.writer.read(now["first_offset"], 1 << 20)
        if answer["answer"] != "read" or answer["next_offset"] != now["head_offset"]:
            self.fail(f"durable records cannot be read: {answer}")
        self.confirm(now["head_offset"] // 2)
        if self.layer.random.random() < 0.4:
            self.kill_and_open()
        self.confirm(now["head_offset"])
        if self.kind != "full":
            self.give_space()
        self.append_until_taken()
        if self.kind == "full":
            # What is confirmed counts as room at once; that its segments are sealed and go takes longer.
            deadline = time.monotonic() + PATIENCE_SECONDS
            after = self.writer.statistics()
            while after["first_offset"] == 0 and time.monotonic() < deadline:
                time.sleep(0.1)
                after = self.writer.statistics()
            if after["first_offset"] == 0:
                self.fail(f"nothing was truncated: {after}")
            self.layer.note("truncated with 0 bytes free")
            self.expect_alarm(self.profile == "sil_strict")

    def expect_alarm(self, is_raised):
        """It stays while records are taken again, until it is acknowledged."""
        if self.writer.statistics()["alarm"] != is_raised:
            self.fail(f"the alarm: {self.writer.statistics()}")
        answer = self.writer.answer(self.writer.acknowledge())
        if not answer or answer.get("ended") != is_raised or self.writer.statistics()["alarm"]:
            self.fail(f"acknowledging the alarm: {answer}")

    def drop(self):
        """What is gone is declared, to the offset; the log may ask to wait while it drops."""
        for _ in range(2 * CAPACITY // 100_000):
            self.writer.append(f"{self.writer.life}-{self.writer.line}", 100_000)
        self.writer.wait()
        self.layer.note("asked to wait while dropping", self.writer.refused.get("full", 0))
        if set(self.writer.refused) - {"full"} or self.writer.has_failed:
            self.fail(f"refused {self.writer.refused}, {self.writer.cause}")
        self.append_until_taken()
        self.layer.faults += 1
        # Until what was begun is done: nothing changes any more, and what went is declared.
        deadline = time.monotonic() + PATIENCE_SECONDS
        before, same = None, 0
        while True:
            now = {**self.writer.statistics(), "line": 0}
            gaps = [(gap["first"], gap["end"]) for gap in self.writer.gaps()["gaps"]]
            same = same + 1 if now == before else 0
            if (same >= 2 and gaps == [(0, now["first_offset"])]) or time.monotonic() > deadline:
                break
            before = now
            time.sleep(0.3)
        self.oracle.gaps = gaps
        if gaps != [(0, now["first_offset"])] or now["first_offset"] == 0:
            self.fail(f"the gap is {gaps}, the first record {now['first_offset']}")
        answer = self.writer.read(0, 1)
        if answer["answer"] != "failed" or answer["reason"] != "gap":
            self.fail(f"a reader of the gap is told {answer}")

    def look(self):
        self.system.remount()
        status, report = verify(self.directory)
        if status != 0:
            self.fail(f"verify says {report}")
            return
        self.oracle.check(
            dump(self.directory), self.where,
            information(self.directory)["cursors"][0]["next_offset"])


def main():
    layer = Layer("L8", 8, __doc__)
    layer.begin()
    reason = why_not("ext4")
    if reason:
        layer.skip(reason)
    try:
        system = LoopFileSystem(layer.directory, "ext4", 96 << 20)
        layer.cleaner(system.remove)
        system.mount()
    except Unmountable as error:
        layer.skip(f"no loop mount here: {error}")
    while layer.more():
        directory = os.path.join(system.point, f"log{layer.cases}")
        kind = KINDS[layer.cases % len(KINDS)]
        profile = ("standard", "sil_strict")[layer.cases // len(KINDS) % 2]
        if kind == "drop":
            profile = "standard"  # the other one cannot
        case = Case(layer, system, directory, kind, profile)
        try:
            case.run()
        except RuntimeError as error:
            layer.failures.append(str(error))
        layer.take(case.oracle)
        layer.note(kind)
        layer.cases += 1
        if not layer.failures:
            shutil.rmtree(directory)
    layer.end()


if __name__ == "__main__":
    main()

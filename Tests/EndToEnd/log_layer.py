"""What the layers of `make prove` share: how long and how much, progress, the line with the figures,
and that nothing is left behind.

A layer prints `RESULT {json}` as it goes on, the last one counts: cases, faults, checked, lost,
phantom, and notes in words. Then it prints PASS, FAIL or SKIPPED as every script here does.
"""

import argparse
import atexit
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time

from log_common import finish
from log_exercise import Exercise


def memory_directory():
    """A tmpfs with room, or None."""
    try:
        status = os.statvfs("/dev/shm")
    except OSError:
        return None
    has_room = status.f_bavail * status.f_frsize > 512 << 20
    return "/dev/shm" if has_room and os.access("/dev/shm", os.W_OK) else None


class Layer:
    """One run of a layer.

    `more()` is true until both the minutes are over and the least number of cases is done. A layer
    that fails keeps its files and says where they are.
    """

    def __init__(self, title, cases, description):
        parser = argparse.ArgumentParser(description=description)
        parser.add_argument("--minutes", type=float, default=0,
                            help="go on for this long, even when the cases are done")
        parser.add_argument("--cases", type=int, default=cases, help="at least so many")
        parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
        self.parser = parser
        self.title = title
        self.cases = self.faults = self.checked = 0
        self.lost = self.phantom = 0
        self.failures = []
        self.notes = {}
        self.cleaners = []
        self.directory = None
        self.began = self.told = time.monotonic()

    def begin(self, in_memory=False):
        """`in_memory`: its files need no device; a flush that is waited for would only cost time."""
        self.options = self.parser.parse_args()
        self.random = random.Random(self.options.seed)
        self.directory = tempfile.mkdtemp(
            prefix=f"bsfg-{self.title}-", dir=memory_directory() if in_memory else None)
        atexit.register(self.clean)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.interrupted)
        print(f"{self.title}: seed {self.options.seed}", flush=True)
        return self.options

    def interrupted(self, number, frame):
        # As an exception, so that whatever is under way is undone by its `finally`.
        raise KeyboardInterrupt(f"signal {number}")

    @property
    def seconds(self):
        return time.monotonic() - self.began

    def tick(self):
        """Tells how far it is, now and again."""
        if time.monotonic() - self.told > 10:
            self.told = time.monotonic()
            self.tell()

    def more(self):
        self.tick()
        if self.failures:
            return False
        return self.cases < self.options.cases or self.seconds < self.options.minutes * 60

    def note(self, name, count=1):
        self.notes[name] = self.notes.get(name, 0) + count

    def take(self, oracle):
        """Takes over what an oracle found, once, when its log is done."""
        self.checked += len(oracle.checked)
        self.lost += len(oracle.lost)
        self.phantom += len(oracle.phantom)
        self.failures += oracle.failures

    def tell(self):
        print("RESULT " + json.dumps({
            "cases": self.cases, "faults": self.faults, "checked": self.checked,
            "lost": self.lost, "phantom": self.phantom,
            "seconds": round(self.seconds, 1), "seed": self.options.seed,
            "notes": self.notes}), flush=True)

    def cleaner(self, action):
        """Runs at the end, whatever the end is; the last one first."""
        self.cleaners.append(action)

    def clean(self):
        Exercise.kill_all()
        while self.cleaners:
            try:
                self.cleaners.pop()()
            except Exception as error:  # the others must run too
                print(f"  cleaning up: {error}", flush=True)
        if self.directory and not self.failures:
            shutil.rmtree(self.directory, ignore_errors=True)

    def end(self):
        self.tell()
        if self.failures:
            print(f"  the files are kept in {self.directory}")
        self.clean()
        notes = ", ".join(f"{name} {count}" for name, count in sorted(self.notes.items()))
        finish(self.failures, (
            f"{self.cases} cases, {self.faults} faults, {self.checked} acknowledged records checked, "
            f"lost {self.lost}, phantom {self.phantom}; {notes}; {self.seconds:.0f} s, "
            f"seed {self.options.seed}"))

    def skip(self, reason):
        self.clean()
        print(f"SKIPPED {os.path.basename(sys.argv[0])}: {reason}", flush=True)
        sys.exit(0)

"""What the schedules of one run, or of several that share a state file, add up to."""

import collections
import contextlib
import fcntl
import json
import pathlib

from schedule.plan import STEPS

HITS_MINIMUM = 20
# With fewer schedules than this a step may be met less often.
WHOLE_RUN = 200
FIGURES = (
    "facts", "compared", "repeated", "unanswered", "poison", "kills", "seconds")


class Tally:
    """With a path the sum is kept in that file, which runs may share that go on at the same time."""

    def __init__(self, path=None):
        self.path = pathlib.Path(path) if path else None
        self._begin()
        self._read()

    def _begin(self):
        self.seeds = []
        self.failed = []
        self.steps = collections.Counter()
        self.faults = collections.Counter()
        self.figures = collections.Counter()

    def add(self, result):
        with self._alone():
            if self.path:
                self._begin()
                self._read()
            self.seeds.append(result.seed)
            if result.wrong:
                self.failed.append(result.seed)
            self.steps.update(result.steps)
            self.faults.update(result.faults)
            for name in FIGURES:
                self.figures[name] += getattr(result, name)
            self._write()

    @contextlib.contextmanager
    def _alone(self):
        if self.path is None:
            yield
            return
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self):
        if self.path is None or not self.path.exists():
            return
        kept = json.loads(self.path.read_text())
        self.seeds, self.failed = kept["seeds"], kept["failed"]
        for name in ("steps", "faults", "figures"):
            getattr(self, name).update(kept[name])

    def _write(self):
        if self.path is None:
            return
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({
            "seeds": self.seeds, "failed": self.failed, "steps": self.steps, "faults": self.faults,
            "figures": self.figures}))
        partial.rename(self.path)

    def missed(self):
        """The steps that a whole run did not meet often enough."""
        if len(self.seeds) < WHOLE_RUN:
            return []
        return [step for step in STEPS if self.steps[step] < HITS_MINIMUM]

    def table(self):
        figures = self.figures
        lines = [
            "", f"{len(self.seeds)} schedules, {len(self.failed)} failed, "
            f"{sum(self.faults.values())} faults, {figures['seconds'] / 60:.0f} minutes",
            f"{figures['facts']:,} facts acknowledged, {figures['compared']:,} records read back and compared, "
            f"{figures['unanswered']:,} batches sent again for want of an answer, "
            f"{figures['repeated']:,} although answered, {figures['poison']:,} poison facts", "",
            "| a node ended at | times |", "|---|---|"]
        lines += [f"| {step} | {self.steps[step]} |" for step in STEPS]
        lines += [f"| any moment (kill -9) | {figures['kills']} |", "", "| fault | times |", "|---|---|"]
        lines += [f"| {kind} | {count} |" for kind, count in sorted(self.faults.items())]
        return "\n".join(lines)

#!/usr/bin/env python3
"""Every system call that a log makes on its files fails once, at every place.

A trace of a run without faults tells which calls the log makes. For each kind the Nth one is made to
fail by strace (EIO, ENOSPC, nothing written, the process killed) for every N at which the trace shows one
on the log's files and on from there until a run ends without having met the fault; a thread counts its own
calls, so one run may meet it in several. The
runs are: a log is made and rolled, confirmed and closed; and a log that a kill left behind is opened
and written on. Short writes come from a preloaded library. After each run: nothing hangs or crashes,
`verify` finds the log sound, everything acknowledged is there and nothing else, and the next opening
goes on.

    BSFG=path log_syscalls.py [--cases 40] [--sweep] [--seed N]

With --sweep every place; without, so many places by chance.
"""

import os
import re
import shutil
import signal
import subprocess
import time

from log_common import dump, information, verify
from log_exercise import Exercise
from log_layer import Layer
from log_oracle import Oracle

SEGMENT = 1 << 20
CAPACITY = 8 << 20
HERE = os.path.dirname(os.path.abspath(__file__))

# What a log may do to its files. Of these, those that the trace shows are swept.
FAULTS = {
    "pwrite64": ("error=EIO", "error=ENOSPC", "retval=0", "signal=SIGKILL"),
    "pwritev": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "pwritev2": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "fdatasync": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "fsync": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "sync_file_range": ("error=EIO",),
    "openat": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "ftruncate": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "fallocate": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "rename": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "renameat": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "renameat2": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "unlink": ("error=EIO", "signal=SIGKILL"),
    "unlinkat": ("error=EIO", "signal=SIGKILL"),
    "link": ("error=EIO", "signal=SIGKILL"),
    "linkat": ("error=EIO", "signal=SIGKILL"),
    "mkdir": ("error=EIO", "error=ENOSPC", "signal=SIGKILL"),
    "pread64": ("error=EIO",),
    "preadv": ("error=EIO",),
    "newfstatat": ("error=EIO",),
    "fstat": ("error=EIO",),
    "flock": ("error=EIO",),
    "getdents64": ("error=EIO",),
    "statfs": ("error=EIO",),
    "fstatfs": ("error=EIO",),
}
SMALL_GAP = 4
PATIENCE_SECONDS = 120
NAMES = {"retval=0": "took nothing", "signal=SIGKILL": "killed"}


def filled(places):
    """In order, with small gaps filled: threads share the work differently each time."""
    found = []
    for place in sorted(places):
        if found and place - found[-1] <= SMALL_GAP:
            found += range(found[-1] + 1, place)
        found.append(place)
    return found


class Sweep:
    def __init__(self, layer):
        self.layer = layer
        self.calls = {}          # run: {call: places, of a thread's calls, on the log's files}
        self.template = None
        self.template_oracle = None
        self.number = 0
        self.shim = None

    def directory(self):
        self.number += 1
        return os.path.join(self.layer.directory, f"log{self.number}")

    # The two runs

    def work(self, directory, oracle, wrapper=(), environment=None):
        """The commands of one run; the writer after its end."""
        writer = Exercise(
            oracle, directory, SEGMENT, CAPACITY, in_flight=4, wrapper=wrapper,
            environment=environment)
        for index in range(30):
            key = f"{writer.life}-{index}"
            size, count = ((900, 1), (300_000, 1), (60_000, 5), (10, 20))[index % 4]
            writer.append(key, size, count, keyed=index % 3 != 0)
            if index % 7 == 6:
                writer.wait()
                if writer.highest >= 0:
                    writer.confirm(writer.highest)
                writer.wait()
        writer.wait()
        status = writer.close(PATIENCE_SECONDS)
        if status is None:
            writer.kill()
        return writer, status

    def prepare(self):
        """Traces both runs and makes the log that a kill left behind."""
        for run in ("create", "reopen"):
            directory, oracle = self.begin(run)
            trace = os.path.join(self.layer.directory, "trace")
            known = ",".join("?" + call for call in FAULTS)
            writer, status = self.work(
                directory, oracle, ("strace", "-f", "-y", "-s", "300", "-o", trace, "-e", f"trace={known}"))
            if status != 0 or writer.has_failed:
                raise RuntimeError(f"a run without faults ended with {status}: {writer.complaints}")
            self.calls[run] = self.count(trace, directory)
            self.check(f"{run} without faults", directory, oracle)
            if run == "create":
                self.make_template()

    def make_template(self):
        self.template_oracle = Oracle()
        self.template = os.path.join(self.layer.directory, "template")
        writer = Exercise(self.template_oracle, self.template, SEGMENT, CAPACITY, in_flight=4)
        for index in range(12):
            writer.append(f"{writer.life}-{index}", 200_000)
        writer.wait()
        writer.kill()

    def count(self, trace, directory):
        """For each call: which of a thread's are on the log's files, in any thread. The loader's and
        the language's own come before and are none of the log's."""
        places, seen = {}, {}
        with open(trace) as file:
            for line in file:
                match = re.match(r"(\d+)\s+(\w+)\((.*)", line)
                if not match:
                    continue  # the end of a call that was interrupted in the trace
                thread, call, rest = match.groups()
                seen[thread, call] = seen.get((thread, call), 0) + 1
                if directory in rest:
                    places.setdefault(call, set()).add(seen[thread, call])
        return {call: filled(found) for call, found in places.items()}

    def begin(self, run):
        directory = self.directory()
        oracle = Oracle()
        if run == "reopen":
            shutil.copytree(self.template, directory)
            known = self.template_oracle
            oracle.batches.update(known.batches)
            oracle.acknowledged.update(known.acknowledged)
        return directory, oracle

    # One fault

    def inject(self, run, call, fault, when):
        """Whether the fault was met."""
        where = f"{run}: {call} {fault} at call {when}"
        directory, oracle = self.begin(run)
        trace = os.path.join(self.layer.directory, "trace")
        writer, status = self.work(
            directory, oracle,
            ("strace", "-f", "-o", trace, "-e", f"trace={call}",
             "-e", f"inject={call}:{fault}:when={when}"))
        with open(trace, errors="replace") as file:
            text = file.read()
        met = text.count("(INJECTED)")
        if "SIGKILL" in fault:
            met = int("killed by SIGKILL" in text)
        if met:
            self.layer.faults += met
            self.judge(where, writer, status, "SIGKILL" in fault)
            self.check(where, directory, oracle)
            self.go_on(where, directory, oracle)
            self.layer.note(f"{call} {NAMES.get(fault, fault.split('=')[1])}")
        self.finish(directory, oracle)
        return met > 0

    def short_write(self, run, when):
        where = f"{run}: a short write at pwrite {when}"
        directory, oracle = self.begin(run)
        mark = os.path.join(self.layer.directory, "mark")
        if os.path.exists(mark):
            os.unlink(mark)
        writer, status = self.work(directory, oracle, environment={
            "LD_PRELOAD": self.shim, "SHORT_WRITE_AT": str(when), "SHORT_WRITE_MARK": mark})
        met = os.path.exists(mark)
        if met:
            self.layer.faults += 1
            self.judge(where, writer, status, False)
            # What was confirmed may not have made room yet: a full log is no consequence of the short write.
            if writer.has_failed or set(writer.refused) - {"full"} or status != 0:
                self.layer.failures.append(f"{where}: it is no failure: {writer.cause} {writer.refused}")
            self.check(where, directory, oracle)
            self.layer.note("pwrite64 short")
        self.finish(directory, oracle)
        return met

    def judge(self, where, writer, status, is_killed):
        """The writer neither hangs nor crashes."""
        if status is None:
            self.layer.failures.append(f"{where}: the writer hangs")
        elif is_killed:
            if status not in (-signal.SIGKILL, 128 + signal.SIGKILL):
                self.layer.failures.append(f"{where}: killed, it ended with {status}")
        elif status not in (0, 1, 127):
            # 127: the loader did not find a library. 1: the log could not be opened.
            self.layer.failures.append(
                f"{where}: the writer ended with {status}: {writer.complaints.decode()[-400:]}")
        if writer.has_failed:
            self.layer.note("poisoned")

    def check(self, where, directory, oracle):
        if not os.path.exists(os.path.join(directory, "manifest")):
            if oracle.acknowledged:
                self.layer.failures.append(f"{where}: acknowledged, and there is no manifest")
            return
        status, report = verify(directory)
        if status != 0:
            self.layer.failures.append(f"{where}: verify says {report}")
            return
        cursors = information(directory)["cursors"]
        oracle.check(dump(directory), where, cursors[0]["next_offset"] if cursors else None)

    def go_on(self, where, directory, oracle):
        """Opened again without a fault it takes a record, and still holds the others."""
        writer = Exercise(oracle, directory, SEGMENT, CAPACITY)
        deadline = time.monotonic() + PATIENCE_SECONDS
        attempt = 0
        while time.monotonic() < deadline:
            writer.append(f"{writer.life}-again-{attempt}", 1000)
            writer.wait()
            if writer.acknowledged or set(writer.refused) != {"full"}:
                break
            # The life before may have filled it: it takes records once they are confirmed.
            writer.confirm(writer.opened["head_offset"])
            attempt += 1
            time.sleep(0.1)
        status = writer.close()
        if status != 0 or writer.acknowledged != 1:
            self.layer.failures.append(
                f"{where}: opened again it ended with {status}: {writer.complaints.decode().strip()} "
                f"{writer.cause} {writer.refused}")
            return
        self.check(where + ", opened again", directory, oracle)

    def finish(self, directory, oracle):
        self.layer.take(oracle)
        if not self.layer.failures:
            shutil.rmtree(directory, ignore_errors=True)

    def build_shim(self):
        compiler = shutil.which("cc") or shutil.which("clang")
        if not compiler:
            print("SKIPPED short writes: there is no C compiler", flush=True)
            return
        self.shim = os.path.join(self.layer.directory, "short_write.so")
        subprocess.run(
            [compiler, "-O", "-shared", "-fPIC", "-o", self.shim,
             os.path.join(HERE, "short_write.c"), "-ldl"], check=True)

    # All of them

    def kinds(self):
        """(run, call, fault, places) of everything that can be swept."""
        for run, calls in self.calls.items():
            for call, places in sorted(calls.items()):
                for fault in FAULTS[call]:
                    yield run, call, fault, places
            if self.shim:
                yield run, None, "short", calls["pwrite64"]

    def one(self, run, call, fault, when):
        self.layer.cases += 1
        if call is None:
            return self.short_write(run, when)
        return self.inject(run, call, fault, when)

    def everything(self):
        """Every place that the trace knows, and on from there until the fault is not met twice."""
        for run, call, fault, places in self.kinds():
            for when in places:
                self.layer.tick()
                self.one(run, call, fault, when)
                if self.layer.failures:
                    return
            when, misses = places[-1] + 1, 0
            while misses < 2 and not self.layer.failures:
                self.layer.tick()
                misses = 0 if self.one(run, call, fault, when) else misses + 1
                when += 1

    def some(self):
        every = [
            (run, call, fault, when)
            for run, call, fault, places in self.kinds() for when in places]
        while self.layer.more():
            self.one(*self.layer.random.choice(every))


def main():
    layer = Layer("L2", 40, __doc__)
    layer.parser.add_argument("--sweep", action="store_true")
    options = layer.begin(in_memory=True)
    if not shutil.which("strace"):
        layer.skip("strace is not installed")
    probe = subprocess.run(["strace", "-o", "/dev/null", "true"], stderr=subprocess.PIPE)
    if probe.returncode != 0:
        layer.skip("strace may not trace here: " + probe.stderr.decode().strip())
    sweep = Sweep(layer)
    sweep.build_shim()
    sweep.prepare()
    if options.sweep:
        sweep.everything()
    else:
        sweep.some()
    layer.end()


if __name__ == "__main__":
    main()

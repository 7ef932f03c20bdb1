"""What the machine is, what else runs on it, and a load of our own."""

import contextlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import time

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
# Of a core: with more, a measurement counts as disturbed and is repeated.
DISTURBANCE = 0.15
# Of a core: with less, the machine is quiet.
QUIET = 0.10
GENERATIONS = 8


def processor_ticks():
    """Of every process that is not ours, by its number: its own processor time, and that with the time of
    its children that ended. Kernel threads do our I/O, and are ours."""
    parents, ticks = {}, {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        fields = text[text.rindex(")") + 2:].split()
        parents[int(entry)] = int(fields[1])
        ticks[int(entry)] = sum(map(int, fields[11:13])), sum(map(int, fields[11:15]))
    kernel_threads = 2
    ours = {os.getpid(), kernel_threads}
    for _ in range(GENERATIONS):
        ours |= {process for process, parent in parents.items() if parent in ours}
    # Who waits for us has our children's time among its own.
    parent = os.getpid()
    while parent in parents:
        ours.add(parent)
        parent = parents[parent]
    return {process: counts for process, counts in ticks.items() if process not in ours}


class OthersProcessor:
    """What other processes used since it was made, in cores."""

    def __init__(self):
        self.before, self.began = processor_ticks(), time.monotonic()

    def cores(self):
        seconds = time.monotonic() - self.began
        after = processor_ticks()
        running = sum(
            own - self.before.get(process, (0, 0))[0] for process, (own, _) in after.items())
        # A child that ended gives all its time to its parent, also what it used before: only the sum
        # over all tells what is new. Time that nobody waited for is missing in it.
        ended = sum(total for _, total in after.values()) - sum(
            total for _, total in self.before.values())
        return max(running, ended) / TICKS_PER_SECOND / max(seconds, 0.001)


def wait_until_quiet(limit_seconds):
    """True when it became quiet in time."""
    deadline = time.monotonic() + limit_seconds
    while True:
        others = OthersProcessor()
        time.sleep(0.1)
        if others.cores() < QUIET:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.4)


@contextlib.contextmanager
def busy(cores):
    """So many processes that do nothing but use a core each."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        # Until they run.
        time.sleep(0.2)
        yield loops
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def free_bytes(directory):
    return shutil.disk_usage(directory).free


def _first_line(path, beginning):
    with contextlib.suppress(OSError):
        for line in pathlib.Path(path).read_text().splitlines():
            if line.startswith(beginning):
                return line.split(":", 1)[1].strip()
    return "unknown"


def _file_system(directory):
    done = subprocess.run(
        ["findmnt", "-no", "FSTYPE,OPTIONS", "--target", directory], capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def _write_cache(directory):
    with contextlib.suppress(OSError):
        device = os.stat(directory).st_dev
        block = pathlib.Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
        for place in (block, block.parent):
            cache = place / "queue/write_cache"
            if cache.exists():
                return cache.read_text().strip()
    return "unknown"


def environment(directory):
    """What a result depends on, as names and texts."""
    memory_kibibytes = int(_first_line("/proc/meminfo", "MemTotal").split()[0])
    return {
        "processor": f"{os.cpu_count()} x {_first_line('/proc/cpuinfo', 'model name')}",
        "memory": f"{memory_kibibytes / 2**20:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "file system": _file_system(directory),
        "device's write cache": _write_cache(directory),
    }

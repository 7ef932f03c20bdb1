#!/usr/bin/env python3
"""A device that promised more room than it has: `fdatasync` fails for real.

An ext4 file system lies in a sparse file on a small tmpfs. While the writer stands still, the zero
pages of its segments are given back, as a thin device that recognises zeros does, and a ballast takes
the tmpfs to its last pages. The next commits find no room below the file system: the kernel drops
their pages, tells the error once, and shows from then on what the device never got.

Then: the log is poisoned and acknowledges nothing more, in this life; reads of durable records go on;
opened again on the same mount, whose page cache still shows the failed commit, nothing of it is
believed that the device does not hold; after the space came back it is written on; and after a mount
that forgets the cache everything acknowledged is there and nothing else. Needs root, loop devices and
tmpfs; skipped with a line that says so otherwise.

    BSFG=path log_thin_device.py [--cases 6] [--minutes 0] [--seed N]
"""

import glob
import os
import shutil
import signal
import time

from log_common import dump, information, verify
from log_devices import LoopFileSystem, Unmountable, extents, make_thin, run, why_not
from log_exercise import Exercise
from log_layer import Layer
from log_oracle import Oracle

SEGMENT = 1 << 20
CAPACITY = 16 << 20
TMPFS_BYTES = 64 << 20
IMAGE_BYTES = 256 << 20
CASES_MAXIMUM = 5


def stopped(process):
    """Stops a process and waits until all its threads stand."""
    process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        states = []
        for path in glob.glob(f"/proc/{process.pid}/task/*/stat"):
            try:
                with open(path) as file:
                    states.append(file.read().rsplit(")", 1)[1].split()[0])
            except OSError:
                pass  # a thread that has ended since
        if states and all(state == "T" for state in states):
            return
        time.sleep(0.002)
    raise RuntimeError("the writer does not stand still")


def take_room(layer, system, pool, directory):
    """Thins the segments and fills the pool; some pages are left, so that a commit is torn."""
    fd = os.open(system.point, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    os.sync()
    freed = 0
    for name in sorted(os.listdir(directory)):
        if name.endswith(".segment"):
            freed += make_thin(
                system.image,
                [(0, device, count) for _, device, count in extents(os.path.join(directory, name))])
    left = layer.random.choice((0, 1, 2, 5, 20, 60)) * 4096
    status = os.statvfs(pool)
    with open(os.path.join(pool, "ballast"), "wb") as file:
        os.posix_fallocate(
            file.fileno(), 0, max(4096, status.f_bavail * status.f_frsize - left))
    return freed


def give_room(pool):
    os.unlink(os.path.join(pool, "ballast"))


def takes_names(system):
    path = os.path.join(system.point, "probe")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.unlink(path)
        return True
    except OSError:
        return False


def send(layer, writer, count, bytes_maximum):
    chance = layer.random
    for _ in range(count):
        if writer.has_failed or writer.process.poll() is not None:
            return
        key = f"{writer.life}-{writer.line}"
        size = chance.choice((10, 900, 5_000, 60_000, 300_000))
        writer.append(key, min(size, bytes_maximum), chance.choice((1, 1, 4)) if size < 60_000 else 1,
                      chance.random() < 0.7)


def case(layer, system, pool, directory, profile):
    chance = layer.random
    where = f"case {layer.cases}"
    oracle = Oracle()
    try:
        first = Exercise(oracle, directory, SEGMENT, CAPACITY, profile, in_flight=chance.choice((1, 16)))
        send(layer, first, chance.randint(5, 60), 60_000)
        first.wait()
        stopped(first.process)
        if take_room(layer, system, pool, directory) == 0:
            layer.note("nothing to take")
        first.process.send_signal(signal.SIGCONT)
        # Enough to write through all that was prepared.
        send(layer, first, 400, 400_000)
        first.wait()
        genuine = first.has_failed
        if genuine:
            layer.faults += 1
            layer.note("fsync failures" if "sync" in first.cause else "write failures")
            before = first.records
            for index in range(5):
                first.append(f"{first.life}-after-{index}", 100)
            first.wait()
            if first.records != before or first.poisoned < 5:
                layer.failures.append(f"{where}: it goes on after the failure: {first.cause}")
            answer = first.read(0, 100_000)
            if not answer or answer["answer"] != "read":
                layer.failures.append(f"{where}: durable records cannot be read: {answer}")
            elif answer["count"] < len(oracle.acknowledged):
                layer.failures.append(
                    f"{where}: {answer['count']} records can be read, acknowledged are "
                    f"{len(oracle.acknowledged)}")
        else:
            layer.note(f"no failure, refused {','.join(sorted(first.refused)) or 'nothing'}")
        same_mount = chance.random() < 0.6
        if chance.random() < 0.5:
            first.kill()
        elif first.close(120) is None:
            layer.failures.append(f"{where}: the writer hangs")
            first.kill()
    finally:
        if first.process.poll() is None:
            first.process.send_signal(signal.SIGCONT)
            first.kill()
        give_room(pool)

    if not takes_names(system):
        # The journal found no room either, and ext4 takes no more names until it is mounted anew.
        layer.note("journal aborted")
        same_mount = False
    if same_mount:
        layer.note("opened over the old page cache")
    else:
        system.remount()
        if system.kind == "ext4" and not takes_names(system):
            layer.note("file system checked")
            system.repair_and_mount()
        look(layer, oracle, directory, where + ", mounted again")
    second = Exercise(oracle, directory, SEGMENT, CAPACITY, profile, in_flight=4)
    try:
        second.wait()
        if not second.opened:
            second.close()
            layer.failures.append(
                f"{where}: it cannot be opened again: {second.complaints.decode().strip()}")
            return oracle
        layer.note(f"reopened {second.opened['decision']}")
        send(layer, second, chance.randint(1, 30), 20_000)
        second.wait()
        if second.has_failed or second.refused:
            layer.failures.append(
                f"{where}: it does not go on with space: {second.cause} {second.refused}")
    finally:
        # Ended without a word, so that the next opening has work to do.
        second.kill()
    system.remount()
    look(layer, oracle, directory, where + ", at the end")
    return oracle


def look(layer, oracle, directory, where):
    status, report = verify(directory)
    if status != 0:
        layer.failures.append(f"{where}: verify says {report}")
        return
    layer.note(f"end {report['end']}")
    cursors = information(directory)["cursors"]
    oracle.check(dump(directory), where, cursors[0]["next_offset"] if cursors else None)


def main():
    layer = Layer("L5", 6, __doc__)
    layer.begin()
    reason = why_not("ext4")
    if reason:
        layer.skip(reason)
    pool = os.path.join(layer.directory, "pool")
    os.mkdir(pool)
    made = run("mount", "-t", "tmpfs", "-o", f"size={TMPFS_BYTES}", "tmpfs", pool)
    if made.returncode != 0:
        layer.skip("no tmpfs here: " + made.stdout.decode().strip())
    layer.cleaner(lambda: run("umount", "-l", pool))
    try:
        system = LoopFileSystem(layer.directory, "ext4", IMAGE_BYTES, image_directory=pool, request_kilobytes=4)
        layer.cleaner(system.remove)
        system.mount()
    except Unmountable as error:
        layer.skip(f"no loop mount here: {error}")
    # How many pages are left is chance: where none of the cases met a failing fsync there are more of them.
    while layer.more() or (
            not layer.failures and not layer.notes.get("fsync failures")
            and layer.cases < CASES_MAXIMUM * layer.options.cases):
        directory = os.path.join(system.point, f"log{layer.cases}")
        profile = ("standard", "sil_strict")[layer.cases % 2]
        layer.take(case(layer, system, pool, directory, profile))
        layer.cases += 1
        if not layer.failures:
            shutil.rmtree(directory)
    if not layer.failures and layer.notes.get("fsync failures", 0) == 0:
        layer.failures.append("not one fsync failed: this layer proved nothing")
    layer.end()


if __name__ == "__main__":
    main()

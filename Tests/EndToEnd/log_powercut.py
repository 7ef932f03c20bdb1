#!/usr/bin/env python3
"""Power cuts under `bsfg log append`: an ext4 file system in a file on a loop device is shut down with
EXT4_IOC_SHUTDOWN and NOLOGFLUSH, which drops everything that was not synced, in one moment.

After each cut the file system is mounted again and every printed offset must be there with its
content, offsets dense. Needs root and loop devices; skipped with a line that says so otherwise.

    BSFG=path log_powercut.py [--cuts 20] [--seed N]
"""

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import time

from log_common import BSFG, check_history, dump, finish, sha256, skip, verify

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
IMAGE_BYTES = 1 << 30


def run(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


class FileSystem:
    def __init__(self, root):
        self.image = os.path.join(root, "image")
        self.point = os.path.join(root, "mount")
        os.mkdir(self.point)
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        made = run("mkfs.ext4", "-q", "-F", self.image)
        if made.returncode != 0:
            skip("cannot make a file system: " + made.stdout.decode().strip())
        self.mounted = False

    def mount(self):
        done = run("mount", "-o", "loop", self.image, self.point)
        self.mounted = done.returncode == 0
        return done

    def cut(self):
        descriptor = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def unmount(self):
        for _ in range(50):
            if not self.mounted or run("umount", self.point).returncode == 0:
                self.mounted = False
                return
            time.sleep(0.1)
        raise RuntimeError("the image cannot be unmounted")


def feed(stream, number, chance, sent, lines):
    index = 0
    try:
        while True:
            if lines and chance.random() < 0.1:
                key = lines[-chance.randint(1, min(64, len(lines)))]
            else:
                key = b"%d-%d" % (number, index)
                index += 1
                size = chance.choice((10, 200, 3000, 30000))
                sent[key] = b"%s:%s" % (key, (sha256(key).encode() * (size // 64 + 1))[:size])
            lines.append(key)
            stream.write(key + b"\t" + sent[key] + b"\n")
            stream.flush()
    except (BrokenPipeError, ValueError, OSError):
        pass


def cycle(system, number, chance, sent, acknowledged, failures):
    """Writes until the power goes; returns the answers that were printed."""
    directory = os.path.join(system.point, "log")
    writer = subprocess.Popen(
        [BSFG, "log", "append", "--dir", directory, "--keyed", "--segment", "1MiB",
         "--capacity", "256MiB"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = []
    feeder = threading.Thread(target=feed, args=(writer.stdin, number, chance, sent, lines))
    feeder.start()
    answers = 0
    cutter = None
    for line in writer.stdout:
        if cutter is None:
            cutter = threading.Timer(chance.random() * 0.4, system.cut)
            cutter.start()
        offset, _ = line.split()
        key = lines[answers]
        answers += 1
        if acknowledged.setdefault(key, int(offset)) != int(offset):
            failures.append(f"cut {number}: {key!r} has two offsets")
    if cutter:
        cutter.join()
    else:
        failures.append(f"cut {number}: nothing was answered: {writer.stderr.read().decode()}")
        system.cut()
    try:
        status = writer.wait(timeout=30)
        if status == 0:
            failures.append(f"cut {number}: the writer ended with 0 without power")
    except subprocess.TimeoutExpired:
        failures.append(f"cut {number}: the writer hangs without power")
        writer.kill()
        writer.wait()
    try:
        writer.stdin.close()
    except OSError:
        pass
    feeder.join()
    return answers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    if os.geteuid() != 0:
        skip("power cuts need root for a loop mount")
    for tool in ("mkfs.ext4", "mount", "umount", "losetup"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    root = tempfile.mkdtemp(prefix="bsfg-powercut-")
    system = FileSystem(root)
    mounted = system.mount()
    if not system.mounted:
        shutil.rmtree(root)
        skip("no loop mount here: " + mounted.stdout.decode().strip())
    chance = random.Random(options.seed)
    print(f"seed {options.seed}, {options.cuts} cuts", flush=True)
    sent, acknowledged, failures = {}, {}, []
    answers, ends = 0, {}
    begun = time.monotonic()
    directory = os.path.join(system.point, "log")
    try:
        for number in range(options.cuts):
            answers += cycle(system, number, chance, sent, acknowledged, failures)
            system.unmount()
            if not system.mount() or not system.mounted:
                failures.append(f"cut {number}: the file system does not mount again")
                break
            # Before and after recovery: what is acknowledged is there, as found and as opened.
            status, report = verify(directory)
            if status != 0:
                failures.append(f"cut {number}: verify says {report}")
                break
            ends[report["end"]] = ends.get(report["end"], 0) + 1
            check_history(dump(directory), acknowledged, sent, failures, f"cut {number}")
            if failures:
                break
    finally:
        system.unmount()
        if not failures:
            shutil.rmtree(root)
        else:
            print(f"  the image is kept in {root}")
    finish(failures, (
        f"{options.cuts} power cuts, {answers} answers, {len(acknowledged)} acknowledged records "
        f"checked, ends found: {ends}, lost 0, twice 0, {time.monotonic() - begun:.0f} s, "
        f"seed {options.seed}"))


if __name__ == "__main__":
    main()

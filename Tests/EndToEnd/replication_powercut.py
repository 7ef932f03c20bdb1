#!/usr/bin/env python3
"""Power cuts while two nodes replicate over small segments: an ext4 file system in a file on a loop
device, under one node's data directory, is shut down with EXT4_IOC_SHUTDOWN and NOLOGFLUSH, which
drops everything that was not synced, in one moment.

What was acknowledged is kept outside. Nothing of it may be lost, nothing may be there twice, order is
kept, and the receiver never has more than its source. Needs root and loop devices; skipped with a
line that says so otherwise.

    BSFG=path replication_powercut.py [--cuts 20] [--seed N]
"""

import argparse
import fcntl
import os
import random
import shutil
import struct
import subprocess
import time

from replication_common import Producer, compare, consumer_name, settle
from support import Site, identifiers, main, wait_until

EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2
IMAGE_BYTES = 1 << 30


class Disk:
    """An ext4 file system that can lose its power."""

    def __init__(self, directory):
        self.image = directory / "image"
        self.point = directory / "mount"
        self.point.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True, capture_output=True)

    def mount(self):
        done = subprocess.run(
            ["mount", "-o", "loop", str(self.image), str(self.point)], capture_output=True,
            text=True)
        return done.stderr.strip() if done.returncode else None

    def cut(self):
        descriptor = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def unmount(self):
        def unmounted():
            return subprocess.run(
                ["umount", str(self.point)], capture_output=True).returncode == 0

        wait_until("the image being unmounted", unmounted)


def missing():
    """Why this machine cannot cut power, or nothing."""
    if os.geteuid() != 0:
        return "power cuts need root for a loop mount"
    for tool in ("mkfs.ext4", "mount", "umount", "losetup"):
        if not shutil.which(tool):
            return f"{tool} is not installed"
    return None


def check_acknowledged(found, acknowledged, start):
    """What of the acknowledged facts from an offset on is not there as it was told."""
    there = {identifier: (offset, digest) for identifier, digest, offset in found}
    return [
        (identifier, told, there.get(identifier)) for identifier, told in acknowledged.items()
        if told[0] >= start and there.get(identifier) != told]


def cuts_under(checks, which, count, seed):
    chance = random.Random(seed)
    with Site() as site:
        source, receiver = site.node("plant-a"), site.node("enterprise")
        victim = source if which == "source" else receiver
        disk = Disk(site.directory)
        trouble = disk.mount()
        if trouble:
            checks.skip(f"power cuts under the {which}", f"no loop mount here: {trouble}")
            return
        try:
            victim.data = disk.point / "data"
            for node in (source, receiver):
                node.segment = "1MiB"
            source.client("producer-1")
            source.grant(receiver)
            receiver.grant(source, streams=())
            receiver.pull(source)
            producer = Producer(
                source, site.certificate("producer-1"), which, seed, size=(100, 8_000))
            source.start()
            receiver.start()
            producer.start()
            failed, checked, ahead, behind, mismatches = [], 0, 0, 0, 0
            for number in range(count):
                acknowledged = len(producer.acknowledged)
                wait_until(
                    "facts flowing", lambda: len(producer.acknowledged) > acknowledged + 100)
                time.sleep(chance.uniform(0, 0.5))
                disk.cut()
                # What had been answered before the cut may still be on its way.
                time.sleep(chance.uniform(0, 0.1))
                victim.kill()
                if which == "source":
                    # Nothing new comes before both ends were compared.
                    producer.stop()
                disk.unmount()
                trouble = disk.mount()
                if trouble:
                    failed.append(f"cut {number}: the file system does not mount again: {trouble}")
                    break
                victim.start()
                if which == "source":
                    told = dict(producer.acknowledged)
                    heads = receiver.head("plant-a"), source.head()
                    ahead += heads[0] > heads[1]
                    behind += heads[0] < heads[1]
                    # A few before the last check: what was checked stays as it is.
                    found = identifiers(source.peek(start=max(0, checked - 50)))
                    lost = check_acknowledged(found, told, max(0, checked - 50))
                    if lost:
                        failed.append(f"cut {number}: {len(lost)} lost, as {lost[0]}")
                    checked = source.head()
                    producer.start()
                else:
                    # What it has confirmed is durable in it.
                    confirmed = source.cursor(consumer_name(receiver, source))
                    if receiver.head("plant-a") < confirmed:
                        failed.append(
                            f"cut {number}: {confirmed} confirmed, {receiver.head('plant-a')} there")
                mismatches += receiver.pull_status("plant-a").get("reason") == "history_mismatch"
            producer.stop()
            producer.flush()
            if failed == [] and not trouble:
                settle(source, receiver)
                total = compare(
                    checks, f"{count} cuts under the {which}", source, receiver, [producer])
            else:
                total = 0
            refused = int(
                source.status()["server"].get("errors", {}).get("history_mismatch", 0))
            checks.equal(f"{count} cuts under the {which}: what was found after each", failed, [])
            checks.equal(f"{count} cuts under the {which}: the receiver ahead of its source",
                         ahead, 0)
            # A call that a confirm has overtaken is refused once and asked again (decision 6): that
            # is counted and told. A pull that is blocked by it has lost something.
            checks.equal(
                f"{count} cuts under the {which}: pulls blocked by another history", mismatches, 0)
            print(f"  {count} cuts, {len(producer.acknowledged)} acknowledged, {total} stored, "
                  f"receiver behind after {behind}, asked again {refused} times", flush=True)
        finally:
            source.kill()
            receiver.kill()
            disk.unmount()


def test(checks):
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    why = missing()
    for which in ("receiver", "source"):
        if why:
            checks.skip(f"power cuts under the {which}", why)
            continue
        print(f"seed {options.seed}", flush=True)
        with checks.guard(f"power cuts under the {which}"):
            cuts_under(checks, which, options.cuts, options.seed)


if __name__ == "__main__":
    main(test)

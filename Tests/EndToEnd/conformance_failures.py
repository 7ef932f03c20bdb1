#!/usr/bin/env python3
"""Requirements 100 to 103, 109, 110, 112, 114 and 115 of the specification: what a crash, a torn tail, a full disk and a long
absence leave behind, and what of it can be seen. A check is named by the requirement that it is about
(docs/conformance.md).

    BSFG=path conformance_failures.py
"""

import json
import os
import subprocess
import time

from history_common import bsfg, events, start_to_end
from replication_common import Producer, consumer_name, settle
from support import BSFG, STREAM, Caller, Site, fact, identifiers, main, wait_until

GROWTH_MIB = 64


def pair(site, source_zone, receiver_zone):
    source, receiver = site.node(source_zone), site.node(receiver_zone)
    source.client("producer-1")
    source.grant(receiver)
    receiver.grant(source, streams=())
    receiver.pull(source)
    return source, receiver


def exactly_once(node, origin, producer):
    found = [entry[0] for entry in identifiers(node.peek(origin))]
    return sorted(found) == sorted(producer.acknowledged)


def crashes(checks, site):
    source, receiver = pair(site, "plant-a", "enterprise")
    source.start()
    receiver.start()
    producer = Producer(source, site.certificate("producer-1"), "p")
    for _ in range(4):
        producer.start()
        count = len(producer.acknowledged)
        wait_until("facts under way", lambda: len(producer.acknowledged) > count + 100)
        source.kill()
        source.start()
        producer.stop()
        producer.flush()
    stored = {found[0]: found[2] for found in identifiers(source.peek())}
    checks.check(
        "spec 19.109: killed in the middle of appends: what was acknowledged is there, a retry is stored once",
        producer.wrong == [] and exactly_once(source, "plant-a", producer)
        and all(stored[name] == told[0] for name, told in producer.acknowledged.items()),
        producer.wrong[:1])
    settle(source, receiver)
    for step in ("committed", "confirm_sent"):
        receiver.stop()
        start_to_end(receiver, step)
        producer.append(40)
        wait_until("the end", lambda: receiver.process.poll() is not None)
        receiver.process = None
        receiver.start()
        settle(source, receiver)
    checks.check(
        "spec 19.110: the receiver killed between insert and confirm: nothing is lost, nothing twice",
        exactly_once(receiver, "plant-a", producer)
        and identifiers(receiver.peek("plant-a")) == identifiers(source.peek()))
    return source, receiver, producer


def visible(checks, site, source, receiver, producer):
    """What the frontier, the fill, the log lines and the counters say."""
    name = consumer_name(receiver, source)
    shown = source.cursor(name)
    status = source.stream_status()
    wait_until("a gate's line", lambda: '"gate_' in receiver.errors.read_text())
    fill, used, capacity = (
        float(status.get("fill", 0)), int(status.get("fillBytes", 0)), int(status["capacityBytes"]))
    caller = Caller(source, producer.certificate)
    first = next(iter(producer.acknowledged))
    assert caller.append(fact(first, {"other": "content"})).reason == "conflicting_duplicate"
    assert Caller(source, site.certificate("nobody")).append(fact("x")).status == 403
    bsfg(receiver, "peer", "redeliver", "plant-a", "--count", "10")
    wait_until(
        "the duplicates", lambda: int(receiver.pull_status("plant-a").get("redelivered", 0)) >= 10)
    source.stop()
    wait_until("a retry", lambda: int(receiver.pull_status("plant-a").get("failures", 0)) >= 2)
    pull = receiver.pull_status("plant-a")
    source.start()
    source_server = source.status()["server"]
    wait_until(
        "a refusal counted again", lambda: Caller(source, site.certificate(
            "nobody", name="nobody-again")).append(fact("x")).status == 403)
    refused = source.status()["server"].get("callersRefused", {})
    checks.check(
        "spec 19.103: retries, duplicates and refused callers are counted",
        int(pull["failures"]) >= 2 and int(pull["redelivered"]) >= 10
        and int(refused.get("no_matching_identity", 0)) >= 1, (pull, source_server, refused))
    checks.check(
        "spec 19.101: fill is what is used of the capacity",
        used > 0 and abs(fill - used / capacity) < 1e-6, status)
    lines = []
    for node in (source, receiver):
        # The last line may be written just now.
        for line in node.errors.read_text().splitlines(keepends=True):
            if "fault_point" not in line and line.endswith("\n"):
                lines.append((node.zone, json.loads(line)))
    gate_lines = [line for _, line in lines if line.get("event", "").startswith("gate_")]
    checks.check(
        "spec 19.102: the log is one JSON object a line, with time, level, zone and peer",
        lines and all(
            line.get("zone") == zone and line.get("time") and line.get("level") and line.get("message")
            for zone, line in lines) and gate_lines and all(line.get("peer") for line in gate_lines),
        next(((zone, line) for zone, line in lines if line.get("zone") != zone), gate_lines[:1]))
    settle(source, receiver)
    shown = source.cursor(name)
    receiver.stop()
    source.kill()
    done = subprocess.run(
        [BSFG, "log", "info", "--dir", str(source.data / "store" / STREAM), "-o", "json"],
        capture_output=True, text=True, timeout=60)
    durable = {cursor["name"]: int(cursor["next_offset"]) for cursor in json.loads(done.stdout)["cursors"]}
    checks.equal("spec 19.100: the frontier that is shown is the durable one", durable.get(name), shown)


def torn(checks, site):
    """The end of the last commit is damaged while the node is down, as a torn write leaves it."""
    node = site.node("plant-b")
    node.client("producer-1")
    node.start()
    producer = Caller(node, site.certificate("producer-1", name="torn"))
    for number in range(20):
        assert producer.append(fact(f"fact-{number}", {"text": "x" * 500}, zone="plant-b")).ok
    node.kill()
    producer.close()
    segments = sorted(
        path for path in (node.data / "store" / STREAM).iterdir() if b"x" * 400 in path.read_bytes())
    content = segments[-1].read_bytes()
    last = content.rindex(b"x" * 400)
    with open(segments[-1], "r+b") as file:
        file.seek(last + 100)
        file.write(bytes(len(content) - last - 100))
    node.start()
    kept = [found[0] for found in identifiers(node.peek())]
    wait_until("the line", lambda: events(node, "tail_cut"))
    again = producer.append(fact("fact-20", zone="plant-b"))
    checks.equal(
        "spec 19.112: a torn last record is found and cut, and what was before it stands",
        (kept, int(events(node, "tail_cut")[0]["bytes"]) > 0, again.ok),
        ([f"fact-{number}" for number in range(19)], True, True))
    # A log that rests notes how far it is durable: what does not verify from then on was there.
    time.sleep(3)
    node.kill()
    content = segments[-1].read_bytes()
    place = content.index(b"fact-7")
    with open(segments[-1], "r+b") as file:
        file.seek(place)
        file.write(b"fAct-7")
    node.start()
    wait_until("the line", lambda: events(node, "facts_dropped"))
    told = events(node, "facts_dropped")[0]
    page = node.peek()
    gaps = [entry["gap"]["reasons"] for entry in page if "gap" in entry]
    checks.check(
        "a fact that is damaged while the node is down is lost with an alert, and those around it stand",
        told.get("alert") == "FactsDropped" and told.get("reasons") == "corrupt" and gaps == [["corrupt"]]
        and [found[0] for found in identifiers([entry for entry in page if "gap" not in entry])]
        == [f"fact-{number}" for number in (*range(7), *range(8, 19), 20)], (told, gaps))
    node.stop()


def full_disk(checks, site):
    """The data on a file system of its own, which is filled by somebody else."""
    node = site.node("plant-c")
    node.stream_options = {"segment": "1MiB", "capacity": "64MiB", "free_space_reserve": "1MiB"}
    node.client("producer-1")
    node.data.mkdir(exist_ok=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96m", "tmpfs", str(node.data)], capture_output=True, text=True)
    if mounted.returncode:
        checks.skip("spec 19.114: a full disk is an error", f"no mount here: {mounted.stderr.strip()}")
        return
    try:
        node.start()
        producer = Caller(node, site.certificate("producer-1", name="full"))
        taken, refusal = [], None
        room = os.statvfs(node.data)
        ballast = node.data / "ballast"
        ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - (3 << 20)))
        for number in range(200):
            answer = producer.append(
                fact(f"fact-{number}", {"text": "x" * 100_000}, zone="plant-c"))
            if not answer.ok:
                refusal = answer
                break
            taken.append(f"fact-{number}")
        node.kill()
        ballast.unlink()
        producer.close()
        node.start()
        found = [entry[0] for entry in identifiers(node.peek())]
        checks.check(
            "spec 19.114: a full disk is an error, and every acknowledged fact is there",
            refusal is not None and refusal.reason in (
                "backpressure", "outcome_unknown", "log_poisoned")
            and found[:len(taken)] == taken and len(found) - len(taken) <= 1, (refusal, len(taken)))
        node.stop()
    finally:
        node.kill()
        subprocess.run(["umount", str(node.data)], check=False)


def memory_mib(node, key):
    for line in open(f"/proc/{node.process.pid}/status"):
        if line.startswith(key):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def large_gap(checks, site):
    """Facts of a long absence, several times what the receiver may hold of them."""
    source, receiver = pair(site, "plant-d", "hub")
    for node in (source, receiver):
        node.capacity, node.segment = "1GiB", "16MiB"
    source.start()
    producer = Producer(
        source, site.certificate("producer-1", name="gap"), "gap", size=(20_000, 20_000))
    for _ in range(192):
        producer.append(50)
    receiver.start()
    idle = memory_mib(receiver, "VmRSS")
    settle(source, receiver, seconds=240)
    peak = memory_mib(receiver, "VmHWM")
    size = sum(path.stat().st_size for path in (source.data / "store" / STREAM).iterdir()) >> 20
    checks.check(
        "spec 19.115: a large gap is replayed in bounded memory",
        peak - idle < GROWTH_MIB < size and receiver.head("plant-d") == 9_600,
        f"{size} MiB replayed, idle {idle:.0f} MiB, peak {peak:.0f} MiB")
    print(f"  {size} MiB replayed, idle {idle:.0f} MiB, peak {peak:.0f} MiB", flush=True)


def test(checks):
    with Site() as site:
        with checks.guard("crashes"):
            found = crashes(checks, site)
            with checks.guard("visible"):
                visible(checks, site, *found)
        for name, part in (("torn", torn), ("a full disk", full_disk), ("a large gap", large_gap)):
            with checks.guard(name):
                part(checks, site)


if __name__ == "__main__":
    main(test)

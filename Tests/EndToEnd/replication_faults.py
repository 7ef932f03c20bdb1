#!/usr/bin/env python3
"""What goes wrong between two nodes: a receiver killed between commit and confirm, either side rolled
back by `cp -a`, a clone, a stranger, both directions at once, and kills at random moments.

    BSFG=path replication_faults.py [--seed N]
"""

import argparse
import base64
import os
import random
import shutil
import subprocess
import time

from replication_common import (
    Link, Producer, blocked, compare, consumer_name, settle)
from support import FEDERATION, STREAM, Caller, Site, identifiers, main, wait_until


def pair(site, seed, link=False):
    """A source, its receiver, a producer at the source and perhaps a link between them."""
    source, receiver = site.node("plant-a"), site.node("enterprise")
    source.segment = receiver.segment = "1MiB"
    source.client("producer-1")
    source.grant(receiver)
    between = Link(source.port) if link else None
    receiver.grant(source, streams=(), port=between.port if between else source.port)
    receiver.pull(source)
    producer = Producer(source, site.certificate("producer-1"), "p", seed)
    return source, receiver, producer, between


def copy(source, target):
    """`cp -a`, as an operator or a backup does it."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def hold_behind_a_fetch(source, receiver, producer, link):
    """40 facts at the receiver, whose confirm is held on its way. The fetch that waits at the source is answered; on
    a slow machine it may be held too, not being there yet, and all of it is done again."""
    def is_committed():
        return receiver.head("plant-a") == source.head()

    for _ in range(10):
        link.hold()
        producer.append(40)
        try:
            return wait_until("the page being committed", is_committed, 10)
        except TimeoutError:
            link.release()
            settle(source, receiver)
            time.sleep(1)
    raise TimeoutError("no fetch waited at the source")


def between_commit_and_confirm(checks, seed):
    """Confirms are held on their way; the receiver dies having committed."""
    with Site() as site:
        source, receiver, producer, link = pair(site, seed, link=True)
        source.start()
        receiver.start()
        producer.append(50)
        settle(source, receiver)
        name = consumer_name(receiver, source)
        for cycle in range(5):
            hold_behind_a_fetch(source, receiver, producer, link)
            time.sleep(0.2)
            cursor, head = source.cursor(name), receiver.head("plant-a")
            checks.check(
                f"cycle {cycle}: received and not confirmed", cursor == head - 40,
                f"cursor {cursor}, received {head}")
            receiver.kill()
            link.drop()
            link.release()
            producer.append(10)
            receiver.start()
            settle(source, receiver)
            status = receiver.pull_status("plant-a")
            checks.equal(
                f"cycle {cycle}: only what is new was materialised",
                (int(status.get("materialised", 0)), int(status.get("redelivered", 0))), (10, 0))
        compare(checks, "between commit and confirm", source, receiver, [producer])
        link.close()


def source_rolled_back(checks, seed):
    with Site() as site:
        source, receiver, producer, _ = pair(site, seed)
        source.start()
        receiver.start()
        producer.append(100)
        settle(source, receiver)
        source.stop()
        copy(source.data, site.directory / "backup")
        source.start()
        producer.append(100)
        settle(source, receiver)
        before = identifiers(receiver.peek("plant-a"))
        source.kill()
        copy(site.directory / "backup", source.data)
        source.start()
        status = blocked(receiver, source, "history_mismatch")
        checks.check(
            "spec 19.116: a source copied back is refused and the pull says why",
            "went back" in status["sentence"], status)
        checks.check(
            "the refusal is counted at the source",
            int(source.status()["server"]["errors"].get("history_mismatch", 0)) >= 1)

        other = Producer(source, producer.certificate, "other", seed + 1)
        other.append(50)
        time.sleep(2)
        checks.eventually(
            "while it is shorter", lambda: receiver.pull_status("plant-a")["state"] == "blocked")
        for _ in range(4):
            other.append(50)
        checks.check("it has grown beyond the receiver", source.head() > receiver.head("plant-a"))
        # The next attempts come within ten seconds.
        attempts = int(source.status()["server"]["errors"]["history_mismatch"])
        wait_until(
            "two more attempts", lambda: int(
                source.status()["server"]["errors"]["history_mismatch"]) >= attempts + 2)
        status = blocked(receiver, source, "history_mismatch")
        checks.check(
            "spec 19.116: a source that went back and went on is refused",
            "another one on each side" in status["sentence"], status)
        receiver.stop()
        receiver.start()
        blocked(receiver, source, "history_mismatch")
        checks.equal(
            "nothing of it was materialised, also after a restart",
            identifiers(receiver.peek("plant-a")) == before, True)


def receiver_rolled_back(checks, seed):
    with Site() as site:
        source, receiver, producer, _ = pair(site, seed)
        source.start()
        receiver.start()
        producer.append(60)
        settle(source, receiver)
        receiver.stop()
        copy(receiver.data, site.directory / "backup")
        receiver.start()
        producer.append(60)
        settle(source, receiver)
        name = consumer_name(receiver, source)
        receiver.kill()
        copy(site.directory / "backup", receiver.data)
        receiver.start()
        status = blocked(receiver, source, "history_mismatch")
        checks.check(
            "spec 19.116: a receiver copied back is refused", "receiver went back" in status["sentence"], status)
        checks.equal(
            "and nothing moved", (receiver.head("plant-a"), source.cursor(name)), (60, 120))

        # A receiver that lost its log altogether has a new one, which is somebody else's.
        receiver.kill()
        shutil.rmtree(receiver.data / "forward")
        receiver.start()
        status = blocked(receiver, source, "consumer_bound")
        checks.check("a clone with a new log is refused", status["reason"], status)
        checks.equal(
            "and nothing moved then", (receiver.head("plant-a"), source.cursor(name)), (0, 120))


def strangers(checks, seed):
    with Site() as site:
        source, receiver, producer, _ = pair(site, seed)
        stranger = site.node("plant-x")
        stranger.grant(source, streams=())
        stranger.pull(source)
        source.start()
        producer.append(10)
        stranger.start()
        blocked(stranger, source, "identity_not_authorised")
        checks.equal("a peer that is unknown gets nothing", stranger.head("plant-a"), 0)

        # A peer's calls out of their order, with the receiver's own certificate.
        peer = Caller(source, receiver.certificate)
        name = consumer_name(receiver, source)
        own = {"log_uuid": base64.b64encode(os.urandom(16)).decode(), "epoch": 1}
        log = base64.b64encode(bytes.fromhex(source.stream_status()["logUuid"])).decode()
        position = {"log_uuid": log, "epoch": 1, "offset": 0}
        early = peer.fetch(name, source=position, receiver=own, format_max=1)
        checks.equal("a fetch before the cursor", early.reason, "consumer_not_found")
        early = peer.confirm(name, 5, source={**position, "offset": 6}, receiver=own)
        checks.equal("a confirm before the cursor", early.reason, "consumer_not_found")
        opened = peer.call(FEDERATION + "OpenCursor", {
            "consumer_name": name, "stream": STREAM, "origin_zone": "plant-a",
            "init_mode": "full_backfill", "profile": "standard", "receiver": own})
        checks.check("the cursor is opened", opened.ok and not opened.json.get("existing"), opened)
        skipped = peer.confirm(name, 7, source={**position, "offset": 5}, receiver=own)
        checks.equal("a confirm that is not of the position", skipped.reason, "malformed_request")
        beyond = peer.confirm(name, 10, source={**position, "offset": 11}, receiver=own)
        checks.equal("a confirm beyond the head", beyond.reason, "history_mismatch")
        checks.equal("nothing was confirmed", source.cursor(name), 0)
        again = peer.call(FEDERATION + "OpenCursor", {
            "consumer_name": name, "stream": STREAM, "origin_zone": "plant-a",
            "init_mode": "start_now", "profile": "standard", "receiver": own})
        checks.equal(
            "opening it again answers as the first time",
            (again.json.get("existing"), again.json["start"]["offset"]), (True, "0"))
        # The real receiver is another log by now.
        receiver.start()
        blocked(receiver, source, "consumer_bound")
        checks.equal("a second receiver of one name gets nothing", receiver.head("plant-a"), 0)


def both_directions(checks, seed):
    with Site() as site:
        left, right = site.node("plant-a"), site.node("enterprise")
        producers = []
        for number, (node, other) in enumerate(((left, right), (right, left))):
            node.segment = "1MiB"
            node.client("producer-1")
            node.grant(other)
            node.pull(other)
            producers.append(
                Producer(node, site.certificate("producer-1", name=f"at-{node.zone}"),
                         node.zone, seed + number))
        left.start()
        right.start()
        for producer in producers:
            producer.start()
        time.sleep(4)
        wait_until("facts both ways", lambda: all(len(found.acknowledged) > 50 for found in producers))
        for producer in producers:
            producer.stop()
            producer.flush()
        settle(left, right)
        settle(right, left)
        compare(checks, "both directions, up", left, right, producers[:1])
        compare(checks, "both directions, down", right, left, producers[1:])
        checks.equal("both nodes end well", (left.stop(), right.stop()), (0, 0))


def random_kills(checks, seed, kills=12):
    chance = random.Random(seed)
    with Site() as site:
        source, receiver, producer, link = pair(site, seed, link=True)
        source.start()
        receiver.start()
        producer.start()
        for number in range(kills):
            time.sleep(chance.uniform(0.1, 1.2))
            what = chance.choice(["source", "receiver", "both", "link", "drill"])
            if what == "link":
                link.cut()
                time.sleep(chance.uniform(0.1, 1))
                link.heal()
            elif what == "drill":
                receiver.admin("Redeliver", {"peer": "plant-a", "stream": STREAM, "count": "200"})
            else:
                victims = {"source": [source], "receiver": [receiver]}.get(what, [source, receiver])
                for victim in victims:
                    victim.kill()
                time.sleep(chance.uniform(0, 0.3))
                for victim in victims:
                    victim.start()
            print(f"  {number + 1}: {what}, {len(producer.acknowledged)} acknowledged", flush=True)
        producer.stop()
        producer.flush()
        settle(source, receiver)
        count = compare(checks, "random kills", source, receiver, [producer])
        print(f"  {kills} faults, {count} facts, lost 0, twice 0", flush=True)
        link.close()


def test(checks):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    seed = parser.parse_args().seed
    print(f"seed {seed}", flush=True)
    for part in (
        between_commit_and_confirm, source_rolled_back, receiver_rolled_back, strangers,
        both_directions, random_kills,
    ):
        with checks.guard(part.__name__.replace("_", " ")):
            part(checks, seed)


if __name__ == "__main__":
    main(test)

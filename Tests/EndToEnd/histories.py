#!/usr/bin/env python3
"""Histories that went back: a source or a receiver restored or copied is refused on the next call, accepted
by an operator, and nothing is there twice; confirms by a wrong owner and by a clone are refused.

    BSFG=path histories.py
"""

import json
import os
import shutil
import subprocess

from history_common import accept, append, begin_epoch, bsfg, copy, events, ids, pair
from replication_common import blocked, consumer_name, settle
from support import BSFG, STREAM, Caller, Site, main, wait_until

LOG = f"store/{STREAM}"


def numbered(prefix, numbers):
    return [(f"{prefix}-{number}", number) for number in numbers]


def once(checks, name, receiver, expected):
    """Each id once and nothing else."""
    found = ids(receiver.peek("plant-a"))
    checks.equal(f"{name}: each fact once", sorted(found), sorted(expected))


def source_copied_back(checks):
    """Two histories of the same heartbeats: only ids and times differ."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.start()
        receiver.start()
        append(producer, *[(f"common-{number}", 1) for number in range(40)])
        settle(source, receiver)
        source.stop()
        copy(source.data, site.directory / "backup")
        source.start()
        append(producer, *[(f"lost-{number}", 1) for number in range(30)])
        settle(source, receiver)
        source.kill()
        copy(site.directory / "backup", source.data)
        source.start()
        append(producer, *[(f"new-{number}", 1) for number in range(30)])
        blocked(receiver, source, "history_mismatch")

        def told_apart():
            # Until the source had grown again it was found out by its length.
            return "another one on each side" in receiver.pull_status("plant-a").get("sentence", "")

        checks.check(
            "heartbeats of two histories of one length are told apart",
            wait_until("the digests being looked at", told_apart)
            and source.head() == receiver.head("plant-a"))
        checks.check(
            "at the source there is nothing to accept before the receiver has",
            bsfg(source, "peer", "accept-history", "--peer", "enterprise", "--reason", "drill",
                 ok=False)[0] != 0)
        answer = accept(receiver, source)
        checks.equal(
            "the receiver goes back to where they part, found by digests", answer,
            {"side": "receiver", "from_offset": 70, "to_offset": 40, "found_by": "digests"})
        settle_confirmed(source, receiver)
        once(checks, "a source copied back", receiver,
             [f"common-{number}" for number in range(40)]
             + [f"{kind}-{number}" for kind in ("lost", "new") for number in range(30)])
        wait_until("the line", lambda: events(receiver, "history_accepted"))
        checks.equal(
            "who accepted what, and why, is in the log",
            [(event["by"], event["side"], event["reason"]) for event in events(receiver, "history_accepted")],
            [(f"uid:{os.getuid()}", "receiver", "drill")])
        compared(checks, "a source copied back", receiver, 50)


def compared(checks, what, receiver, count):
    """The last `count` offsets once more: each is the fact that is stored from there."""
    def counts():
        status = receiver.pull_status("plant-a")
        return tuple(int(status.get(name, 0)) for name in ("recognised", "uncompared", "altered"))

    before = counts()
    answer = receiver.admin("Redeliver", {"peer": "plant-a", "stream": STREAM, "count": str(count)})
    wait_until(f"{what}: the second delivery", lambda: sum(counts()) - sum(before) >= count)
    checks.equal(
        f"{what}: what comes again is what is stored",
        (answer.ok, tuple(now - was for now, was in zip(counts(), before))), (True, (count, 0, 0)))


def settle_confirmed(source, receiver):
    """Everything that the source has was received and is confirmed; the receiver may have more."""
    wait_until(
        "the source being confirmed",
        lambda: source.cursor(consumer_name(receiver, source)) == source.head()
        and receiver.pull_status("plant-a")["state"] == "pulling")


def opened(checks, node, peer, name):
    """A restored node starts with its gates closed; the operator opens them."""
    done = subprocess.run(
        [BSFG, "status", "-o", "json", "--socket", str(node.socket)], capture_output=True, text=True,
        timeout=60)
    closures = {gate["peer"]: gate["closure"] for gate in json.loads(done.stdout)["gates"]}
    checks.equal(
        f"{name} starts with its gates closed, and says why",
        {found: closure and closure["reason"] for found, closure in closures.items()},
        {peer.zone: "restored: restored"})
    bsfg(node, "admin", "reconcile", "--peer", peer.zone)


def source_restored(checks):
    """A restored log begins a new epoch: refused at once, whatever its length."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.start()
        receiver.start()
        append(producer, *numbered("a", range(20)))
        settle(source, receiver)
        source.stop()
        copy(source.data, site.directory / "backup")
        source.start()
        append(producer, *numbered("b", range(10)))
        settle(source, receiver)
        source.kill()
        copy(site.directory / "backup", source.data)
        begun = begin_epoch(source.data / LOG)
        checks.equal("the new epoch begins at the head", (begun["epoch"], begun["first_offset"]), (2, 20))
        source.start()
        opened(checks, source, receiver, "a restored source")
        status = blocked(receiver, source, "history_mismatch")
        checks.check("a restored source is refused", "epoch" in status["sentence"], status)
        append(producer, *numbered("c", range(15)))
        answer = accept(receiver, source)
        checks.equal(
            "the fork is where the new epoch began",
            (answer["to_offset"], answer["found_by"]), (20, "digests"))
        settle_confirmed(source, receiver)
        once(checks, "a source restored", receiver,
             [name for name, _ in
              numbered("a", range(20)) + numbered("b", range(10)) + numbered("c", range(15))])
        checks.equal("the log says its epoch", int(source.stream_status()["epoch"]), 2)
        # It goes on as if nothing had been, also over a restart of both.
        source.stop()
        receiver.stop()
        source.start()
        receiver.start()
        append(producer, *numbered("d", range(5)))
        settle_confirmed(source, receiver)
        checks.equal(
            "what follows crosses once", ids(receiver.peek("plant-a"))[-5:],
            [f"d-{number}" for number in range(5)])
        compared(checks, "a source restored", receiver, 25)


def refused_beginning(checks):
    """A new epoch that cannot begin closes no gate."""
    with Site() as site:
        node = site.node("plant-a").start()
        closures = node.data / "gates.json"

        def begin(reason="restored"):
            done = subprocess.run(
                [BSFG, "log", "begin-epoch", "--dir", str(node.data / LOG), "--after-restore", "--reason",
                 reason], capture_output=True, text=True, timeout=60)
            return done.returncode, done.stderr

        code, errors = begin()
        checks.check(
            "begin-epoch: a log that its node has open is refused, and no gate closes",
            code == 4 and errors and not closures.exists(), (code, errors))
        node.stop()
        code, errors = begin("x" * 65)
        checks.check(
            "begin-epoch: a reason that is too long is a wrong command line, and no gate closes",
            code == 2 and "64 bytes" in errors and not closures.exists(), (code, errors))
        code, errors = begin("x" * 64)
        checks.check(
            "begin-epoch: with one that is not, all gates close", code == 0 and closures.exists(),
            (code, errors))


def receiver_back(checks, kind):
    """The receiver is copied back, restored, or wiped."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.start()
        receiver.start()
        append(producer, *numbered("a", range(30)))
        settle(source, receiver)
        receiver.stop()
        copy(receiver.data, site.directory / "backup")
        receiver.start()
        append(producer, *numbered("b", range(20)))
        settle(source, receiver)
        receiver.kill()
        forward = receiver.data / f"forward/{STREAM}/plant-a"
        expected = 30
        if kind == "wiped":
            shutil.rmtree(receiver.data / "forward")
            expected = 0
        else:
            copy(site.directory / "backup", receiver.data)
            if kind == "restored":
                begin_epoch(forward)
        receiver.start()
        if kind == "restored":
            opened(checks, receiver, source, "a restored receiver")
        reason = "consumer_bound" if kind == "wiped" else "history_mismatch"
        status = blocked(receiver, source, reason)
        checks.equal(
            f"{kind}: refused on the next call and nothing moved",
            (receiver.head("plant-a"), source.cursor(consumer_name(receiver, source))),
            (expected, 50))
        answer = accept(source, receiver)
        checks.equal(
            f"{kind}: the source's cursor goes to the receiver's position",
            (answer["side"], answer["from_offset"], answer["to_offset"]), ("source", 50, expected))
        settle(source, receiver)
        once(checks, f"a receiver {kind}", receiver,
             [name for name, _ in numbered("a", range(30)) + numbered("b", range(20))])
        checks.check(f"{kind}: it said why", bool(status["sentence"]))


def receiver_copied_back(checks):
    receiver_back(checks, "copied back")


def receiver_restored(checks):
    receiver_back(checks, "restored")


def receiver_wiped(checks):
    receiver_back(checks, "wiped")


def wrong_readers(checks):
    """A confirm by another identity, and by a clone of the receiver with a log of its own."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.client("reader-1", roles=("consumer",))
        source.client("reader-2", roles=("consumer",))
        source.start()
        receiver.start()
        append(producer, *numbered("a", range(10)))
        settle(source, receiver)
        source.consumer("reader-1", "batch")
        stranger = Caller(source, site.certificate("reader-2"))
        checks.equal("another's consumer", stranger.confirm("batch", 3).reason, "not_the_owner")
        checks.equal(
            "a peer's cursor", stranger.confirm(consumer_name(receiver, source), 3).reason,
            "not_the_owner")
        missing = Caller(source, site.certificate("reader-1", name="again")).fetch("bath")
        checks.check(
            "an unknown name is not found, and the nearest is named",
            missing.reason == "consumer_not_found" and "batch" in missing.text, missing)
        checks.equal("nothing was confirmed", source.cursor("batch"), 0)
        receiver.stop()
        clone = site.node("enterprise", name="clone")
        clone.segment = "1MiB"
        clone.grant(source, streams=())
        clone.pull(source)
        clone.start()
        blocked(clone, source, "consumer_bound")
        append(producer, *numbered("b", range(5)))
        checks.equal(
            "a clone confirms nothing", (clone.head("plant-a"),
                                         source.cursor(consumer_name(receiver, source))), (0, 10))
        clone.stop()
        receiver.start()
        settle(source, receiver)


def replayed(checks):
    """The whole log is delivered twice more, and nothing changes."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.start()
        receiver.start()
        for _ in range(10):
            producer.append(100)
        settle(source, receiver)
        before = receiver.peek("plant-a")
        for number in (1, 2):
            count = source.head()
            answer = receiver.admin(
                "Redeliver", {"peer": "plant-a", "stream": STREAM, "count": str(count)})
            checks.check(f"replay {number} begins at 0", answer.ok, answer)
            wait_until(
                f"replay {number}", lambda: int(
                    receiver.pull_status("plant-a").get("redelivered", 0)) >= number * count)
        checks.equal(
            "spec 19.31: a whole log replayed twice leaves the counts and every byte as they were",
            (receiver.head("plant-a"), receiver.peek("plant-a") == before), (len(before), True))
        compared(checks, "a whole log", receiver, source.head())
        settle(source, receiver)


def test(checks):
    for part in (
        source_copied_back, source_restored, receiver_copied_back, receiver_restored,
        receiver_wiped, refused_beginning, wrong_readers, replayed,
    ):
        with checks.guard(part.__name__.replace("_", " ")):
            part(checks)


if __name__ == "__main__":
    main(test)

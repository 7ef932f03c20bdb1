#!/usr/bin/env python3
"""What can never be materialised: a conflict in mid-page with the receiver killed around the quarantine
write, standard and sil_strict, and every command that decides about it.

    BSFG=path quarantine.py
"""

import base64
import json
import os
import random
import subprocess
import time

from history_common import (
    accept, append, bsfg, bsfg_json, copy, events, ids, pair, start_to_end)
from replication_common import blocked, consumer_name, settle
from support import BSFG, Site, fact, identifiers, main, wait_until


def digest_of(node, identifier):
    """As the node's log of plant-a has it."""
    return next(
        base64.b64decode(entry["contentDigest"]).hex() for entry in node.peek("plant-a")
        if "message" in entry and entry["message"]["envelope"]["messageId"] == identifier)


def conflicting(site, profile=None):
    """A receiver that has an id with one content and a source that offers it with another, in the
    middle of a page: the source was copied back and used the id anew. Its history is refused."""
    source, receiver, producer = pair(site, profile)
    other = {"name": "facts.other", "capacity": "32MiB", "segment": "1MiB"}
    for node in (source, receiver):
        node.other_streams = [other]
    source.peers[0]["streams"].append("facts.other")
    source.clients[0]["streams"].append("facts.other")
    receiver.pull(source, stream="facts.other")
    source.start()
    receiver.start()
    append(producer, ("a", 1), ("b", 1))
    settle(source, receiver)
    source.stop()
    copy(source.data, site.directory / "backup")
    source.start()
    append(producer, ("x", 1))
    settle(source, receiver)
    source.kill()
    copy(site.directory / "backup", source.data)
    source.start()
    append(producer, ("c", 1), ("x", 2), ("d", 1))
    blocked(receiver, source, "history_mismatch")
    return source, receiver, producer


def held(receiver):
    return bsfg_json(receiver, "quarantine", "list")["entries"]


def standard(checks):
    with Site() as site:
        source, receiver, producer = conflicting(site)
        receiver.stop()
        # Ends between the quarantine's write and the page's commit, then behind that commit.
        for step in ("quarantined", "committed"):
            start_to_end(receiver, step)
            if step == "quarantined":
                blocked(receiver, source, "history_mismatch")
                try:
                    accept(receiver, source)
                except RuntimeError:
                    # The node may end at the step before it has told that it accepted.
                    wait_until("the end", lambda: receiver.process.poll() is not None)
            wait_until(f"the end at {step}", lambda: receiver.process.poll() is not None)
            checks.equal(f"killed where it was to be, at {step}", receiver.process.returncode, -9)
            checks.equal(
                f"it said which step, {step}",
                [(line["step"], line["hit"]) for line in events(receiver, "fault_point")][-1:],
                [(step, 1)])
            receiver.process = None
        receiver.start()
        wait_until(
            "the stream going on",
            lambda: source.cursor(consumer_name(receiver, source)) == source.head())
        checks.equal(
            "each fact once, a notice in the place of the conflict",
            ids(receiver.peek("plant-a")), ["a", "b", "x", "c", "quarantined", "d"])
        entries = held(receiver)
        checks.equal(
            "one fact waits, and status says so",
            (len(entries), int(receiver.status()["quarantine"]["count"])), (1, 1))
        entry = entries[0]
        checks.equal(
            "with its reason and both digests",
            (entry["reason"], entry["stored_digest"], entry["offered_digest"],
             entry["stored_offset"]),
            ("conflict", digest_of(receiver, "x"), digest_of(source, "x"), 2))
        checks.equal("its id names the source's offset", entry["id"].split(".")[1:], ["1", "3"])
        notice = next(
            found["quarantined"] for found in receiver.peek("plant-a") if "quarantined" in found)
        checks.equal(
            "the notice says where and why",
            (int(notice["first"]["offset"]), notice["reasons"]), (3, ["conflict"]))
        alerts = events(receiver, "fact_quarantined")
        checks.check(
            "an alert was raised once, before the process ended", [
                (line["alert"], line["id"]) for line in alerts] == [("Quarantine", entry["id"])],
            alerts)
        wait_until("the line", lambda: events(receiver, "quarantine_waits"))
        checks.check(
            "and a node that starts says that something waits",
            {line["count"] for line in events(receiver, "quarantine_waits")} == {"1"})

        # Every way to decide.
        code, error = bsfg(receiver, "quarantine", "retry", entry["id"], ok=False)
        checks.check(
            "a conflict cannot be retried", code == 3 and "export or discard" in error, (code, error))
        code, error = bsfg(
            receiver, "quarantine", "resolve", entry["id"], "--retry", ok=False)
        checks.check("no stream halted for it", code != 0 and "no stream halted" in error, error)
        shown = json.loads(bsfg(receiver, "quarantine", "export", entry["id"]))
        checks.check(
            "the export has what it says and its bytes",
            json.loads(shown["message_json"])["fact"]["object"] == {"value": 2}
            and shown["stored_record_base64"], shown)
        checks.check(
            "show names the ways out",
            "export, discard" in bsfg(receiver, "quarantine", "show", entry["id"]))
        code, error = bsfg(receiver, "quarantine", "discard", entry["id"], ok=False)
        checks.check("a discard needs a reason", code == 2, (code, error))
        receiver.kill()
        receiver.start()
        checks.equal("it is there after another kill", [found["id"] for found in held(receiver)],
                     [entry["id"]])
        bsfg(receiver, "quarantine", "discard", entry["id"], "--reason", "a drill")
        checks.equal("discarded", held(receiver), [])
        decided = wait_until("the line", lambda: events(receiver, "quarantine_decided"))
        checks.check(
            "who decided and why is in the log",
            decided and [decided[-1][key] for key in ("by", "decision", "reason")]
            == [f"uid:{os.getuid()}", "discarded", "a drill"], decided)
        receiver.kill()
        receiver.start()
        checks.equal("also after a kill", held(receiver), [])
        code, error = bsfg(receiver, "quarantine", "show", entry["id"], ok=False)
        checks.check("and shown no more", code != 0 and "nothing waits" in error, error)
        append(producer, ("e", 1))
        wait_until("what follows", lambda: receiver.head("plant-a") == 7)


def strict(checks):
    chance = random.Random(7)
    with Site() as site:
        source, receiver, producer = conflicting(site, profile="sil_strict")
        accept(receiver, source)
        status = blocked(receiver, source, "halted")
        checks.check("the stream halts and says at which offset", "offset 3" in status["sentence"], status)
        name = consumer_name(receiver, source)
        wait_until("confirmed up to there", lambda: source.cursor(name) == 3)
        checks.equal(
            "nothing behind it is there", ids(receiver.peek("plant-a")), ["a", "b", "x", "c"])
        entry = held(receiver)[0]
        checks.equal(
            "the fact waits for a decision", (entry["halting"], entry["reason"]), (True, "conflict"))
        wait_until("the line", lambda: events(receiver, "stream_halted"))
        checks.check(
            "an alert was raised for the halt", events(receiver, "stream_halted")[0]["alert"] == "Quarantine")
        for arguments in (("retry", entry["id"]), ("discard", entry["id"], "--reason", "no")):
            code, error = bsfg(receiver, "quarantine", *arguments, ok=False)
            checks.check(
                f"sil_strict has no {arguments[0]}", code != 0 and "resolve" in error, error)

        # Other streams go on, and it stays halted through kills around the write.
        other(checks, source, receiver, producer)
        for _ in range(6):
            bsfg(receiver, "quarantine", "resolve", entry["id"], "--retry")
            time.sleep(chance.uniform(0, 0.25))
            receiver.kill()
            receiver.start()
            blocked(receiver, source, "halted")
            wait_until("the fact being held", lambda: len(held(receiver)) == 1)
        checks.equal(
            "halted again after each retry, killed at any moment",
            (ids(receiver.peek("plant-a")), source.cursor(name)), (["a", "b", "x", "c"], 3))

        code, error = bsfg(
            receiver, "quarantine", "resolve", entry["id"], "--record-refusal", ok=False)
        checks.check("a refusal needs a reason", code == 2, (code, error))
        bsfg(receiver, "quarantine", "resolve", entry["id"], "--record-refusal", "--reason",
             "two facts of one id, looked at by the shift")
        wait_until("the stream going on", lambda: source.cursor(name) == source.head())
        entries = receiver.peek("plant-a")
        checks.equal(
            "the refusal stands in its place, then the stream goes on", ids(entries),
            ["a", "b", "x", "c", "refused", "d"])
        refused = entries[4]["refused"]
        checks.check(
            "with the bytes as they came", refused["reasons"] == ["conflict"]
            and refused.get("content"), refused)
        checks.equal("nothing waits any more", held(receiver), [])
        receiver.kill()
        receiver.start()
        append(producer, ("e", 1))
        wait_until("what follows after a kill", lambda: source.cursor(name) == source.head())
        source.stop()
        done = subprocess.run(
            [BSFG, "serve", "--config", str(source.root / "config")],
            env={**os.environ, "BSFG_FAULT_POINT": "committed:1"}, capture_output=True, text=True,
            timeout=60)
        checks.check(
            "a node with a sil_strict stream refuses fault points",
            done.returncode != 0 and "BSFG_FAULT_POINT" in done.stderr, done.stderr)


def other(checks, source, receiver, producer):
    caller = producer.caller
    message = fact("other-1", {"value": 1}, zone="plant-a")
    answer = caller.append({**message, "stream": "facts.other"})
    checks.check("another stream takes facts", answer.ok, answer)

    def crossed():
        return any(
            found["stream"] == "facts.other" and found["origin"] == "plant-a"
            and int(found.get("headOffset", 0)) == 1 for found in receiver.status()["streams"])

    checks.check(
        "another stream goes on meanwhile", wait_until("the other stream going on", crossed))


def steps(checks):
    """A node is ended at each named step of a fact's way, at the source or at the receiver, and nothing is
    lost or doubled."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.capacity, receiver.capacity = "16MiB", "256MiB"
        source.stream_options = {"retention": "1s"}
        producer.size = (5_000, 5_000)
        source.start()
        receiver.start()
        producer.append(10)
        settle(source, receiver)
        for step, victim in (
            ("served", source), ("cursor_durable", source), ("truncated", source),
            ("received", receiver), ("committed", receiver), ("confirm_sent", receiver),
        ):
            victim.stop()
            start_to_end(victim, step)
            producer.start(pause=0.2)
            wait_until(f"the end at {step}", lambda: victim.process.poll() is not None)
            checks.equal(
                f"ended at {step}, and said so",
                (victim.process.returncode, events(victim, "fault_point")[-1]["step"]), (-9, step))
            victim.process = None
            victim.start()
            producer.stop()
            producer.flush()
            settle(source, receiver)
        received = [found[0] for found in identifiers(receiver.peek("plant-a"))]
        checks.equal(
            "spec 19.110: every acknowledged fact is there once", sorted(received),
            sorted(producer.acknowledged))
        checks.equal("nothing is in quarantine", held(receiver), [])


def test(checks):
    for part in (standard, strict, steps):
        with checks.guard(part.__name__):
            part(checks)


if __name__ == "__main__":
    main(test)

#!/usr/bin/env python3
"""Flows between real nodes that no other script has: a peer left behind by its max_lag, histories behind a
relay, a batch whose answer was lost and that is retried under backpressure, and a message of a later format.

    BSFG=path flows.py [--only PART]
"""

import argparse
import json
import shutil
import subprocess

from history_common import accept, append, begin_epoch, bsfg, bsfg_json, copy, events, ids, pair
from replication_common import Producer, blocked, consumer_name, settle
from support import BSFG, INGEST, STREAM, Caller, Site, fact, identifiers, main, wait_until

LOG = f"store/{STREAM}"
TEXT = "x" * 100_000


def numbered(prefix, numbers):
    return [(f"{prefix}-{number}", number) for number in numbers]


def gaps(entries):
    return [
        (int(entry["gap"]["first"].get("offset", 0)), int(entry["gap"]["lastOffset"]),
         entry["gap"]["reasons"]) for entry in entries if "gap" in entry]


def gate(node):
    """The inbound gate of a node with one peer. The command's exit status tells of what is blocked."""
    done = subprocess.run(
        [BSFG, "status", "-o", "json", "--socket", str(node.socket)], capture_output=True, text=True,
        timeout=60)
    return json.loads(done.stdout)["gates"][0]["inbound"]


def left_behind(checks):
    """required: false with max_lag: truncation goes on without the peer, and it meets one exact gap."""
    with Site() as site:
        source, steady, gone, far = (
            site.node(zone) for zone in ("plant-a", "enterprise", "cloud", "lake"))
        for node in (source, steady, gone, far):
            node.segment, node.capacity = "1MiB", "64MiB"
        source.capacity = "16MiB"
        source.client("producer-1")
        source.grant(steady)
        source.grant(gone, required=False, max_lag=["4MiB"])
        for node in (steady, gone):
            node.grant(source, streams=())
            node.pull(source)
        # Behind the one that will be away: what it meets is passed on.
        gone.grant(far, origins=["plant-a"])
        far.grant(gone, streams=())
        far.zones = ["plant-a"]
        far.pull(gone, origin="plant-a")
        for node in (source, steady, gone, far):
            node.start()
        producer = Caller(source, site.certificate("producer-1"))
        number = 0

        def more(count):
            nonlocal number
            for _ in range(count):
                answer = producer.append(
                    fact(f"f-{number}", {"text": TEXT, "number": number}))
                assert answer.ok, answer
                number += 1

        more(10)
        settle(source, steady)
        settle(source, gone)
        gone.stop()
        name = consumer_name(gone, source)

        def consumer():
            return next(found for found in source.status()["consumers"] if found["name"] == name)

        # More than the log can hold: without the peer being left behind it would refuse. Room is made beside
        # the appends, and a machine that does it late is given the time.
        for _ in range(30):
            more(10)
            settle(source, steady)
            wait_until("room for the next ones", lambda: int(
                source.stream_status().get("fillBytes", 0)) < 10 << 20)
        checks.check("max_lag: nothing was refused while the peer was gone", number == 310)
        checks.equal("max_lag: the other peer had everything meanwhile", steady.head("plant-a"), 310)
        detached = wait_until("the peer being left behind", lambda: consumer().get("detached"))
        checks.check("max_lag: its cursor says why", bool(detached), detached)
        checks.eventually(
            "max_lag: truncation went on beyond it",
            lambda: int(source.stream_status().get("firstOffset", 0)) > 10)
        gone.start()
        blocked(gone, source, "cursor_detached")
        checks.equal("max_lag: it is not served until somebody says so", gone.head("plant-a"), 10)
        bsfg(source, "consumer", "attach", "--owner", gone.identity, "--name", name,
             "--init", "resume")
        wait_until("the peer having the rest", lambda: source.cursor(name) == 310)
        entries = gone.peek("plant-a")
        found = gaps(entries)
        facts = identifiers([entry for entry in entries if "message" in entry])
        checks.check(
            "max_lag: its return meets one exact gap",
            len(found) == 1 and found[0][0] == 10 and found[0][2] == ["detached"], found)
        first = found[0][1] + 1 if found else 0
        checks.equal(
            "max_lag: every fact around the gap is there once, in order",
            [offset for _, _, offset in facts], [*range(10), *range(first, 310)])
        wait_until(
            "the relayed rest", lambda: far.head("plant-a") == gone.head("plant-a"))
        relayed = [entry["gap"] for entry in far.peek("plant-a") if "gap" in entry]
        checks.equal(
            "max_lag: a relay passes the gap on unchanged", relayed,
            [entry["gap"] for entry in entries if "gap" in entry])
        checks.equal(
            "max_lag: the other peer has no gap", gaps(steady.peek("plant-a")), [])


def behind_a_relay(checks):
    """plant-a - idmz - enterprise: the source restored, then the relay restored, each accepted where state
    has to move, nothing twice at the far end."""
    with Site() as site:
        plant, idmz, enterprise = (site.node(zone) for zone in ("plant-a", "idmz", "enterprise"))
        for node in (plant, idmz, enterprise):
            node.segment, node.capacity = "1MiB", "32MiB"
        plant.client("producer-1")
        plant.grant(idmz)
        idmz.grant(plant, streams=())
        idmz.grant(enterprise, origins=["plant-a"])
        enterprise.grant(idmz, streams=())
        enterprise.zones = ["plant-a"]
        idmz.pull(plant)
        enterprise.pull(idmz, origin="plant-a")
        for node in (plant, idmz, enterprise):
            node.start()
        producer = Producer(plant, site.certificate("producer-1"), "p")

        def far(count):
            wait_until(
                f"{count} facts at the far end", lambda: enterprise.head("plant-a") == count)

        name = f"enterprise/{STREAM}/plant-a"

        def confirmed():
            return (plant.cursor(consumer_name(idmz, plant)) == plant.head()
                    and idmz.cursor(name) == idmz.head("plant-a"))

        append(producer, *numbered("a", range(20)))
        far(20)
        wait_until("everything confirmed", confirmed)

        # The source is restored: the relay accepts, the far end notices nothing.
        plant.stop()
        copy(plant.data, site.directory / "source")
        plant.start()
        append(producer, *numbered("lost", range(10)))
        far(30)
        plant.kill()
        copy(site.directory / "source", plant.data)
        begin_epoch(plant.data / LOG)
        plant.start()
        bsfg(plant, "admin", "reconcile", "--peer", "idmz")
        blocked(idmz, plant, "history_mismatch")
        append(producer, *numbered("b", range(10)))
        answer = accept(idmz, plant)
        checks.equal("relay: it finds the fork at its source", answer["to_offset"], 20)
        far(40)
        wait_until("everything confirmed", confirmed)
        checks.eventually(
            "relay: the far end noticed nothing",
            lambda: enterprise.pull_status("idmz")["state"] == "pulling")

        # The relay is restored: its source moves its cursor, the far end goes back by epochs.
        idmz.stop()
        copy(idmz.data, site.directory / "relay")
        idmz.start()
        append(producer, *numbered("c", range(15)))
        far(55)
        idmz.kill()
        copy(site.directory / "relay", idmz.data)
        for log in (f"forward/{STREAM}/plant-a", LOG):
            begin_epoch(idmz.data / log)
        idmz.start()
        for peer in ("plant-a", "enterprise"):
            bsfg(idmz, "admin", "reconcile", "--peer", peer)
        blocked(enterprise, idmz, "history_mismatch")
        blocked(idmz, plant, "history_mismatch")
        answer = accept(plant, idmz)
        checks.equal(
            "relay: its source goes back to where it stands",
            (answer["side"], answer["to_offset"]), ("source", 30))
        wait_until("the relay having all", lambda: idmz.head("plant-a") == 55)
        answer = bsfg_json(
            enterprise, "peer", "accept-history", "--peer", "idmz", "--origin", "plant-a",
            "--reason", "drill")
        checks.equal(
            "relay: behind it the epochs tell where the histories part",
            (answer["side"], answer["to_offset"], answer["found_by"]), ("receiver", 40, "epochs"))
        append(producer, *numbered("d", range(5)))
        far(60)
        wait_until("everything confirmed", confirmed)
        expected = [name for name, _ in numbered("a", range(20)) + numbered("lost", range(10))
                    + numbered("b", range(10)) + numbered("c", range(15))
                    + numbered("d", range(5))]
        checks.equal(
            "relay: the far end has each fact once, in order", ids(enterprise.peek("plant-a")),
            expected)
        checks.equal("relay: so has the relay", ids(idmz.peek("plant-a")), expected)


def lost_answer(checks):
    """A batch is taken and its answer never arrives; the log fills; the retry gets the first answer."""
    with Site() as site:
        node = site.node("plant-a")
        node.stream_options = {"capacity": "8MiB", "segment": "1MiB"}
        node.client("producer-1")
        # Somebody is granted it and stays away, so that nothing is confirmed.
        reader = site.node("enterprise")
        node.grant(reader)
        node.start()
        producer = Caller(node, site.certificate("producer-1"))

        def batch(numbers):
            # In all not more than a commit of so small a log.
            messages = [
                fact(f"b-{number}", {"text": TEXT[:10_000], "number": number}) for number in numbers]
            return {"stream": STREAM, "facts": [
                {key: message[key] for key in ("envelope", "fact")} for message in messages]}

        lost = Caller(node, producer.certificate)
        connection = lost.connect()
        connection.request(
            "POST", INGEST + "AppendFacts", json.dumps(batch(range(20))).encode(),
            {"content-type": "application/json"})
        wait_until("the batch being durable", lambda: node.head() == 20)
        lost.close()
        refused = None
        number = 1_000
        while refused is None and number < 1_400:
            answer = producer.append(fact(f"filler-{number}", {"text": TEXT}))
            refused = None if answer.ok else answer
            number += 1
        checks.equal("lost answer: the log is full", refused and refused.reason, "backpressure")
        head = node.head()
        answer = producer.call(INGEST + "AppendFacts", batch(range(20)))
        checks.check("lost answer: the retry under backpressure is answered", answer.ok, answer)
        outcomes = (answer.json or {}).get("outcomes", [])
        checks.equal(
            "lost answer: with the offsets of the first time",
            [(int(found["offset"]), found["outcome"]) for found in outcomes],
            [(number, "OUTCOME_EXISTING") for number in range(20)])
        checks.equal("lost answer: and nothing is there twice", node.head(), head)
        changed = producer.call(INGEST + "AppendFacts", batch(range(18, 22)))
        checks.equal(
            "lost answer: one with new facts is refused as a whole, and says what stands",
            (changed.reason, int(changed.detail.get("acceptedCount", 0)),
             int(changed.detail.get("failedCount", 0))), ("backpressure", 2, 2))


def later_format(checks):
    """The source's log has a message of format 2. It is not sent, the stream says why, nothing is held."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.client("reader-1", roles=("consumer",))
        source.start()
        append(producer, *numbered("a", range(5)))
        source.stop()
        # What a later release would have written: a record whose message says format 2.
        directory = site.directory / "log"
        shutil.move(source.data / LOG, directory)
        done = subprocess.run(
            [BSFG, "log", "append", "--dir", str(directory), "--segment", "1MiB", "--capacity",
             "32MiB"], input=b"\x2a\x02\x18\x02\n", capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        shutil.move(directory, source.data / LOG)
        source.start()
        receiver.start()
        status = blocked(receiver, source, "format_unsupported")
        checks.check(
            "format 2: the stream blocks and says what to do",
            "format 2" in status["sentence"] and "upgrade" in status["sentence"], status)
        name = consumer_name(receiver, source)
        wait_until("what is before it being confirmed", lambda: source.cursor(name) == 5)
        checks.equal(
            "format 2: what is before it is here, in order", ids(receiver.peek("plant-a")),
            [f"a-{number}" for number in range(5)])
        checks.equal(
            "format 2: nothing is in quarantine",
            int(receiver.status()["quarantine"].get("count", 0)), 0)
        # One that closed for it would stay so.
        checks.eventually(
            "format 2: no gate closes for it", lambda: gate(receiver)["mode"] != "autonomous")
        source.consumer("reader-1", "reports")
        reader = Caller(source, site.certificate("reader-1"))
        for newest, first, expected in ((1, 5, "format_unsupported"), (2, 5, 1), (1, 0, 5)):
            answer = reader.fetch("reports", from_offset=str(first), format_max=newest)
            found = answer.reason or len((answer.json or {}).get("entries", []))
            checks.equal(
                f"format 2: asked for formats up to {newest} from {first} on", found, expected)
        append(producer, *numbered("b", range(3)))
        receiver.kill()
        receiver.start()
        blocked(receiver, source, "format_unsupported")
        checks.equal(
            "format 2: it stays so over a kill, and nothing behind it comes",
            (receiver.head("plant-a"), events(receiver, "fact_quarantined")), (5, []))


def test(checks):
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="a part, by a part of its name")
    only = parser.parse_args().only
    for part in (left_behind, behind_a_relay, lost_answer, later_format):
        if not only or only in part.__name__:
            with checks.guard(part.__name__.replace("_", " ")):
                part(checks)


if __name__ == "__main__":
    main(test)

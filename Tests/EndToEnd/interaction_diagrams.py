#!/usr/bin/env python3
"""The four interaction diagrams, each as one test of its name: every arrow is a message that is made or seen
here, in the diagram's order, between real nodes.

    BSFG=path interaction_diagrams.py
"""

import base64
import hashlib
import json
import os

from history_common import bsfg, bsfg_json
from replication_common import consumer_name
from support import BOUNDARY, Caller, Site, fact, identifiers, main, wait_until

ARTIFACT = "/bsfg.v1.ArtifactService/"
BUCKET = "batch-files"
RECONCILIATION = [
    "peer_reachable", "cursor_comparison", "backfill_required", "replay_initiated",
    "cursor_advanced"]


class Steps:
    """Checks that carry the diagram's name and the number of the arrow."""

    def __init__(self, checks, title):
        self.checks = checks
        self.title = title
        self.number = 0

    def seen(self, arrow, holds, why=""):
        self.number += 1
        self.checks.check(f"{self.title}: {self.number} {arrow}", holds, why)

    def equal(self, arrow, found, expected):
        self.seen(arrow, found == expected, f"found {found!r}, expected {expected!r}")


def handoff(site, source_zone, receiver_zone):
    """A node that producers append to, one that hands over what it has taken, and a consumer there."""
    source, receiver = site.node(source_zone), site.node(receiver_zone)
    for node in (source, receiver):
        node.segment, node.capacity = "1MiB", "32MiB"
    source.client("producer", roles=("producer",))
    receiver.client("consumer", roles=("consumer",), origins=[source_zone])
    source.grant(receiver)
    receiver.grant(source, streams=())
    receiver.pull(source)
    return source, receiver


def fact_flow(checks, title, source_zone, receiver_zone):
    """Append, handoff, confirm. The receiver's own pull is held while its fetch is made by hand."""
    steps = Steps(checks, title)
    with Site() as site:
        source, receiver = handoff(site, source_zone, receiver_zone)
        source.start()
        receiver.start()
        name = consumer_name(receiver, source)
        wait_until("the cursor", lambda: source.cursor(name) is not None)
        bsfg(receiver, "admin", "partition", "--peer", source_zone, "--reason", "one step at a time")

        producer = Caller(source, site.certificate("producer"))
        answers = [
            producer.append(fact(f"fact-{number}", {"number": number}, zone=source_zone))
            for number in range(5)]
        steps.seen("P->>ER: AppendFact(fact, envelope)", all(answer.ok for answer in answers))
        steps.equal(
            "ER->>ISB: append(payload, metadata)",
            [found[0] for found in identifiers(source.peek())],
            [f"fact-{number}" for number in range(5)])
        steps.equal(
            "ER-->>P: ack {offset:n}",
            [(int(answer.json["offset"]), answer.json["outcome"]) for answer in answers],
            [(number, "OUTCOME_APPENDED") for number in range(5)])
        source.kill()
        source.start()
        steps.equal(
            "ISB-->>ER: offset=n (durable): kill -9 loses none",
            (source.head(), receiver.head(source_zone)), (5, 0))

        peer = Caller(source, receiver.certificate)
        own, theirs = receiver.stream_status(source_zone), source.stream_status()
        page = peer.fetch(
            name, from_offset="0", format_max=1,
            source={"log_uuid": uuid(theirs), "epoch": theirs["epoch"], "offset": "0"},
            receiver={"log_uuid": uuid(own), "epoch": own["epoch"], "offset": "0"})
        steps.seen("IR->>ISB: FetchFacts(consumer, from=n)", page.ok, page)
        steps.equal(
            "ISB-->>IR: batch[n..m]",
            ([int(entry["offset"]) for entry in page.json["entries"]],
             int(page.json["nextOffset"]), source.cursor(name)), (list(range(5)), 5, 0))

        bsfg(receiver, "admin", "reconcile", "--peer", source_zone)

        def handed_over():
            # What is confirmed was received before, at every moment.
            cursor, head = source.cursor(name), receiver.head(source_zone)
            assert cursor <= head, (cursor, head)
            return head == 5

        wait_until("the handoff", handed_over)
        steps.equal(
            "IR->>IFB: putIfAbsent(idempotencyKey, payload)",
            identifiers(receiver.peek(source_zone)), identifiers(source.peek()))
        wait_until("the confirm", lambda: source.cursor(name) == 5)
        before = receiver.pull_status(source_zone)
        bsfg(receiver, "peer", "redeliver", source_zone, "--count", "5")
        wait_until(
            "the second delivery", lambda: int(
                receiver.pull_status(source_zone).get("redelivered", 0)) >= 5)
        steps.equal(
            "IFB-->>IR: Inserted | AlreadyExists",
            (int(before["materialised"]), int(before.get("redelivered", 0)),
             receiver.head(source_zone)), (5, 0, 5))
        steps.equal("IR->>ISB: ConfirmReceipt(consumer, m)", source.cursor(name), 5)

        receiver.consumer("consumer", "reports", origin=source_zone)
        reader = Caller(receiver, site.certificate("consumer"))
        page = reader.fetch("reports")
        steps.seen("C->>IFB: FetchFacts(local consumer)", page.ok, page)
        steps.equal(
            "IFB-->>C: fact batch",
            [json.loads(entry["message"]["fact"]["objectJson"])["number"]
             for entry in page.json["entries"]], list(range(5)))


def uuid(status):
    return base64.b64encode(bytes.fromhex(status["logUuid"])).decode()


def ingress(checks):
    fact_flow(checks, "Ingress Fact Flow (Append -> Handoff -> Confirm)", "plant-a", "enterprise")


def egress(checks):
    fact_flow(checks, "Egress Fact Flow (Reverse Direction)", "enterprise", "plant-a")


def partition(checks):
    steps = Steps(checks, "Partition + Reconciliation")
    with Site() as site:
        source, receiver = handoff(site, "plant-a", "enterprise")
        source.start()
        receiver.start()
        name = consumer_name(receiver, source)
        producer = Caller(source, site.certificate("producer"))

        def append(numbers):
            answers = [producer.append(fact(f"fact-{number}")) for number in numbers]
            assert all(answer.ok for answer in answers), answers

        def gate():
            return bsfg_json(receiver, "status")["gates"][0]["inbound"]

        append(range(10))
        wait_until("the first facts", lambda: source.cursor(name) == 10)
        wait_until("normal mode", lambda: gate()["mode"] == "normal")
        bsfg(receiver, "admin", "partition", "--peer", "plant-a", "--reason", "the diagram")
        steps.equal("Note over ISB,IFB: Partition (gate closed)", gate()["mode"], "autonomous")
        append(range(10, 40))
        source.kill()
        source.start()
        steps.equal("ISB->>ISB: continue appends (durable)", source.head(), 40)
        steps.equal(
            "CT-->>CT: frontier frozen", (source.cursor(name), receiver.head("plant-a")), (10, 10))

        length = len(receiver.errors.read_text().splitlines())
        bsfg(receiver, "admin", "reconcile", "--peer", "plant-a")
        wait_until("everything confirmed", lambda: source.cursor(name) == 40)
        wait_until("normal mode again", lambda: gate()["mode"] == "normal")

        def told_lines():
            return [json.loads(line) for line in receiver.errors.read_text().splitlines()[length:]
                    if line.startswith("{") and line.endswith("}")]

        # The lines come a moment after what they tell of.
        lines = wait_until("the last line", lambda: (
            lambda found: found if any(
                line.get("event") == "gate_normal" and line.get("direction") == "inbound"
                for line in found) else None)(told_lines()))
        told = {line["event"]: line for line in lines
                if line.get("event") in RECONCILIATION and line.get("direction") == "inbound"}
        order = [line["event"] for line in lines if line.get("direction") == "inbound"
                 and line.get("event") in [*RECONCILIATION, "gate_normal"]]
        steps.equal(
            "Note over ISB,IFB: Reconnect (gate opening)", order[:2],
            ["peer_reachable", "cursor_comparison"])
        steps.equal(
            "CT->>ISB: read frontier+1",
            (told["replay_initiated"]["from"], order[3]), ("10", "replay_initiated"))
        steps.equal(
            "ISB-->>IFB: replay backlog", identifiers(receiver.peek("plant-a")),
            identifiers(source.peek()))
        bsfg(receiver, "peer", "redeliver", "plant-a", "--count", "40")
        wait_until(
            "the replay being recognised", lambda: int(
                receiver.pull_status("plant-a").get("redelivered", 0)) >= 40)
        steps.equal("IFB-->>ISB: dedupe outcomes", receiver.head("plant-a"), 40)
        steps.equal(
            "ISB->>CT: advance contiguous frontier", (source.cursor(name), order[4]),
            (40, "cursor_advanced"))
        steps.equal("Note over ISB,IFB: normal mode restored", order[5:], ["gate_normal"])


def artifact(checks):
    steps = Steps(checks, "Artifact Exchange (Out-of-Band)")
    with Site() as site:
        node = site.node("plant-a")
        node.client("producer", roles=("producer",))
        node.client("consumer", roles=("consumer",))
        for client in node.clients:
            client["artifacts"] = [BUCKET]
        node.stream_options = {"artifact_references": "required"}
        node.start()
        producer = Caller(node, site.certificate("producer"))
        consumer = Caller(node, site.certificate("consumer"))
        blob = os.urandom(100_000)
        digest = "sha256:" + hashlib.sha256(blob).hexdigest()
        early = consumer.call(ARTIFACT + "GetObject", {"bucket": BUCKET, "key": "lot-7"})
        assert early.reason == "artifact_not_found", early

        put = producer.call(BOUNDARY + "PutObject", {
            "bucket": BUCKET, "key": "lot-7", "blob": base64.b64encode(blob).decode(),
            "media_type": "application/pdf"})
        steps.seen("P->>RPC: PutObject(blob)", put.ok, put)
        files = [path for path in (node.data / "artifacts" / "blobs").rglob("*") if path.is_file()]
        steps.equal(
            "RPC->>OS: store(blob)", [path.read_bytes() == blob for path in files], [True])
        steps.equal(
            "OS-->>RPC: digest,size,key",
            (put.json["digest"], int(put.json["size"]), put.json["key"]),
            (digest, len(blob), "lot-7"))
        reference = {
            "zone": put.json["zone"], "bucket": put.json["bucket"], "key": put.json["key"],
            "digest": put.json["digest"], "size": put.json["size"], "media_type": "application/pdf"}
        steps.equal("RPC-->>P: object_ref", (reference["zone"], reference["bucket"]),
                    ("plant-a", BUCKET))
        node.kill()
        node.start()
        message = fact("lot-7")
        message["fact"]["artifacts"] = [reference]
        appended = producer_again(site, node).append(message)
        steps.seen("P->>RPC: AppendFact(..., object_ref)", appended.ok, appended)
        node.consumer("consumer", "reports")
        consumer = Caller(node, site.certificate("consumer", name="consumer-again"))
        page = consumer.fetch("reports")
        found = page.json["entries"][0]["message"]["fact"]["artifacts"]
        steps.equal(
            "RPC-->>C: fact with object_ref",
            [(one["zone"], one["bucket"], one["key"], one["digest"], int(one["size"]))
             for one in found], [("plant-a", BUCKET, "lot-7", digest, len(blob))])
        asked = {name: found[0][name] for name in ("zone", "bucket", "key", "digest")}
        got = consumer.call(ARTIFACT + "GetObject", asked)
        steps.seen("C->>RPC: GetObject(object_ref)", got.ok, got)
        steps.equal(
            "RPC->>OS: fetch(key)", (got.json["reference"]["key"], got.json["reference"]["digest"]),
            ("lot-7", digest))
        content = base64.b64decode(got.json["blob"])
        steps.equal(
            "OS-->>RPC: blob", "sha256:" + hashlib.sha256(content).hexdigest(), digest)
        steps.seen("RPC-->>C: blob", content == blob)


def producer_again(site, node):
    return Caller(node, site.certificate("producer", name="producer-again"))


def test(checks):
    for part in (ingress, egress, partition, artifact):
        with checks.guard(part.__name__):
            part(checks)


if __name__ == "__main__":
    main(test)

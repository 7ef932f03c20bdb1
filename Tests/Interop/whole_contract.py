"""Every procedure of the public contract, called once by a generated client: a fact with its artifact, a batch, and
what two nodes say to each other. Messages are proto3 JSON here; each client makes its own of them."""

import base64
import hashlib
import json
import os
import re

from contract import PROTO
from support import STREAM, fact

BUCKET = "batch-files"


def procedures():
    """Service and method of each `rpc` in docs/api/bsfg.proto."""
    found, service = [], None
    for line in PROTO.read_text().splitlines():
        service = (re.match(r"service (\w+)", line) or [None, service])[1]
        found += [(service, method) for method in re.findall(r"\brpc (\w+)\(", line)]
    if len(found) < 10:
        raise ValueError(f"bsfg.proto has only {len(found)} procedures that are understood")
    return found


def prepare(node, peer, identity):
    """What the walk needs, before the node starts: a client with a bucket, and a peer that may take the stream."""
    node.client(identity)
    node.clients[-1]["artifacts"] = [BUCKET]
    node.grant(peer, artifacts=[BUCKET])


def number(message, name):
    """A field of 64 bits, which JSON has as text and leaves out where it is zero."""
    return int(message.get(name, 0))


def walk(checks, name, node, peer, identity, call):
    """`call(identity, service, method, message)` makes a call by the generated client with that identity's certificate,
    and returns the answer; `name` is the client's."""
    made = set()
    services = {method: service for service, method in procedures()}

    def ask(caller, method, **message):
        made.add(method)
        return call(caller, services[method], method, message)

    mark = name.replace(" ", "-")
    blob = os.urandom(3_000)
    digest = "sha256:" + hashlib.sha256(blob).hexdigest()
    put = ask(
        identity, "PutObject", bucket=BUCKET, key=f"{mark}.pdf", blob=base64.b64encode(blob).decode(),
        media_type="application/pdf", digest=digest)
    checks.equal(
        f"{name}: PutObject", (put["zone"], put["key"], put["digest"], number(put, "size")),
        (node.zone, f"{mark}.pdf", digest, len(blob)))
    got = ask(identity, "GetObject", zone=node.zone, bucket=BUCKET, key=f"{mark}.pdf")
    checks.equal(
        f"{name}: GetObject", (base64.b64decode(got["blob"]), got["reference"]["mediaType"]), (blob, "application/pdf"))

    message = fact(f"{mark}-fact")
    message["fact"]["artifacts"] = [
        {"zone": node.zone, "bucket": BUCKET, "key": f"{mark}.pdf", "digest": digest, "size": str(len(blob)),
         "media_type": "application/pdf"}]
    appended = ask(identity, "AppendFact", **message)
    checks.equal(f"{name}: AppendFact with the artifact", appended["outcome"], "OUTCOME_APPENDED")
    following = fact(f"{mark}-batch")
    batch = ask(
        identity, "AppendFacts", stream=STREAM,
        facts=[{"envelope": following["envelope"], "fact": following["fact"]},
               {"envelope": message["envelope"], "fact": message["fact"]}])
    checks.equal(
        f"{name}: AppendFacts", [each["outcome"] for each in batch["outcomes"]],
        ["OUTCOME_APPENDED", "OUTCOME_EXISTING"])

    # As another node, from here on.
    hello = ask(peer.zone, "Hello", zone=peer.zone, release="interop", format_max=1)
    checks.equal(
        f"{name}: Hello", (hello["zone"], hello["callerIdentity"], hello["callerPeerId"]),
        (node.zone, peer.identity, peer.zone))
    [listed] = ask(peer.zone, "ListStreams")["streams"]
    checks.equal(
        f"{name}: ListStreams", (listed["stream"], listed["originZone"], number(listed["head"], "offset")),
        (STREAM, node.zone, node.head()))
    consumer = f"{peer.zone}/{STREAM}/{node.zone}"
    # The node that this client would be keeps its log over all its calls.
    receiver = {"log_uuid": base64.b64encode(hashlib.sha256(peer.zone.encode()).digest()[:16]).decode(), "epoch": "1"}
    opened = ask(
        peer.zone, "OpenCursor", consumer_name=consumer, stream=STREAM, origin_zone=node.zone,
        init_mode="full_backfill", receiver=receiver, profile="standard")
    checks.equal(f"{name}: OpenCursor", number(opened, "headOffset"), node.head())
    source, found = opened["start"], {}
    while number(source, "offset") < node.head():
        page = ask(
            peer.zone, "FetchFacts", consumer_name=consumer, source=source, receiver=receiver, format_max=1)
        found |= {entry["message"]["envelope"]["messageId"]: entry["message"]["fact"] for entry in page["entries"]}
        # A digest of the record before it is compared where there is one; this client keeps no log to have it from.
        source = {**{key: source[key] for key in ("logUuid", "epoch")}, "offset": page["nextOffset"]}
        confirmed = ask(
            peer.zone, "ConfirmReceipt", consumer_name=consumer, offset=page["entries"][-1].get("offset", "0"),
            source=source, receiver=receiver)
    entry = found.get(f"{mark}-fact", {})
    checks.equal(
        f"{name}: FetchFacts as a peer", (entry.get("artifacts", [{}])[0].get("digest"), entry.get("objectJson")),
        (digest, json.dumps(message["fact"]["object"], separators=(",", ":"))))
    checks.equal(f"{name}: ConfirmReceipt as a peer", number(confirmed, "nextOffset"), node.head())
    checks.equal(
        f"{name}: the node knows of it", node.cursor(consumer), node.head())
    checks.equal(
        f"{name}: NotifyAvailable",
        ask(peer.zone, "NotifyAvailable", stream=STREAM, origin_zone=peer.zone, head_offset="1"), {})
    checks.equal(
        f"gateway decision 27: {name} calls every procedure", sorted(set(services) - made), [])

#!/usr/bin/env python3
"""Requirements 60 to 68 of the specification, files beside facts. A check is named by the requirement that it is
about (docs/conformance.md).

    BSFG=path conformance_artifacts.py
"""

import base64
import hashlib
import http.client
import json
import os
import subprocess

from history_common import events
from support import BOUNDARY, BSFG, Caller, Node, Site, fact, main, wait_until

BUCKET, PRIVATE = "batch-files", "recipe-files"
GET_OBJECT = "/bsfg.v1.ArtifactService/GetObject"


class ArtifactNode(Node):
    """A node with settings of its artifact store."""

    artifacts = None

    def write(self):
        super().write()
        if self.artifacts:
            path = self.root / "config" / "bsfg.yaml"
            content = json.loads(path.read_text())
            content["artifacts"] = self.artifacts
            path.write_text(json.dumps(content))


def make(site, zone, name=None, **artifacts):
    node = ArtifactNode(site, zone, name=name)
    node.artifacts = artifacts
    site.nodes.append(node)
    return node


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def put(caller, key, content, bucket=BUCKET):
    return caller.call(BOUNDARY + "PutObject", {
        "bucket": bucket, "key": key, "blob": base64.b64encode(content).decode()})


def get(caller, key, zone="plant-a", bucket=BUCKET):
    return caller.call(GET_OBJECT, {"zone": zone, "bucket": bucket, "key": key})


def blob(answer):
    return base64.b64decode((answer.json or {}).get("blob", "")) if answer.ok else answer.reason


def referring(identifier, key, content, bucket=BUCKET, **fields):
    message = fact(identifier)
    message["fact"]["artifacts"] = [{
        "zone": "plant-a", "bucket": bucket, "key": key, "digest": digest(content),
        "size": str(len(content)), "media_type": "application/octet-stream", **fields}]
    return message


def storing(checks, node, caller):
    content = os.urandom(5_000)
    answer = put(caller, "whole", content)
    node.kill()
    caller.close()
    node.start()
    checks.equal(
        "spec 19.60: PutObject answers digest and size, and after kill -9 the bytes are there",
        (answer.json.get("digest"), int(answer.json.get("size", 0)), blob(get(caller, "whole"))),
        (digest(content), len(content), content))
    wrong = os.urandom(10)
    checks.equal(
        "spec 19.61: with the policy on a fact is refused while its artifact is absent or another",
        [caller.append(referring("absent", "nothing", content)).reason,
         caller.append(referring("another", "whole", wrong)).reason,
         caller.append(referring("present", "whole", content)).ok],
        ["artifact_not_found", "digest_mismatch", True])
    checks.equal(
        "spec 19.62: what a fact refers to is not overwritten",
        (put(caller, "whole", wrong).reason, put(caller, "whole", content).ok,
         blob(get(caller, "whole"))), ("artifact_exists", True, content))
    checks.equal(
        "spec 19.63: nor deleted through the API",
        ([caller.call(BOUNDARY + "DeleteObject", {"bucket": BUCKET, "key": "whole"}).status,
          caller.request("DELETE", f"/v1/artifacts/plant-a/{BUCKET}/whole").status],
         blob(get(caller, "whole"))), ([404, 405], content))


def sweeping(checks, site):
    """The sweep comes by every second, and everything is soon old enough for it. A node that was never restarted:
    where the machine's clock is not synchronised, nothing is old after a restart."""
    node = make(
        site, "plant-a", name="sweeping", artifact_retention="1s", upload_grace="5s", sweep_interval="1s")
    node.client("mes")
    node.clients[-1]["artifacts"] = [BUCKET]
    node.start()
    caller = Caller(node, site.certificate("mes", name="sweeping"))
    kept, orphan = os.urandom(3_000), os.urandom(3_000)
    put(caller, "kept", kept)
    assert caller.append(referring("keeps", "kept", kept)).ok
    put(caller, "orphan", orphan)
    checks.eventually(
        "spec 19.64: an upload that no fact refers to is found by the sweep",
        lambda: get(caller, "orphan").reason == "artifact_not_found")
    checks.eventually(
        "spec 19.64: an upload that no fact refers to is reclaimed",
        lambda: not [path.name for path in (node.data / "artifacts").rglob("*")
                     if digest(orphan).split(":")[1] in path.name])
    caller.close()
    checks.equal(
        "spec 19.63: what a retained fact refers to stays, however old", blob(get(caller, "kept")), kept)
    node.stop()


def crossing(checks, site, node, caller):
    receiver = make(site, "enterprise")
    receiver.client("reader-1", roles=["consumer"], origins=["plant-a"])
    receiver.clients[-1]["artifacts"] = [BUCKET, PRIVATE]
    receiver.grant(node, streams=())
    receiver.pull(node)
    node.grant(receiver, artifacts=[BUCKET])
    node.stream_options = {}
    node.stop()
    caller.close()
    node.start()
    receiver.start()
    reader = Caller(receiver, site.certificate("reader-1"))
    late, private = os.urandom(2_000), os.urandom(2_000)
    put(caller, "private", private, PRIVATE)
    assert caller.append(referring("late", "late", late)).ok
    assert caller.append(referring("private", "private", private, PRIVATE)).ok
    wait_until("the facts", lambda: receiver.head("plant-a") == node.head())
    wait_until("an alert", lambda: events(receiver, "artifact_missing"))

    def listed(key):
        found = receiver.admin("ListArtifacts", {"pending": True}).json.get("artifacts", [])
        return next((each for each in found if each["key"] == key), {})

    wait_until("a second attempt", lambda: int(listed("late").get("failures", 0)) >= 2)
    absent = get(Caller(node, caller.certificate), "late")
    checks.equal(
        "spec 19.66: a missing object is not found, tried again with pauses that grow, and an alert",
        (absent.status, absent.reason, get(reader, "late").reason,
         events(receiver, "artifact_missing")[0].get("alert")),
        (404, "artifact_not_found", "artifact_pending", "ArtifactMissing"))
    put(caller, "late", late)
    wait_until("the artifact crossing", lambda: get(reader, "late").ok)
    checks.equal("spec 19.66: and it is fetched once it is there", blob(get(reader, "late")), late)
    direct = get(Caller(node, receiver.certificate), "private", bucket=PRIVATE)
    granted = get(Caller(node, receiver.certificate), "late")
    checks.equal(
        "spec 19.67: a peer reads the kinds of artifacts that it was granted, and no others",
        (blob(granted), direct.reason, get(reader, "private", bucket=PRIVATE).ok),
        (late, "bucket_not_granted", False))


def damage(checks, site, node, caller):
    """Bytes that changed on the disk."""
    content = os.urandom(4_000)
    put(caller, "damaged", content)
    assert caller.append(referring("damaged", "damaged", content)).ok
    path = next(
        path for path in (node.data / "artifacts").rglob("*")
        if path.is_file() and path.read_bytes() == content)
    path.chmod(0o600)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    served = get(caller, "damaged")
    try:
        streamed = caller.request("GET", f"/v1/artifacts/plant-a/{BUCKET}/damaged").status
    except (OSError, http.client.HTTPException):
        streamed = "cut"
    fetched = subprocess.run(
        [BSFG, "artifact", "fetch", f"plant-a/{BUCKET}/damaged", "--out",
         str(site.directory / "fetched"), "--config", str(node.root)], capture_output=True, text=True)
    checks.check(
        "spec 19.65: bytes that are not their digest's are an error in every way to read them",
        served.reason == "internal" and streamed == "cut" and fetched.returncode != 0
        and not (site.directory / "fetched").exists(), (served, streamed, fetched))
    wait_until("the line", lambda: events(node, "artifact_damaged"))
    checks.equal(
        "spec 19.65: and an alert at the node",
        {line.get("alert") for line in events(node, "artifact_damaged")}, {"DigestMismatch"})


def sizes(checks, caller):
    large = fact("large", {"text": "x" * (1 << 20)})
    small = fact("small", {"text": "x" * ((1 << 20) - 100)})
    checks.equal(
        "spec 19.68: an object above the stream's limit is refused, one below it taken",
        (caller.append(large).reason, caller.append(small).ok), ("too_large", True))


def test(checks):
    with Site() as site:
        node = make(site, "plant-a", artifact_retention="1s", upload_grace="1h")
        node.stream_options = {"artifact_references": "required"}
        node.client("mes")
        node.clients[-1]["artifacts"] = [BUCKET, PRIVATE]
        node.start()
        caller = Caller(node, site.certificate("mes"))
        for name, part in (
            ("storing", lambda: storing(checks, node, caller)),
            ("sweeping", lambda: sweeping(checks, site)),
            ("sizes", lambda: sizes(checks, caller)),
            ("crossing", lambda: crossing(checks, site, node, caller)),
            ("damage", lambda: damage(checks, site, node, caller)),
        ):
            with checks.guard(name):
                part()


if __name__ == "__main__":
    main(test)

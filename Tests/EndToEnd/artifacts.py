#!/usr/bin/env python3
"""Artifacts through real nodes: put and read with curl over both HTTP versions, what breaks an upload,
two puts of one name, names that try to leave the store, a relay after its source forgot, and large files
in constant memory with a reader that stalls.

    BSFG=path artifacts.py [--size-mib N | --size-gib N]
"""

import argparse
import base64
import concurrent.futures
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from support import (
    BSFG, PATIENCE, STREAM, BOUNDARY, Caller, Node, Site, fact, main, wait_until)

BUCKET = "batch-files"
MIB = 1 << 20
# Above what the process has when it idles.
MEMORY_MIB = 32


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--size-mib", type=int, default=512)
    parser.add_argument("--size-gib", type=int)
    parser.add_argument("--only", help="parts to run, by a part of their name")
    return parser.parse_args()


OPTIONS = arguments()
SIZE = OPTIONS.size_gib * 1024 * MIB if OPTIONS.size_gib else OPTIONS.size_mib * MIB


def size():
    """Of the large file: what was asked for, or less where temporary files have no room for it and its copies."""
    room = shutil.disk_usage(tempfile.gettempdir()).free
    found = SIZE
    while found > 64 * MIB and 4 * found > room:
        found //= 2
    return found


class ArtifactNode(Node):
    """A node with settings of its artifact store."""

    artifacts = None
    references = None

    def write(self):
        if self.references:
            self.stream_options["artifact_references"] = self.references
        super().write()
        if self.artifacts is not None:
            path = self.root / "config" / "bsfg.yaml"
            content = json.loads(path.read_text())
            content["artifacts"] = self.artifacts
            path.write_text(json.dumps(content, indent=2) + "\n")


def node(site, zone, **settings):
    made = ArtifactNode(site, zone)
    site.nodes.append(made)
    for name, value in settings.items():
        setattr(made, name, value)
    return made


def user(node, identity, roles=("producer", "consumer"), buckets=(BUCKET,), origins=None):
    node.client(identity, roles=roles, origins=origins)
    node.clients[-1]["artifacts"] = list(buckets)


def url(node, path):
    return f"https://127.0.0.1:{node.port}/v1/artifacts{path}"


def curl(node, certificate, *more, version="--http1.1", **options):
    return subprocess.run(
        ["curl", "-sS", version, "--path-as-is", "--cacert", str(node.site.authority),
         "--cert", f"{certificate}.crt", "--key", f"{certificate}.key", *map(str, more)],
        capture_output=True, timeout=options.pop("timeout", 600), **options)


def status_of(node, certificate, *more, **options):
    """(HTTP status, body) of one call."""
    done = curl(node, certificate, "-w", "\n%{http_code}", *more, **options)
    body, _, code = done.stdout.rpartition(b"\n")
    return int(code or 0), body


def put(node, certificate, key, path, *more, **options):
    return status_of(
        node, certificate, "-T", path, *more, url(node, f"/{node.zone}/{BUCKET}/{key}"), **options)


def get(node, certificate, key, *more, zone=None, **options):
    return status_of(
        node, certificate, *more, url(node, f"/{zone or node.zone}/{BUCKET}/{key}"), **options)


def reason(body):
    try:
        return json.loads(body)["details"][0]["debug"]["reason"]
    except (ValueError, KeyError, IndexError):
        return None


def field(content):
    return "Repr-Digest: sha-256=:" + base64.b64encode(hashlib.sha256(content).digest()).decode() + ":"


def files(node, directory):
    root = node.data / "artifacts" / directory
    return sorted(path.name for path in root.rglob("*") if path.is_file()) if root.exists() else []


def reference(zone, key, content):
    return {"zone": zone, "bucket": BUCKET, "key": key, "size": len(content),
            "digest": "sha256:" + hashlib.sha256(content).hexdigest(),
            "mediaType": "application/octet-stream"}


def referring(identifier, references, zone):
    message = fact(identifier, {"about": identifier}, zone=zone)
    message["fact"]["artifacts"] = references
    return message


def memory_kib(process, name):
    for line in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    raise KeyError(name)


def both_versions(checks, site):
    plant = node(site, "plant-a")
    user(plant, "mes")
    user(plant, "reader", roles=("consumer",))
    user(plant, "stranger", buckets=())
    plant.start()
    mes, reader, stranger = (site.certificate(name) for name in ("mes", "reader", "stranger"))
    content = os.urandom(3 * MIB + 17)
    path = site.directory / "content"
    path.write_bytes(content)
    empty = site.directory / "empty"
    empty.write_bytes(b"")
    tag = f'"sha256:{hashlib.sha256(content).hexdigest()}"'
    for version in ("--http1.1", "--http2"):
        with checks.guard(version):
            key = f"2025/001/{version[2:]}.bin"
            code, body = put(plant, mes, key, path, "-H", field(content), version=version)
            checks.equal(f"{version} put", code, 201)
            checks.equal(f"{version} the answer is the reference",
                         json.loads(body).get("digest"), tag.strip('"'))
            checks.equal(f"{version} the same again",
                         put(plant, mes, key, path, version=version)[0], 200)
            code, body = get(plant, reader, key, version=version)
            checks.check(f"{version} read", code == 200 and body == content, code)
            code, body = get(plant, reader, key, "-r", "1048576-2097151", version=version)
            checks.check(f"{version} a range", code == 206 and body == content[MIB:2 * MIB], code)
            code, body = get(plant, reader, key, "-r", f"-{MIB}", version=version)
            checks.check(f"{version} the end", code == 206 and body == content[-MIB:], code)
            checks.equal(f"{version} a range beyond the end",
                         get(plant, reader, key, "-r", "99999999-", version=version)[0], 416)
            checks.equal(f"{version} known already",
                         get(plant, reader, key, "-H", f"If-None-Match: {tag}", version=version)[0],
                         304)
            head = curl(plant, reader, "-I", url(plant, f"/plant-a/{BUCKET}/{key}"),
                        version=version).stdout.decode().lower()
            checks.check(f"{version} HEAD tells tag and length",
                         f"content-length: {len(content)}" in head and tag in head, head)
            code, body = status_of(
                plant, reader, url(plant, f"?uri=artifact://plant-a/{BUCKET}/{key}"), version=version)
            checks.check(f"{version} by URI", code == 200 and body == content, code)
            code, body = status_of(
                plant, reader, url(plant, f"?uri=s3://plant-a-bsfg-artifacts/{BUCKET}/{key}"),
                version=version)
            checks.check(f"{version} by the runbook's URI", code == 200 and body == content, code)
            code, body = put(plant, reader, "other", path, version=version)
            checks.equal(f"{version} a consumer puts nothing", reason(body),
                         "identity_not_authorised")
            code, body = get(plant, stranger, key, version=version)
            checks.equal(f"{version} the bucket is not granted", (code, reason(body)),
                         (403, "bucket_not_granted"))
            code, body = get(plant, reader, "nothing", version=version)
            checks.equal(f"{version} not there", (code, reason(body)), (404, "artifact_not_found"))
            code, body = status_of(
                plant, mes, "-T", "-", url(plant, f"/plant-a/{BUCKET}/chunked"), version=version,
                input=b"abc")
            checks.equal(f"{version} without a length", (code, reason(body)),
                         (411, "length_required"))
            checks.equal(
                f"{version} an empty one",
                (put(plant, mes, f"empty-{version}", empty, version=version)[0],
                 get(plant, reader, f"empty-{version}", version=version)), (201, (200, b"")))
    caller = Caller(plant, mes)
    blob = os.urandom(1000)
    answer = caller.call(
        BOUNDARY + "PutObject",
        {"bucket": BUCKET, "key": "unary", "blob": base64.b64encode(blob).decode(),
         "mediaType": "application/pdf"})
    checks.equal("PutObject", (answer.status, (answer.json or {}).get("zone")), (200, "plant-a"))
    answer = caller.call(
        "/bsfg.v1.ArtifactService/GetObject", {"bucket": BUCKET, "key": "unary"})
    checks.check(
        "GetObject", answer.ok and base64.b64decode(answer.json["blob"]) == blob
        and answer.json["reference"]["mediaType"] == "application/pdf", answer)
    answer = caller.call(
        "/bsfg.v1.ArtifactService/GetObject",
        {"digest": "sha256:" + hashlib.sha256(blob).hexdigest()})
    checks.check("GetObject by digest", answer.ok and answer.json["reference"]["key"] == "unary", answer)
    checks.equal("each content is one blob", len(files(plant, "blobs")), 3)
    checks.equal("a normal end", plant.stop(), 0)
    plant.start()
    code, body = get(plant, reader, "unary")
    checks.check("there after a restart", code == 200 and body == blob, code)
    plant.stop()


def broken_uploads(checks, site):
    plant = node(site, "plant-a")
    user(plant, "mes")
    plant.start()
    mes = site.certificate("mes")
    path = site.directory / "content"
    path.write_bytes(os.urandom(32 * MIB))
    for version in ("--http1.1", "--http2"):
        code, body = put(plant, mes, "wrong", path, "-H", field(b"something else"), version=version)
        checks.equal(f"{version} another digest", (code, reason(body)), (400, "digest_mismatch"))
        checks.equal(f"{version} it leaves no file",
                     files(plant, "incoming") + files(plant, "blobs"), [])
        upload = subprocess.Popen(
            ["curl", "-sS", version, "--limit-rate", "4M", "--cacert", str(site.authority), "--cert",
             f"{mes}.crt", "--key", f"{mes}.key", "-T", str(path),
             url(plant, f"/plant-a/{BUCKET}/cut")], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_until("the upload under way", lambda: files(plant, "incoming"))
        upload.kill()
        upload.wait()
        wait_until("nothing left of a client that went away",
                   lambda: not files(plant, "incoming"))
        checks.check(f"{version} a client that goes away leaves no file",
                     not files(plant, "incoming") and not files(plant, "blobs"))
        upload = subprocess.Popen(
            ["curl", "-sS", version, "--limit-rate", "4M", "--cacert", str(site.authority), "--cert",
             f"{mes}.crt", "--key", f"{mes}.key", "-T", str(path),
             url(plant, f"/plant-a/{BUCKET}/killed")], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        wait_until("the upload under way", lambda: files(plant, "incoming"))
        plant.kill()
        upload.wait()
        checks.equal(f"{version} kill -9 leaves the part", len(files(plant, "incoming")), 1)
        plant.start()
        checks.equal(f"{version} and the next start removes it",
                     files(plant, "incoming") + files(plant, "blobs"), [])
        checks.equal(f"{version} and there is no name",
                     get(plant, mes, "killed", version=version)[0], 404)
    checks.equal("the same upload then goes through", put(plant, mes, "killed", path)[0], 201)
    plant.stop()


def one_wins(checks, site):
    plant = node(site, "plant-a", artifacts={"capacity": "64MiB"})
    user(plant, "mes")
    plant.start()
    mes = site.certificate("mes")
    paths = []
    for number in range(6):
        paths.append(site.directory / f"content-{number}")
        paths[-1].write_bytes(os.urandom(2 * MIB))
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(
            lambda path: put(plant, mes, "contested", path,
                             version="--http2" if path.name[-1] in "024" else "--http1.1"), paths))
    codes = sorted(code for code, _ in answers)
    checks.equal("of six puts of one name one wins", codes, [201] + [409] * 5)
    checks.equal("the others are told why",
                 {reason(body) for code, body in answers if code == 409}, {"artifact_exists"})
    winner = next(path for path, (code, _) in zip(paths, answers) if code == 201)
    checks.check("what is read is the winner's",
                 get(plant, mes, "contested")[1] == winner.read_bytes())
    checks.equal("one blob is kept", len(files(plant, "blobs")), 1)
    large = site.directory / "large"
    large.write_bytes(os.urandom(63 * MIB))
    code, body = put(plant, mes, "large", large)
    checks.equal("beyond the capacity", (code, reason(body)), (429, "artifact_store_full"))
    checks.check("facts are taken all the same", Caller(plant, mes).append(fact("after-full")).ok)
    checks.equal("it leaves no file", files(plant, "incoming"), [])
    plant.stop()


def bad_names(checks, site):
    plant = node(site, "plant-a")
    user(plant, "mes")
    plant.start()
    mes = site.certificate("mes")
    path = site.directory / "content"
    path.write_bytes(b"content")
    bad = ["..", "../../../../etc/x", "a/../b", "a//b", "./a", "%2e%2e/x", "a%2f..%2fb", "a%5cb",
           "a%00b", "a%0ab", "%ff", "%zz", "", "x" * 513]
    for key in bad:
        for version in ("--http1.1", "--http2"):
            code, body = status_of(
                plant, mes, "-T", path, url(plant, f"/plant-a/{BUCKET}/{key or '?x'}"),
                version=version)
            checks.check(f"{version} the key {key[:20]!r} is refused", 400 <= code < 500, code)
    for place in ("/plant-a/../x", "/../batch-files/x", "/plant-a/Batch/x", f"/other/{BUCKET}/x"):
        code, _ = status_of(plant, mes, "-T", path, url(plant, place))
        checks.check(f"{place} is refused", 400 <= code < 500, code)
    # What curl would change on its way.
    for key in ("a/.", "a/..", "."):
        answer = Caller(plant, mes).request(
            "PUT", f"/v1/artifacts/plant-a/{BUCKET}/{key}", b"content")
        checks.equal(f"the key {key!r} is refused", answer.status, 400)
    checks.equal("nothing was stored", files(plant, "blobs") + files(plant, "incoming"), [])
    checks.equal("what looks odd and is not",
                 put(plant, mes, "a/..b/c%20d/%C3%A9.%2e.x", path)[0], 201)
    plant.stop()


def relay(checks, site):
    """plant-a - idmz - enterprise: an artifact outlives its source."""
    keep = {"artifact_retention": "1s", "upload_grace": "1h", "sweep_interval": "1s"}
    plant = node(site, "plant-a", capacity="8MiB", segment="1MiB", artifacts=keep,
                 references="required")
    idmz = node(site, "idmz")
    enterprise = node(site, "enterprise")
    user(plant, "mes")
    user(enterprise, "erp", roles=("consumer",), origins=["plant-a"])
    plant.grant(idmz, artifacts=[BUCKET])
    idmz.grant(plant, streams=())
    idmz.grant(enterprise, artifacts=[BUCKET], origins=["plant-a"])
    enterprise.grant(idmz, streams=())
    enterprise.zones = ["plant-a"]
    idmz.pull(plant)
    enterprise.pull(idmz, origin="plant-a")
    plant.start()
    mes, erp = site.certificate("mes"), site.certificate("erp")
    content = os.urandom(5 * MIB)
    path = site.directory / "content"
    path.write_bytes(content)
    caller = Caller(plant, mes)
    answer = caller.append(
        referring("too-early", [reference("plant-a", "report", content)], "plant-a"))
    checks.equal("a fact before its artifact is refused", (answer.status, answer.reason),
                 (404, "artifact_not_found"))
    checks.equal("put", put(plant, mes, "report", path)[0], 201)
    answer = caller.append(
        referring("wrong", [reference("plant-a", "report", b"other")], "plant-a"))
    checks.equal("a fact with another digest is refused", answer.reason, "digest_mismatch")
    answer = caller.append(
        referring("report", [reference("plant-a", "report", content)], "plant-a"))
    checks.check("then the fact is taken", answer.ok, answer)
    enterprise.start()
    idmz.start()
    wait_until("the fact at enterprise", lambda: enterprise.head("plant-a") == 1)
    wait_until("the artifact at enterprise",
               lambda: get(enterprise, erp, "report", zone="plant-a")[0] == 200)
    checks.check("it came through the relay",
                 get(enterprise, erp, "report", zone="plant-a")[1] == content)
    enterprise.stop()
    shutil.rmtree(enterprise.data / "artifacts")
    # The source forgets: its log goes on past its capacity, its readers confirm, its sweep comes by.
    number = 0
    deadline = time.monotonic() + PATIENCE
    while plant.stream_status().get("firstOffset", "0") == "0":
        answer = caller.append(fact(f"filler-{number}", {"text": "x" * 100_000}))
        number += 1
        if not answer.ok:
            time.sleep(0.2)
        if time.monotonic() > deadline:
            raise TimeoutError("the source truncated nothing")
    wait_until("the source's sweep", lambda: not files(plant, "blobs"))
    checks.equal("the source has the artifact no more", get(plant, mes, "report")[0], 404)
    plant.kill()
    enterprise.start()
    checks.check("enterprise knows of it", enterprise.head("plant-a") > 0)
    code, body = get(enterprise, erp, "report", zone="plant-a")
    checks.check("and says that it is on its way, or has it already",
                 code == 200 or reason(body) == "artifact_pending", (code, body[:200]))
    wait_until("the artifact at enterprise again",
               lambda: get(enterprise, erp, "report", zone="plant-a")[0] == 200)
    checks.check("through idmz after the source truncated its fact and swept",
                 get(enterprise, erp, "report", zone="plant-a")[1] == content)
    idmz.stop()
    enterprise.stop()


def pending(checks, site):
    """A fact is visible at once, its artifact when it comes; what is missing is told."""
    plant = node(site, "plant-a")
    idmz = node(site, "idmz")
    user(plant, "mes", buckets=(BUCKET, "private"))
    user(idmz, "reader", roles=("consumer",), buckets=(BUCKET, "private"), origins=["plant-a"])
    plant.grant(idmz, artifacts=[BUCKET])
    idmz.grant(plant, streams=())
    idmz.pull(plant)
    plant.start()
    idmz.start()
    mes, reader = site.certificate("mes"), site.certificate("reader")
    caller = Caller(plant, mes)
    content = b"late bytes"
    private = {**reference("plant-a", "secret", content), "bucket": "private"}
    checks.check("an unchecked stream takes a fact before its artifact", caller.append(
        referring("early", [reference("plant-a", "late", content), private], "plant-a")).ok)
    wait_until("the fact at idmz", lambda: idmz.head("plant-a") == 1)

    def told():
        code, body = get(idmz, reader, "late", zone="plant-a")
        return code == 503 and reason(body) == "artifact_pending"

    wait_until("the artifact known and pending", told)
    checks.check("the fact is there, its artifact pending", True)
    wait_until("the alert", lambda: "artifact_missing" in idmz.errors.read_text())
    checks.check("what is missing is an alert", "ArtifactMissing" in idmz.errors.read_text())
    idmz.kill()
    idmz.start()
    checks.check("the pending list survives a kill", told())
    path = site.directory / "content"
    path.write_bytes(content)
    checks.equal("the artifact is put at last", put(plant, mes, "late", path)[0], 201)
    wait_until("it arrives", lambda: get(idmz, reader, "late", zone="plant-a")[0] == 200)
    checks.check("with its bytes", get(idmz, reader, "late", zone="plant-a")[1] == content)
    status_of(plant, mes, "-T", path, url(plant, "/plant-a/private/secret"))
    time.sleep(1)
    code, body = status_of(idmz, reader, url(idmz, "/plant-a/private/secret"))
    checks.equal("a bucket that is not granted is not fetched", reason(body), "artifact_pending")
    plant.stop()
    idmz.stop()


def partition(checks, site):
    """A gate that the operator closed stops artifacts, asked for and served; then they follow."""
    plant, idmz = node(site, "plant-a"), node(site, "idmz")
    user(plant, "mes")
    user(idmz, "reader", roles=("consumer",), origins=["plant-a"])
    plant.grant(idmz, artifacts=[BUCKET])
    idmz.grant(plant, streams=())
    idmz.pull(plant)
    plant.start()
    idmz.start()
    mes, reader = site.certificate("mes"), site.certificate("reader")
    path = site.directory / "content"
    for closed, key in ((plant, "served"), (idmz, "asked for")):
        content = key.encode()
        other = idmz if closed is plant else plant
        head = idmz.head("plant-a") or 0
        Caller(plant, mes).append(referring(key, [reference("plant-a", key, content)], "plant-a"))
        wait_until("the fact at idmz", lambda: idmz.head("plant-a") == head + 1)
        operate(closed, "partition", "--peer", other.zone, "--reason", "a drill")
        path.write_bytes(content)
        address = key.replace(" ", "%20")
        checks.equal(f"{key}: producers go on", put(plant, mes, address, path)[0], 201)
        if closed is plant:
            code, body = get(plant, idmz.certificate, address)
            checks.equal(f"{key}: GET", (code, reason(body)), (503, "gate_closed"))
            answer = Caller(plant, idmz.certificate).call(
                "/bsfg.v1.ArtifactService/GetObject",
                {"zone": "plant-a", "bucket": BUCKET, "key": key})
            checks.equal(f"{key}: GetObject", answer.reason, "gate_closed")
        time.sleep(3)
        checks.equal(
            f"{key}: it stays where it is", get(idmz, reader, address, zone="plant-a")[0], 503)
        operate(closed, "reconcile", "--peer", other.zone)
        wait_until("it follows", lambda: get(idmz, reader, address, zone="plant-a")[1] == content)
        checks.check(f"{key}: it follows once the gate is open", True)
    plant.stop()
    idmz.stop()


def operate(node, *arguments):
    done = subprocess.run(
        [BSFG, "admin", *arguments, "--config", str(node.root / "config")],
        capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr


def strict(checks, site):
    """sil_strict: the source hears that a fact is received when its artifact is, too."""
    plant, idmz = node(site, "plant-a", profile="sil_strict"), node(site, "idmz", profile="sil_strict")
    user(plant, "mes")
    plant.grant(idmz, artifacts=[BUCKET])
    idmz.grant(plant, streams=())
    idmz.pull(plant, justification="the test wants every fact")
    idmz.artifacts = {}
    plant.start()
    idmz.start()
    mes = site.certificate("mes")
    caller = Caller(plant, mes)
    content = b"the bytes"
    name = f"idmz/{STREAM}/plant-a"
    caller.append(fact("plain"))
    wait_until("a plain fact confirmed", lambda: plant.cursor(name) == 1)
    caller.append(referring("with", [reference("plant-a", "strict", content)], "plant-a"))
    wait_until("the fact at idmz", lambda: idmz.head("plant-a") == 2)
    time.sleep(3)
    checks.equal("visible and not confirmed while its artifact is missing", plant.cursor(name), 1)
    path = site.directory / "content"
    path.write_bytes(content)
    put(plant, mes, "strict", path)
    wait_until("the confirm", lambda: plant.cursor(name) == 2)
    checks.check("confirmed once the artifact is there", "strict" and files(idmz, "blobs"))
    plant.stop()
    idmz.stop()


def bsfg(*arguments, **options):
    done = subprocess.run([BSFG, "artifact", *map(str, arguments)], capture_output=True, text=True,
                          timeout=PATIENCE, **options)
    return done.returncode, done.stdout, done.stderr


def commands(checks, site):
    plant = node(site, "plant-a")
    user(plant, "mes")
    plant.start()
    mes = site.certificate("mes")
    local = ["--config", plant.root / "config"]
    remote = ["--endpoint", f"127.0.0.1:{plant.port}", "--cert", f"{mes}.crt", "--key", f"{mes}.key",
              "--ca", site.authority]
    content = os.urandom(5 * MIB + 3)
    path = site.directory / "content"
    path.write_bytes(content)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    out = site.directory / "out"
    for way, node_options in (("socket", local), ("endpoint", remote)):
        name = f"plant-a/{BUCKET}/2025/{way} 1.bin"
        code, output, errors = bsfg("put", path, name, "--media-type", "application/x-test", *node_options)
        checks.check(f"{way}: put prints the reference",
                     code == 0 and json.loads(output)["digest"] == digest, errors)
        code, output, errors = bsfg("fetch", name, "--out", out, *node_options)
        checks.check(f"{way}: fetch", code == 0 and out.read_bytes() == content, errors)
        out.unlink()
        part = pathlib.Path(f"{out}.part")
        part.write_bytes(content[:2 * MIB])
        uri = f"artifact://plant-a/{BUCKET}/2025/{way}%201.bin"
        code, output, errors = bsfg("fetch", "--uri", uri, "--out", out, *node_options)
        checks.check(f"{way}: fetch goes on with what is there",
                     code == 0 and out.read_bytes() == content and not part.exists(), errors)
        code, output, errors = bsfg("fetch", f"{uri}?digest={digest}", "--out", out, "--force", *node_options)
        checks.check(f"{way}: fetch with a digest", code == 0 and digest in output, errors)
        wrong = "sha256:" + "0" * 64
        code, output, errors = bsfg("fetch", f"{uri}?digest={wrong}", "--out", out, "--force", *node_options)
        checks.check(f"{way}: another digest is refused", code != 0 and "digest" in errors, errors)
        path.write_bytes(content + b"x")
        code, output, errors = bsfg("put", path, name, *node_options)
        checks.check(f"{way}: other bytes are refused with 3", code == 3 and "other bytes" in errors,
                     (code, errors))
        path.write_bytes(content)
        out.unlink()
        code, output, errors = bsfg("fetch", f"plant-a/{BUCKET}/nothing", "--out", out, *node_options)
        checks.check(f"{way}: what is not there", code == 4 and "no artifact" in errors, (code, errors))
    code, output, errors = bsfg("list", "-o", "json", *local)
    listed = json.loads(output)
    checks.equal("list", [item["state"] for item in listed["artifacts"]], ["stored", "stored"])
    checks.equal("one blob", (listed["usage"]["blobs"], listed["usage"]["reserved_bytes"]), (1, 0))
    code, output, errors = bsfg("info", f"plant-a/{BUCKET}/2025/socket 1.bin", "-o", "json", *local)
    checks.equal("info", json.loads(output)["media_type"], "application/x-test")
    code, output, errors = bsfg("pending", *local)
    checks.check("pending", code == 0 and "0 pending" in output, errors)
    plant.stop()


def large(checks, site):
    byte_count = size()
    plant = node(site, "plant-a", artifacts={"capacity": f"{4 * byte_count // MIB}MiB"})
    user(plant, "mes")
    plant.start()
    mes = site.certificate("mes")
    small = site.directory / "small"
    small.write_bytes(b"warm")
    for version in ("--http1.1", "--http2"):
        put(plant, mes, f"warm-{version}", small, version=version)
        get(plant, mes, f"warm-{version}", version=version)
    idle = memory_kib(plant.process, "VmRSS")
    source = site.directory / "large"
    digest = hashlib.sha256()
    piece = os.urandom(8 * MIB)
    with open(source, "wb") as output:
        for number in range(byte_count // len(piece)):
            block = number.to_bytes(8, "big") + piece[8:]
            output.write(block)
            digest.update(block)
    for version in ("--http1.1", "--http2"):
        began = time.monotonic()
        code, _ = put(plant, mes, "large", source, version=version, timeout=3000)
        seconds = time.monotonic() - began
        checks.check(f"{version} {byte_count // MIB} MiB put in {seconds:.0f} s", code in (200, 201), code)
        began = time.monotonic()
        reading = subprocess.Popen(
            ["curl", "-sS", version, "--cacert", str(site.authority), "--cert", f"{mes}.crt", "--key",
             f"{mes}.key", url(plant, f"/plant-a/{BUCKET}/large")], stdout=subprocess.PIPE)
        found, count = hashlib.sha256(), 0
        has_stalled = False
        while True:
            block = reading.stdout.read(MIB)
            if not block:
                break
            found.update(block)
            count += len(block)
            if count >= byte_count // 2 and not has_stalled:
                has_stalled = True
                time.sleep(5)
        reading.wait()
        seconds = time.monotonic() - began
        checks.check(
            f"{version} read with a stall midway in {seconds:.0f} s, whole",
            count == byte_count and found.digest() == digest.digest(), count)
        peak = memory_kib(plant.process, "VmHWM")
        checks.check(
            f"{version} VmHWM {peak // 1024} MiB is at most {MEMORY_MIB} MiB above idle "
            f"({idle // 1024} MiB)", peak - idle <= MEMORY_MIB * 1024, peak - idle)
    source.unlink()
    plant.stop()


def test(checks):
    for part in (both_versions, broken_uploads, one_wins, bad_names, pending, partition, strict, relay,
                 commands, large):
        if OPTIONS.only and OPTIONS.only not in part.__name__:
            continue
        with Site() as site, checks.guard(part.__name__):
            part(checks, site)


if __name__ == "__main__":
    main(test)

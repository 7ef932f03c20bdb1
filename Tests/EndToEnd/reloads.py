#!/usr/bin/env python3
"""What a reload does to what is under way: an upload whose grant goes, artifact connections whose peer moves, a
sil_strict stream beside a fault point, and a reload that comes before the node runs. And the runbook's first fetch from a peer, and the ways of writing.

    BSFG=path reloads.py [--only PART]
"""

import argparse
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess

from replication_common import Link, Producer, settle
from support import BSFG, STREAM, Caller, Site, fact, main, wait_until

BUCKET = "batch-files"
MIB = 1 << 20


def reload(node):
    """Exit status, output and error of a reload of what `write` wrote."""
    node.write()
    done = subprocess.run(
        [BSFG, "config", "reload", "--config", str(node.root / "config")], capture_output=True,
        text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def files(node, directory):
    root = node.data / "artifacts" / directory
    return [path.name for path in root.rglob("*") if path.is_file()] if root.exists() else []


def client(node, identity, roles):
    node.client(identity, roles=roles, origins=["plant-a"])
    node.clients[-1]["artifacts"] = [BUCKET]


def upload_cut(checks):
    """A PUT is half way when its bucket is taken from the client."""
    with Site() as site:
        node = site.node("plant-a")
        client(node, "mes", ["producer"])
        client(node, "other", ["producer"])
        node.start()
        caller = Caller(node, site.certificate("mes"))
        path = f"/v1/artifacts/plant-a/{BUCKET}/half"
        connection = caller.connect()
        connection.putrequest("PUT", path)
        connection.putheader("Content-Length", str(8 * MIB))
        connection.endheaders()
        connection.send(os.urandom(MIB))
        wait_until("the upload under way", lambda: files(node, "incoming"))
        bystander = Caller(node, site.certificate("other"))
        bystander.request("PUT", path + "-other", b"content")
        node.clients[0]["artifacts"] = []
        code, _, errors = reload(node)
        checks.equal("upload: the reload is taken", (code, errors), (0, ""))

        def goes_on():
            try:
                for _ in range(7):
                    connection.send(os.urandom(MIB))
                return connection.getresponse().status
            except OSError:
                return None

        status = goes_on()
        checks.check("upload: it is cut or refused", status is None or status == 403, status)
        wait_until("nothing left of it", lambda: not files(node, "incoming"))
        checks.equal("upload: only what was whole before is stored", len(files(node, "blobs")), 1)
        caller.close()
        refused = caller.request("PUT", path, b"content")
        checks.equal("upload: the next one is refused", refused.reason, "bucket_not_granted")
        answer = bystander.request("PUT", path, b"content")
        checks.equal(
            "upload: the name was never given, and others go on over their connection",
            answer.status, 201)


def artifact_connections(checks):
    """The peer moves to another address: facts and artifacts follow it, over new connections."""
    with Site() as site:
        plant, enterprise = site.node("plant-a"), site.node("enterprise")
        client(plant, "mes", ["producer"])
        client(enterprise, "reader", ["consumer"])
        links = [Link(plant.port), Link(plant.port)]
        plant.grant(enterprise, artifacts=[BUCKET])
        enterprise.grant(plant, streams=(), port=links[0].port)
        enterprise.pull(plant)
        plant.start()
        enterprise.start()
        mes = Caller(plant, site.certificate("mes"))
        reader = Caller(enterprise, site.certificate("reader"))

        def cross(key):
            content = os.urandom(200_000)
            path = f"/v1/artifacts/plant-a/{BUCKET}/{key}"
            assert mes.request("PUT", path, content).status == 201
            message = fact(key)
            message["fact"]["artifacts"] = [{
                "zone": "plant-a", "bucket": BUCKET, "key": key, "size": len(content),
                "media_type": "application/octet-stream",
                "digest": "sha256:" + hashlib.sha256(content).hexdigest()}]
            assert mes.append(message).ok
            return wait_until(
                f"{key} at enterprise", lambda: reader.request("GET", path).bytes == content)

        checks.check("moved: an artifact crosses at first", cross("first"))
        enterprise.peers[0]["endpoint"] = f"127.0.0.1:{links[1].port}"
        code, _, errors = reload(enterprise)
        checks.equal("moved: the reload is taken", (code, errors), (0, ""))
        wait_until("no connection over the old way", lambda: not open_pairs(links[0]))
        links[0].cut()
        checks.check("moved: nothing goes the old way, and another artifact crosses", cross("second"))
        before = enterprise.process.pid

        # Our own certificate is another one: the peer is to see it, also where artifacts are asked for.
        old = open_pairs(links[1])
        subprocess.run(
            [BSFG, "cert", "issue", "--ca", str(site.authority_directory), "--identity",
             enterprise.identity, "--address", "127.0.0.1", "--out", str(enterprise.root / "certs"),
             "--force"], check=True, capture_output=True)
        code, _, errors = reload(enterprise)
        checks.equal("renewed: the reload is taken", (code, errors), (0, ""))
        wait_until(
            "every old connection being closed",
            lambda: not [pair for pair in open_pairs(links[1]) if pair in old])
        checks.check("renewed: all connections were made again, and a third crosses", cross("third"))
        checks.equal("renewed: by the same process", enterprise.process.pid, before)
        settle(plant, enterprise)
        for link in links:
            link.close()


def open_pairs(link):
    with link.lock:
        return [pair for pair in link.pairs if pair[0].fileno() >= 0 and pair[1].fileno() >= 0]


def strict_beside_fault_point(checks):
    """No node with a sil_strict stream may be stopped on purpose, whichever of both comes first."""
    with Site() as site:
        node = site.node("plant-a")
        node.client("mes")
        node.start(wrapper=("env", "BSFG_FAULT_POINT=committed:1000"))
        node.other_streams = [
            {"name": "facts.safety", "capacity": "32MiB", "segment": "1MiB", "profile": "sil_strict",
             "terminal": True}]
        code, _, errors = reload(node)
        checks.check(
            "strict: a stream beside a fault point is refused in one sentence",
            code != 0 and "BSFG_FAULT_POINT" in errors and "sil_strict" in errors, errors)
        checks.equal(
            "strict: and nothing was made of it",
            ([log["stream"] for log in node.status()["streams"]],
             (node.data / "store" / "facts.safety").exists()), ([STREAM], False))
        checks.check(
            "strict: the node goes on", Caller(node, site.certificate("mes")).append(fact("x")).ok)
        node.stop()
        node.start()
        checks.equal("strict: without the fault point the stream is there",
                     sorted(log["stream"] for log in node.status()["streams"]),
                     [STREAM, "facts.safety"])


def before_it_runs(checks):
    """SIGHUP while the logs open, which may take long: the node comes up, with what the files say now."""
    compiler = shutil.which("cc") or shutil.which("clang") or shutil.which("gcc")
    if not compiler:
        checks.skip("starting: a reload before the node runs", "there is no C compiler")
        return
    with Site() as site:
        shim, mark, release = (site.directory / name for name in ("held_lock.so", "mark", "release"))
        subprocess.run(
            [compiler, "-O", "-shared", "-fPIC", "-o", str(shim),
             str(pathlib.Path(__file__).parent / "held_lock.c"), "-ldl"], check=True)
        node = site.node("plant-a")
        node.write()
        with open(node.root / "node.out", "wb") as output, open(node.errors, "ab") as errors:
            node.process = subprocess.Popen(
                [BSFG, "serve", "--config", str(node.root / "config")], stdout=output, stderr=errors,
                env={**os.environ, "LD_PRELOAD": str(shim), "HELD_LOCK_MARK": str(mark),
                     "HELD_LOCK_RELEASE": str(release)})
        wait_until("the start held at its log", mark.exists)
        node.client("mes")
        node.write()
        node.process.send_signal(signal.SIGHUP)
        release.touch()
        wait_until(
            "listening, or the end",
            lambda: b"listening" in (node.root / "node.out").read_bytes() or node.process.poll() is not None)
        checks.equal("starting: a reload does not end the node", node.process.poll(), None)
        caller = Caller(node, site.certificate("mes"))
        checks.eventually(
            "starting: the reload is not forgotten: a client that came meanwhile is known",
            lambda: caller.append(fact("early")).ok)
        checks.equal("starting: it ends as it should", node.stop(), 0)


def first_fetch(checks):
    """bsfg fetch: what a first fetch from a peer would get, and nothing moves."""
    with Site() as site:
        plant, enterprise = site.node("plant-a"), site.node("enterprise")
        plant.client("producer-1")
        plant.grant(enterprise)
        enterprise.grant(plant, streams=(), start="manual")
        enterprise.pull(plant)
        plant.start()
        enterprise.write()
        producer = Producer(plant, site.certificate("producer-1"), "f")
        producer.append(30)

        def fetch(*arguments):
            done = subprocess.run(
                [BSFG, "fetch", *arguments, "--config", str(enterprise.root / "config")],
                capture_output=True, text=True, timeout=60)
            return done.returncode, done.stdout, done.stderr

        runbook = ("--peer", "plant-a", "--stream", STREAM, "--cursor-init", "bounded_backfill_24h")
        code, output, errors = fetch(*runbook, "-o", "json")
        page = json.loads(output) if code == 0 else {}
        checks.equal(
            "fetch: the page that a first fetch would get",
            [entry["message"]["envelope"]["message_id"] for entry in page.get("entries", [])],
            [f"f-{number}" for number in range(30)])
        code, output, errors = fetch(*runbook, "--limit", "2")
        checks.check(
            "fetch: as a table, with what is left",
            code == 0 and "f-1" in output and "f-2" not in output and "2 of the 30" in output
            and "No cursor" in output, output + errors)
        code, output, _ = fetch("--peer", "plant-a", "--cursor-init", "start_now", "-o", "json")
        checks.equal("fetch: start_now shows what comes from now on",
                     (code, json.loads(output).get("entries", [])), (0, []))
        checks.equal("fetch: no cursor was made", plant.status().get("consumers", []), [])
        code, _, errors = fetch("--peer", "plant-b")
        checks.check("fetch: an unknown peer is named with the nearest",
                     code == 2 and "plant-a" in errors, errors)
        code, _, errors = fetch("--peer", "plant-a", "--stream", "facts.secret")
        checks.check("fetch: what is not granted is refused", code == 3 and "granted" in errors, errors)
        code, _, errors = fetch("--peer", "plant-a", "--cursor-init", "yesterday")
        checks.check("fetch: an unknown mode says which there are",
                     code != 0 and "full_backfill" in errors, errors)


def ways_of_writing(checks):
    """A log may change how its commits become durable with every start; what it has stays."""
    with Site() as site:
        plant, enterprise = site.node("plant-a"), site.node("enterprise")
        plant.client("producer-1")
        plant.grant(enterprise)
        enterprise.grant(plant, streams=())
        enterprise.pull(plant)
        producer = Producer(plant, site.certificate("producer-1"), "w")
        for writing in ("direct", "synchronised", "direct"):
            for node in (plant, enterprise):
                node.stream_options = {"writing": writing}
                node.start()
            producer.append(40)
            settle(plant, enterprise)
            shown = in_force(plant)
            checks.check(
                f"{writing}: it is in force", f"streams.{STREAM}.writing: {writing}" in shown)
            plant.kill()
            enterprise.kill()
        plant.start()
        enterprise.start()
        settle(plant, enterprise)
        checks.equal(
            "every acknowledged fact is on both sides",
            (plant.head(), enterprise.head("plant-a"), len(producer.acknowledged)),
            (120, 120, 120))
        plant.stream_options = {"writing": "synchronised"}
        code, _, errors = reload(plant)
        checks.check(
            "another way needs a restart, and says so",
            code != 0 and "writing" in errors and "restart" in errors, errors)


def in_force(node):
    done = subprocess.run(
        [BSFG, "config", "show", "--effective", "--config", str(node.root / "config")],
        capture_output=True, text=True, timeout=60)
    return done.stdout


def test(checks):
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", help="a part, by a part of its name")
    only = parser.parse_args().only
    for part in (
        upload_cut, artifact_connections, strict_beside_fault_point, before_it_runs, first_fetch,
        ways_of_writing,
    ):
        if not only or only in part.__name__:
            with checks.guard(part.__name__.replace("_", " ")):
                part(checks)


if __name__ == "__main__":
    main(test)

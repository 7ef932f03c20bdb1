#!/usr/bin/env python3
"""Requirements 69 to 80 of the specification, who gets in and what for. A check is named by the requirement that
it is about (docs/conformance.md).

    BSFG=path conformance_security.py
"""

import http.client
import json
import signal
import socket
import ssl
import subprocess

from federation import issue
from history_common import events
from replication_common import settle
from support import BSFG, FEDERATION, PATIENCE, STREAM, Caller, Site, fact, main, run, wait_until

OTHER_STREAM = "facts.audit"


def attempt(node, certificate=None, maximum=None):
    """What becomes of a call of /health: a status, or the name of the alert or error."""
    caller = Caller(node, certificate)
    made = caller.context

    def context():
        found = made()
        if maximum:
            found.minimum_version = ssl.TLSVersion.TLSv1_2
            found.maximum_version = maximum
        return found

    caller.context = context
    try:
        return caller.request("GET", "/health").status
    except ssl.SSLError as error:
        return (error.reason or str(error)).lower()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        caller.close()


def handshakes(checks, site, node, listed):
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE) as plain:
        plain.sendall(b"GET /health HTTP/1.1\r\nHost: plant-a\r\n\r\n")
        try:
            answer = plain.recv(1_000)
        except ConnectionError:
            answer = b""
    checks.check(
        "spec 19.69: without TLS there is no answer, without a certificate none either",
        b"HTTP/" not in answer and "certificate_required" in str(attempt(node)).replace(" ", "_")
        and attempt(node, listed) == 200, (answer, attempt(node), attempt(node, listed)))
    stranger = site.directory / "stranger"
    run("ca", "init", "--dir", stranger)
    foreign = site.certificate("listed", name="foreign", authority=stranger)
    found = attempt(node, foreign)
    checks.check(
        "spec 19.70: a certificate of an unknown CA is refused, whatever its name",
        "unknown_ca" in str(found), found)
    expired = issue(site, "expired", "listed", names=("listed",), days=(-30, -1)) / "server"
    found = attempt(node, expired)
    checks.check(
        "spec 19.71: an expired certificate is refused", "certificate_expired" in str(found), found)
    found = attempt(node, listed, ssl.TLSVersion.TLSv1_2)
    wait_until("the refusal counted", lambda: node.failures("protocol_version") > 0)
    checks.check(
        "spec 19.75: TLS 1.2 is refused", "protocol_version" in str(found)
        and node.failures("protocol_version") == 1, found)


def authorisation(checks, site, node, peer, other):
    unlisted = Caller(node, site.certificate("plant-z-bsfg"))
    answers = [unlisted.request("GET", "/health"), unlisted.append(fact("never"))]
    checks.equal(
        "spec 19.72: a good certificate of a zone that is not listed is refused, and hears why",
        [(answer.status, answer.reason) for answer in answers], [(403, "identity_not_authorised")] * 2)
    told = wait_until("the line", lambda: [
        line for line in events(node, "tls_refused") if "plant-z-bsfg" in json.dumps(line)])
    denied = Caller(node, peer.certificate)
    for _ in range(3):
        refused = denied.call(FEDERATION + "OpenCursor", {
            "consumer_name": f"enterprise/{OTHER_STREAM}/plant-a", "stream": OTHER_STREAM,
            "origin_zone": "plant-a", "init_mode": "full_backfill", "profile": "standard",
            "receiver": {"log_uuid": "AAAAAAAAAAAAAAAAAAAAAA==", "epoch": 1}})
    listing = denied.call(FEDERATION + "ListStreams", {})
    checks.equal(
        "spec 19.73: a listed zone is refused on a stream that it was not granted, and is not shown it",
        (refused.status, refused.reason,
         [stream["stream"] for stream in listing.json.get("streams", [])]),
        (403, "stream_not_granted", [STREAM]))
    back = Caller(peer, node.certificate).call(FEDERATION + "ListStreams", {})
    checks.equal(
        "spec 19.74: what is granted one way is not granted the other way",
        [stream["stream"] for stream in back.json.get("streams", [])], [])
    answer = Caller(node, other.certificate).request("GET", "/health")
    checks.equal(
        "spec 19.82: a listed peer with authorized: false is refused",
        (answer.status, answer.reason), (403, "identity_not_authorised"))

    denials = wait_until("the denials", lambda: [
        line for line in events(node, "access_denied") if line.get("identity") == peer.identity])
    status = node.status()["server"]
    checks.check(
        "spec 19.79: denials are logged with the identity, and counted",
        denials and told and int(status.get("errors", {}).get("stream_not_granted", 0)) == 3
        and int(status["callersRefused"].get("no_matching_identity", 0)) > 0,
        (denials[:1], told[:1], status))


def health(checks, node, peer):
    answer = Caller(node, peer.certificate).request("GET", "/health")
    checks.check(
        "spec 19.80: /health asks for a certificate and tells zone, identity and status",
        attempt(node) != 200 and answer.ok and answer.json.get("zone") == node.zone
        and answer.json.get("identity") == node.identity and answer.json.get("status") == "ok"
        and answer.json.get("ready") is True, answer)


def names(checks, site):
    """CN, DNS or URI, whichever the configuration enables."""
    common = issue(site, "cn-only", "line-1", names=("elsewhere",)) / "server"
    alternative = issue(site, "san-only", "elsewhere", names=("line-1",)) / "server"
    found = {}
    for kinds in (["cn"], ["dns"], ["cn", "dns"]):
        node = site.node("plant-a", name="-".join(["names", *kinds]))
        node.tls_options = {"identity_from": kinds}
        node.client("line-1", roles=["monitor"])
        node.start()
        found["+".join(kinds)] = [
            Caller(node, certificate).request("GET", "/health").status
            for certificate in (common, alternative)]
        node.stop()
    checks.equal(
        "spec 19.76: the identity is read from the kinds of names that are configured",
        found, {"cn": [200, 403], "dns": [403, 200], "cn+dns": [200, 200]})


def expiry(checks, site):
    node = site.node("plant-a", name="expiring")
    for days, warned in ((29, True), (40, False)):
        run("cert", "issue", "--ca", site.authority_directory, "--identity", node.identity,
            "--address", "127.0.0.1", "--out", node.root / "certs", "--days", days, "--force")
        node.start()
        node.stop()
        lines = node.errors.read_text()
        node.errors.write_text("")
        status = subprocess.run(
            [BSFG, "cert", "status", "--config", str(node.root)], capture_output=True, text=True)
        checks.equal(
            f"spec 19.77: {days} days before its end a certificate is "
            + ("warned about" if warned else "not warned about"),
            ("expires in" in lines, status.returncode, "expires in" in status.stdout),
            (warned, 1 if warned else 0, warned))


def rotation(checks, site):
    """A new certificate by a reload: consumers and pulls go on where they stood."""
    source, receiver = site.node("plant-b"), site.node("idmz")
    source.client("producer-1")
    source.grant(receiver)
    receiver.grant(source, streams=())
    receiver.pull(source)
    source.start()
    receiver.start()
    producer = Caller(source, site.certificate("producer-1", name="rotating"))
    for number in range(10):
        producer.append(fact(f"fact-{number}", zone="plant-b"))
    source.consumer("producer-1", "app")
    producer.confirm("app", 4)
    settle(source, receiver)

    def serial():
        with socket.create_connection(("127.0.0.1", source.port), PATIENCE) as raw:
            with producer.context().wrap_socket(raw, server_hostname="127.0.0.1") as secured:
                return secured.getpeercert()["serialNumber"]

    old, process = serial(), source.process.pid
    run("cert", "issue", "--ca", site.authority_directory, "--identity", source.identity,
        "--address", "127.0.0.1", "--out", source.root / "certs", "--force")
    source.process.send_signal(signal.SIGHUP)
    wait_until("the new certificate", lambda: serial() != old)
    for number in range(10, 20):
        producer.append(fact(f"fact-{number}", zone="plant-b"))
    settle(source, receiver)
    page = producer.fetch("app")
    checks.equal(
        "spec 19.78: a certificate is replaced by a reload and no cursor is lost",
        (source.process.pid, int(page.json["entries"][0]["offset"]),
         len(receiver.peek("plant-b"))), (process, 5, 20))


def test(checks):
    with Site() as site:
        node, peer, other = site.node("plant-a"), site.node("enterprise"), site.node("plant-c")
        for each in (node, peer):
            each.other_streams = [{"name": OTHER_STREAM}]
        node.client("listed", roles=["monitor"])
        node.grant(peer)
        node.grant(other)
        node.peers[-1]["authorized"] = False
        peer.grant(node, streams=())
        node.start()
        peer.start()
        listed = site.certificate("listed")
        for name, part in (
            ("handshakes", lambda: handshakes(checks, site, node, listed)),
            ("authorisation", lambda: authorisation(checks, site, node, peer, other)),
            ("health", lambda: health(checks, node, peer)),
            ("names", lambda: names(checks, site)),
            ("expiry", lambda: expiry(checks, site)),
            ("rotation", lambda: rotation(checks, site)),
        ):
            with checks.guard(name):
                part()


if __name__ == "__main__":
    main(test)

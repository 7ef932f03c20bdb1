#!/usr/bin/env python3
"""curl against a node: append, fetch and confirm over HTTP/1.1 and HTTP/2, large bodies, numbers that
a double cannot hold, and handshakes that are refused so that both sides know why.

    BSFG=path curl_tls.py
"""

import json
import re
import shutil
import subprocess

import whole_contract
from contract import error_table
from support import BOUNDARY, Site, content_digest, fact, main, run, wait_until

RULES = error_table()


class Curl:
    def __init__(self, node, certificate):
        self.node = node
        self.files = [
            "--cert", f"{certificate}.crt", "--key", f"{certificate}.key",
        ] if certificate else []

    def __call__(self, *arguments, path, verbose=False):
        command = [
            "curl", "-sS", "--max-time", "120", "--cacert", str(self.node.site.authority),
            *self.files, "-w", "\n%{http_version} %{http_code}", *(["-v"] if verbose else []),
            *map(str, arguments), f"https://127.0.0.1:{self.node.port}{path}"]
        return CurlResult(subprocess.run(command, capture_output=True, text=True))

    def post(self, method, message, *arguments, **options):
        return self("--json", json.dumps(message), *arguments, path=BOUNDARY + method, **options)


class CurlResult:
    def __init__(self, done):
        self.exit = done.returncode
        self.errors = done.stderr
        body, _, figures = done.stdout.rpartition("\n")
        self.body = body
        self.version, _, self.status = figures.partition(" ")
        try:
            self.json = json.loads(body)
        except ValueError:
            self.json = {}

    @property
    def detail(self):
        return (self.json.get("details") or [{}])[0].get("debug", {})

    @property
    def alerts(self):
        """The descriptions of fatal alerts that came in; curl prints level and description as one."""
        numbers = re.findall(r"\(IN\), TLS alert, [^(]*\((\d+)\)", self.errors)
        return [int(number) & 0xFF for number in numbers]

    def __repr__(self):
        return f"exit {self.exit}, {self.status} {self.body[:300]} {self.errors[-600:]}"


def calls(checks, node, curl, flag, version):
    name = f"HTTP/{version}"
    message = fact(f"curl-{version}", {"text": "déjà vu", "value": 1.5})
    appended = curl.post("AppendFact", message, flag)
    checks.check(
        f"{name}: append", appended.exit == 0 and appended.status == "200"
        and appended.json.get("outcome") == "OUTCOME_APPENDED", appended)
    checks.equal(f"{name}: %{{http_version}}", appended.version, version)
    checks.equal(
        f"{name}: content digest", appended.json.get("contentDigest"), content_digest(message))
    fetched = curl.post("FetchFacts", {"consumer_name": "curl"}, flag)
    entry = (fetched.json.get("entries") or [{}])[-1]
    checks.equal(
        f"{name}: fetch",
        (fetched.version, entry.get("offset"),
         entry.get("message", {}).get("fact", {}).get("objectJson")),
        (version, appended.json.get("offset"), '{"text":"déjà vu","value":1.5}'))
    confirmed = curl.post(
        "ConfirmReceipt", {"consumer_name": "curl", "offset": entry.get("offset")}, flag)
    checks.equal(
        f"{name}: confirm", (confirmed.version, confirmed.json.get("cursorAdvancedTo")),
        (version, entry.get("offset")))
    empty = curl.post("FetchFacts", {"consumer_name": "curl"}, flag)
    checks.equal(f"{name}: nothing is left", empty.json.get("entries", []), [])
    health = curl(flag, path="/health")
    checks.equal(
        f"{name}: health",
        (health.version, health.json.get("zone"), health.json.get("identity"),
         health.json.get("status")), (version, node.zone, node.identity, "ok"))


def everything(checks, site, node, peer):
    """Every procedure by curl with JSON, over both HTTP versions."""
    curls = {
        "producer-1": Curl(node, site.certificate("producer-1", name="everything")),
        peer.zone: Curl(node, peer.certificate)}
    for flag in ("--http1.1", "--http2"):

        def call(identity, service, method, message):
            answer = curls[identity]("--json", json.dumps(message), flag, path=f"/bsfg.v1.{service}/{method}")
            if answer.status != "200":
                raise RuntimeError(f"{method}: {answer!r}")
            return answer.json

        whole_contract.walk(checks, f"curl {flag[2:]}", node, peer, "producer-1", call)


def large_bodies(checks, node, curl):
    for flag, version in (("--http1.1", "1.1"), ("--http2", "2")):
        for how in ("-T", "--json"):
            name = f"a large body by {how} over HTTP/{version}"
            message = fact(f"large-{version}{how}", {"text": "x" * 2_500_000})
            file = node.root / f"large-{version}{how}.json"
            file.write_text(json.dumps(message))
            # The answer to the question ends the wait, and not its time.
            arguments = ["--expect100-timeout", "100", *(
                ["-X", "POST", "-H", "content-type: application/json", "-T", file]
                if how == "-T" else ["--json", f"@{file}"])]
            sent = curl(flag, *arguments, path=BOUNDARY + "AppendFact", verbose=True)
            checks.check(
                f"{name}: stored", sent.exit == 0 and sent.version == version
                and sent.json.get("outcome") == "OUTCOME_APPENDED", sent)
            checks.check(
                f"{name}: no pause before it",
                "Done waiting for 100-continue" not in sent.errors, "curl waited in vain")
            if version == "1.1":
                checks.check(
                    f"{name}: was asked for and told to go on",
                    "Expect: 100-continue" in sent.errors and "100 Continue" in sent.errors,
                    "curl did not ask")
    refused = curl(
        "--http1.1", "-X", "POST", "-H", "content-type: application/json", "-T", file,
        path="/bsfg.v1.BoundaryService/Nothing", verbose=True)
    checks.check(
        "a large body to nowhere is refused before it is sent",
        refused.status == "404" and refused.detail.get("reason") == "unknown_method"
        and "100 Continue" not in refused.errors, refused)
    page = curl.post("FetchFacts", {"consumer_name": "curl"}, "--compressed", "-D", "-")
    checks.check(
        "a large answer comes in gzip", "content-encoding: gzip" in page.body.lower()
        and "xxxx" in page.body, page)


def numbers(checks, curl):
    for text, holds in (
        ("9007199254740993", False), ("-9007199254740993", False), ("9007199254740991", True),
        ("1e400", False), ("1e-400", False), ("0.1", True),
    ):
        message = json.dumps(fact(f"number-{text}", {"deep": [{"counter": "HERE"}]}))
        answer = curl(
            "--json", message.replace('"HERE"', text), path=BOUNDARY + "AppendFact")
        if holds:
            checks.check(f"{text} is kept", answer.status == "200", answer)
            continue
        rule = RULES["number_not_representable"]
        checks.equal(
            f"{text} is refused with its path",
            (answer.status, answer.json.get("code"), answer.detail.get("reason"),
             answer.detail.get("field")),
            (str(rule.status), rule.code, rule.reason, "fact.object.deep[0].counter"))


def handshakes(checks, site, node, curl):
    stranger = site.directory / "stranger"
    run("ca", "init", "--dir", stranger)
    foreign = site.certificate("producer-1", name="foreign", authority=stranger)
    for name, caller, flags, code, alert, reason in (
        ("without a certificate", Curl(node, None), (), 56, 116, "no_certificate"),
        ("with a wrong CA", Curl(node, foreign), (), 56, 48, "unknown_ca"),
        ("with TLS 1.2", curl, ("--tls-max", "1.2"), 35, 70, "protocol_version"),
    ):
        for flag in ("--http1.1", "--http2"):
            label = f"{name} ({flag[2:]})"
            before = node.failures(reason)
            all_before = node.status()["server"].get("handshakeFailures", {})
            tried = caller.post("FetchFacts", {"consumer_name": "curl"}, flag, *flags, verbose=True)
            checks.equal(f"{label}: exit code and alert", (tried.exit, tried.alerts),
                         (code, [alert]))
            try:
                wait_until("the counter", lambda: node.failures(reason) > before)
            except TimeoutError:
                pass
            after = node.status()["server"].get("handshakeFailures", {})
            checks.equal(
                f"{label}: the counter of {reason} rises by one and no other",
                {key: int(value) - int(all_before.get(key, 0)) for key, value in after.items()
                 if int(value) != int(all_before.get(key, 0))}, {reason: 1})
            good = curl.post("FetchFacts", {"consumer_name": "curl"}, flag)
            checks.check(f"{label}: the next good call works", good.status == "200", good)


def test(checks):
    if not shutil.which("curl"):
        checks.check("curl is installed", False, "make deps installs it")
        return
    with Site() as site:
        node = site.node("plant-a")
        node.object_limit = "3MiB"
        peer = site.node("enterprise")
        whole_contract.prepare(node, peer, "producer-1")
        certificate = site.certificate("producer-1")
        node.start()
        made = node.consumer("producer-1", "curl")
        checks.check("a consumer is made", made.ok, made)
        curl = Curl(node, certificate)
        with checks.guard("HTTP/1.1"):
            calls(checks, node, curl, "--http1.1", "1.1")
        with checks.guard("HTTP/2"):
            calls(checks, node, curl, "--http2", "2")
        with checks.guard("large bodies"):
            large_bodies(checks, node, curl)
        with checks.guard("numbers"):
            numbers(checks, curl)
        with checks.guard("handshakes"):
            handshakes(checks, site, node, curl)
        with checks.guard("every procedure"):
            everything(checks, site, node, peer)
        checks.equal("the node ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)

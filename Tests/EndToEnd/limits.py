#!/usr/bin/env python3
"""A table of limits against a real node: at the limit a request passes, one above gives its reason.

    BSFG=path limits.py
"""

import contextlib
import json
import socket
import threading
import time

from history_common import events
from support import BOUNDARY, INGEST, STREAM, Caller, Site, fact, main, wait_until


def changed(**paths):
    """A good fact with fields set by `part__name`."""
    message = fact(paths.pop("identifier"))
    for path, value in paths.items():
        *parts, last = path.split("__")
        place = message
        for part in parts:
            place = place.setdefault(part, {})
        place[last] = value
    return message


def reference(number):
    return {"zone": "plant-a", "bucket": "files", "key": f"k{number}", "digest": "sha256:" + "0" * 64,
            "size": 1, "media_type": "text/plain", "file_name": "f"}


# What a fact may hold: name, what makes one of a size, the limit, the reason above it.
FACTS = [
    ("bytes of a message id", lambda n: {"envelope__message_id": "x" * n}, 256, "invalid_envelope"),
    ("bytes of a correlation id", lambda n: {"envelope__correlation_id": "x" * n}, 256, "invalid_envelope"),
    ("bytes of a subject", lambda n: {"fact__subject": "t:" + "x" * (n - 2)}, 256, "invalid_subject"),
    ("bytes of a predicate", lambda n: {"fact__predicate": "p" * n}, 256, "invalid_predicate"),
    ("labels", lambda n: {"envelope__labels": {f"l{i}": "v" for i in range(n)}}, 64, "invalid_envelope"),
    ("artifact references", lambda n: {"fact__artifacts": [reference(i) for i in range(n)]}, 64,
     "invalid_object"),
    ("bytes of an artifact's key",
     lambda n: {"fact__artifacts": [{**reference(0), "key": "k" * n}]}, 512, "invalid_object"),
    ("bytes of an object", lambda n: {"fact__object": "x" * (n - 2)}, 64 << 10, "too_large"),
]


def facts(checks, caller):
    for number, (name, make, limit, reason) in enumerate(FACTS):
        at = caller.append(changed(identifier=f"at-{number}", **make(limit)))
        above = caller.append(changed(identifier=f"above-{number}", **make(limit + 1)))
        checks.check(f"gateway decision 42: {limit} {name} pass", at.ok, at)
        checks.equal(
            f"gateway decision 42: {limit + 1} {name}", (above.status >= 400, above.reason), (True, reason))
    for depth, passes in ((64, True), (65, False)):
        text = json.dumps(fact(f"depth-{depth}")).replace('{"value": 1}', "[" * depth + "]" * depth)
        answer = caller.call(BOUNDARY + "AppendFact", text.encode(), raw=True)
        checks.check(
            f"gateway decision 29: an object {depth} deep", answer.ok == passes
            and (passes or answer.reason in ("malformed_request", "invalid_object")), answer)


def pages(checks, caller):
    for field, limit in (("limit", 10_000), ("max_bytes", 6 << 20), ("wait_ms", 10_000)):
        at = caller.fetch("limits", **{field: limit})
        above = caller.fetch("limits", **{field: limit + 1})
        checks.check(f"gateway decision 5: {field} {limit} passes", at.ok, at)
        checks.equal(f"gateway decision 5: {field} {limit + 1}", (above.status, above.reason),
                     (400, "malformed_request"))
    # What is neither facts nor an object is short, whatever a body may be.
    body = json.dumps({"consumer_name": "limits"}).encode()
    for count, status in ((64 << 10, 200), ((64 << 10) + 1, 429)):
        answer = caller.call(BOUNDARY + "FetchFacts", body + b" " * (count - len(body)), raw=True)
        caller.close()
        checks.equal(f"gateway decision 42: a request of {count} bytes for facts", (answer.status, answer.reason),
                     (status, None if status == 200 else "too_large"))
    at = caller.call(
        INGEST + "AppendFacts", {"stream": STREAM, "facts": [
            {"envelope": message["envelope"], "fact": message["fact"]}
            for message in (fact(f"batch-{i % 7}") for i in range(10_000))]})
    checks.check("gateway decision 22: 10,000 facts in a batch pass", at.ok, at)


def heavy_head(node, count):
    """Fields that make a head of so many bytes with Host and Accept-Encoding."""
    left = count - len(f"/healthHost127.0.0.1:{node.port}Accept-Encodingidentity")
    headers = {"x-first": "y" * 3_000, "x-second": "y" * 3_000}
    left -= sum(len(name) + len(value) for name, value in headers.items())
    return {**headers, "x-third": "y" * (left - len("x-third"))}


def heads(checks, node, certificate):
    """One field, all fields, and how many."""
    caller = Caller(node, certificate)
    for name, limit, headers in (
        ("bytes of a field", 4096, lambda n: {"x-long": "y" * (n - len("x-long"))}),
        # Besides these there are Host and Accept-Encoding.
        ("fields", 32, lambda n: {f"x-{i}": "y" for i in range(n - 2)}),
        # Of these two alone there are 36 bytes: names and values, as all are counted.
        ("bytes of a head", 8192, lambda n: heavy_head(node, n)),
    ):
        answers = {}
        for count in (limit, limit + 1):
            caller.close()
            answers[count] = caller.request("GET", "/health", headers=headers(count))
        checks.check(f"gateway decision 42: {limit} {name} pass", answers[limit].ok, answers)
        checks.equal(f"gateway decision 42: {limit + 1} {name}", answers[limit + 1].status, 431)
    caller.close()
    body = json.dumps(fact("body", "x" * (60 << 10))).encode()
    exact = body + b" " * ((128 << 10) - len(body))
    for content, status in ((exact, 200), (exact + b" ", 429)):
        answer = caller.call(BOUNDARY + "AppendFact", content, raw=True)
        caller.close()
        checks.equal(
            f"gateway decision 42: a body of {len(content)} bytes",
            (answer.status, answer.reason), (status, None if status == 200 else "too_large"))


def connections(checks, node, certificates):
    """Of one identity, and in flight."""
    first, second = certificates
    held = [Caller(node, first) for _ in range(4)]
    with contextlib.ExitStack() as stack:
        for caller in held:
            stack.callback(caller.close)
            checks.check("gateway decision 42: 4 connections of one identity", caller.request("GET", "/health").ok)
        fifth = Caller(node, first)
        stack.callback(fifth.close)
        answer = fifth.request("GET", "/health")
        checks.equal("gateway decision 42: the fifth", (answer.status, answer.reason), (429, "overloaded"))
        other = Caller(node, second).request("GET", "/health")
        checks.check("gateway decision 42: another identity has its own", other.ok, other)

        answers = []
        refused = threading.Event()

        def poll(caller):
            # Refused, when the third call came before it, it comes again: until both wait there is room for one.
            while True:
                answer = caller.fetch("polls", wait_ms=4_000)
                if answer.ok and refused.is_set():
                    return answers.append(answer)
                if not answer.ok:
                    time.sleep(0.02)

        polls = [threading.Thread(target=poll, args=(caller,), daemon=True) for caller in held[:2]]
        for thread in polls:
            thread.start()
        try:
            third = wait_until(
                "a third call is refused",
                lambda: (lambda answer: None if answer.ok else answer)(held[2].fetch("polls")))
        finally:
            refused.set()
        checks.equal("gateway decision 42: a third call in flight", (third.status, third.reason),
                     (429, "overloaded"))
        for thread in polls:
            thread.join()
        checks.equal("gateway decision 42: the two are answered", len(answers), 2)


def strangers(checks, node, certificate):
    """Connections that say nothing, from one address."""
    with contextlib.ExitStack() as stack:
        def connect():
            return stack.enter_context(socket.create_connection(("127.0.0.1", node.port)))

        silent = [connect() for _ in range(3)]
        wait_until("three strangers", lambda: int(node.status()["server"].get("openConnections", 0)) >= 3)
        fourth = connect()
        fourth.settimeout(30)
        with contextlib.suppress(OSError):
            checks.equal("gateway decision 42: a fourth stranger is closed", fourth.recv(1), b"")
        silent.pop().close()
        wait_until("room for one", lambda: good(node, certificate))
        checks.check("gateway decision 42: with room again a caller is let in", True)


def good(node, certificate):
    caller = Caller(node, certificate)
    try:
        return caller.request("GET", "/health").ok
    except OSError:
        return False
    finally:
        caller.close()


def lines(checks, node, began):
    """Who knocks without a certificate is counted every time, and fills no disk."""
    stranger = Caller(node, None)
    before = node.failures("no_certificate")

    def knocked():
        with contextlib.suppress(OSError):
            stranger.request("GET", "/health")
        stranger.close()
        return node.failures("no_certificate") >= before + 60

    wait_until("sixty counted", knocked, every=0)
    wait_until("all gone", lambda: int(node.status()["server"].get("openConnections", 0)) <= 1)
    counted = node.failures("no_certificate")
    checks.equal("the small node ends with", node.stop(), 0)
    minutes = 1 + int(time.monotonic() - began) // 60
    written = [line for line in events(node, "tls_refused") if line["reason"] == "no_certificate"]
    left_out = [line for line in events(node, "lines_left_out") if line["reason"] == "no_certificate"]
    checks.check(
        "gateway decision 38: of sixty refused handshakes ten a minute are written, and how many were not",
        10 <= len(written) <= 10 * minutes and written[0]["address"] == "127.0.0.1"
        and len(written) + sum(int(line["count"]) for line in left_out) == counted,
        (len(written), left_out, counted, minutes))


def test(checks):
    with Site() as site:
        node = site.node("plant-a")
        node.object_limit = "64KiB"
        for name in ("one", "two"):
            node.client(name)
        certificates = [site.certificate(name) for name in ("one", "two")]
        node.start()
        node.consumer("one", "limits")
        caller = Caller(node, certificates[0])
        with checks.guard("facts"):
            facts(checks, caller)
        with checks.guard("pages"):
            pages(checks, caller)
        caller.close()
        checks.equal("the node ends with", node.stop(), 0)

        other = site.node("plant-a", name="small")
        for name in ("one", "two"):
            other.client(name)
        other.limits = {
            "connections_per_identity": 4, "in_flight_per_identity": 2,
            "unauthenticated_connections_per_address": 3, "header_field_size": "4KiB", "head_size": "8KiB",
            "header_fields": 32, "body_size": "128KiB"}
        began = time.monotonic()
        other.start()
        other.consumer("one", "polls")
        for part, arguments in (
            (heads, certificates[0]), (connections, certificates), (strangers, certificates[0])):
            with checks.guard(part.__name__):
                part(checks, other, arguments)
        with checks.guard("lines"):
            lines(checks, other, began)


if __name__ == "__main__":
    main(test)

#!/usr/bin/env python3
"""Every reason that docs/api/errors.md calls served is produced by a real request to a real node and
answered as the table says. A reason that nothing here produces fails the run, and so does one that
is answered although it is marked as not yet served.

    BSFG=path errors.py
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import time

from contract import error_table
from http2_frames import GOAWAY, RawHTTP2
from support import (
    BOUNDARY, BSFG, FEDERATION, INGEST, PATIENCE, STREAM, Answer, Caller, Site, fact, main, wait_until)

RULES = error_table()
PRIVATE = "facts.private"
# How long a node that is told to end lets what is in flight go on.
GRACE_SECONDS = 30
# What closing logs and files takes after that, on a busy machine.
LATE_SECONDS = 10
# What needs a disk that fails, and so the right to trace.
TRACED = {"outcome_unknown", "log_poisoned", "backpressure"}


class Reasons:
    """Which reasons were produced."""

    def __init__(self, checks):
        self.checks = checks
        self.produced = set()

    def expect(self, reason, answer, name=None, field=None):
        """The answer carries the reason as the table says."""
        name = f"{reason}: {name}" if name else reason
        rule = RULES[reason]
        body = answer.json or {}
        details = body.get("details") or []
        detail = details[0].get("debug", {}) if details else {}
        found = (answer.status, body.get("code"), detail.get("reason"),
                 bool(detail.get("retryable", False)), len(details))
        expected = (rule.status, rule.code, reason, rule.retryable, 1)
        holds = self.checks.check(
            name, found == expected, f"found {found}, expected {expected}: {answer!r}")
        if holds:
            self.produced.add(reason)
            self.checks.check(
                f"{name}: a sentence, the typed detail, when to retry",
                len(body.get("message", "")) > 10
                and details[0].get("type") == "bsfg.v1.ErrorDetail"
                and reason.encode() in decode(details[0].get("value", ""))
                and bool(detail.get("retryAfterMs")) == rule.waits
                and ("retry-after" in answer.headers) == rule.waits, repr(answer))
        if field is not None:
            self.checks.equal(f"{name}: field", detail.get("field"), field)
        return holds


def decode(text):
    return base64.b64decode(text + "=" * (-len(text) % 4))


def changed(message, **paths):
    """A copy with fields set by `part__name`; None removes."""
    message = json.loads(json.dumps(message))
    for path, value in paths.items():
        *parts, last = path.split("__")
        place = message
        for part in parts:
            place = place[part]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return message


# What a request can get wrong by itself


def invalid(reasons, caller):
    good = fact("invalid-1")
    append = lambda **paths: caller.append(changed(good, **paths))
    reasons.expect(
        "malformed_request", caller.call(BOUNDARY + "AppendFact", b'{"stream":', raw=True))
    reasons.expect(
        "malformed_request", caller.call(
            BOUNDARY + "AppendFact",
            json.dumps(good).replace('"stream"', '"stream":"x","stream"').encode(), raw=True),
        "a name twice")
    reasons.expect(
        "malformed_request", caller.call(
            BOUNDARY + "FetchFacts", {"consumer_name": "line-3"}, {"connect-timeout-ms": "soon"}),
        "a timeout that is none")
    reasons.expect("missing_field", append(envelope=None))
    reasons.expect(
        "missing_field", caller.call(BOUNDARY + "ConfirmReceipt", {"consumer_name": "line-3"}),
        "a confirm without offset", field="offset")
    reasons.expect("invalid_envelope", append(envelope__produced_at_unix_ms=-5))
    reasons.expect("invalid_envelope", append(envelope__message_id="x" * 257), "a long id")
    reasons.expect("invalid_subject", append(fact__subject="No Subject"), field="fact.subject")
    reasons.expect(
        "invalid_predicate", append(fact__predicate="Not Snake"), field="fact.predicate")
    reasons.expect(
        "invalid_object", append(
            fact__artifacts=[{"zone": "plant-a", "bucket": "b", "key": "k", "digest": "md5:1",
                              "size": 1, "media_type": "text/plain", "file_name": "f"}]))
    reasons.expect(
        "number_not_representable",
        caller.call(
            BOUNDARY + "AppendFact",
            json.dumps(good).replace('{"value": 1}', '{"counter":9007199254740993}').encode(),
            raw=True), field="fact.object.counter")
    reasons.expect("unknown_field", append(envelope__message_ld="x"))
    reasons.expect("unknown_zone", append(envelope__to_zone="atlantis"), field="envelope.to_zone")
    reasons.expect("unknown_stream", append(stream="facts.nowhere"), field="stream")
    reasons.expect(
        "from_zone_not_allowed", append(envelope__from_zone="enterprise"),
        field="envelope.from_zone")
    reasons.expect("too_large", append(fact__object={"text": "x" * 70_000}), "an object")
    reasons.expect("too_large", headers_only(caller, 13 << 20), "a body")
    reasons.expect(
        "too_large", caller.call(
            INGEST + "AppendFacts",
            {"stream": STREAM, "facts": [{"envelope": good["envelope"], "fact": good["fact"]}]
             * 10_001}), "a batch")
    first = caller.append(good)
    reasons.checks.check("a good fact is stored", first.ok, first)
    answer = caller.append(changed(good, fact__object={"value": 2}))
    if reasons.expect("conflicting_duplicate", answer, field="envelope.message_id"):
        reasons.checks.equal(
            "conflicting_duplicate: offset and stored digest",
            (answer.detail.get("offset", "0"), answer.detail.get("storedDigest")),
            (first.json["offset"], first.json["contentDigest"]))


def headers_only(caller, length):
    """The answer to a head that announces a body of this length and sends none of it."""
    connection = caller.connect()
    connection.putrequest("POST", BOUNDARY + "AppendFact")
    connection.putheader("content-type", "application/json")
    connection.putheader("content-length", str(length))
    connection.endheaders()
    answer = Answer(connection.getresponse())
    caller.close()
    return answer


def transport(reasons, caller):
    path = BOUNDARY + "AppendFact"
    kind = {"content-type": "application/json"}
    reasons.expect(
        "unsupported_encoding", caller.request(
            "POST", path, b"x", {**kind, "content-encoding": "br"}))
    caller.close()
    reasons.expect("unknown_method", caller.call(BOUNDARY + "AppendFacts", {}))
    caller.close()
    answer = caller.request("GET", path)
    reasons.expect("method_not_allowed", answer)
    reasons.checks.equal("method_not_allowed: Allow", answer.headers.get("allow"), "POST")
    for wrong in ("text/plain", "application/x-www-form-urlencoded"):
        caller.close()
        reasons.expect(
            "unsupported_media_type", caller.request("POST", path, b"{}", {"content-type": wrong}),
            wrong)
    caller.close()


def slow_body(reasons, caller):
    """The head is admitted and the body does not come."""
    connection = caller.connect()
    connection.putrequest("POST", BOUNDARY + "AppendFact")
    connection.putheader("content-type", "application/json")
    connection.putheader("connect-timeout-ms", "300")
    connection.putheader("content-length", "10")
    connection.endheaders()
    connection.send(b"{")
    reasons.expect("deadline_exceeded", Answer(connection.getresponse()))
    caller.close()


# Who may what


def permissions(reasons, site, node, caller):
    nobody = Caller(node, site.certificate("nobody"))
    reasons.expect("identity_not_authorised", nobody.append(fact("n-1")))
    reader = Caller(node, site.certificate("reader-1"))
    reasons.expect("identity_not_authorised", reader.append(fact("n-1")), "a role that is missing")
    reasons.expect(
        "stream_not_granted", caller.append(fact("n-1", stream=PRIVATE)), field="stream")
    reasons.expect("not_the_owner", reader.fetch("line-3"))
    reasons.expect("not_the_owner", reader.confirm("line-3", 0), "confirm")
    reasons.expect("consumer_not_found", caller.fetch("line-4"))
    # What is refused is quoted in part: the answer to a large name is no larger one.
    large = caller.fetch("\u0001" * 10_000)
    reasons.expect("malformed_request", large, "a consumer's name of kilobytes", field="consumer_name")
    reasons.checks.check(
        "gateway decision 42: an error is no copy of the request", len(large.bytes) < 4_096, len(large.bytes))
    stream = caller.append(fact("n-2", stream="\u0001" * 1_000_000))
    reasons.expect("unknown_stream", stream, "a stream's name of a megabyte")
    reasons.checks.check(
        "gateway decision 42: nor where it names a stream", len(stream.bytes) < 4_096, len(stream.bytes))
    reasons.expect("consumer_exists", node.consumer("producer-1", "line-3"))
    node.consumer("producer-1", "line-5")
    node.admin("DetachConsumer", {"owner": "producer-1", "name": "line-5", "reason": "gone"})
    reasons.expect("cursor_detached", caller.fetch("line-5"), field="consumer_name")
    for name, answer in (
        ("fetch", caller.fetch("line-3", from_offset=1_000)),
        ("confirm", caller.confirm("line-3", 1_000)),
    ):
        if reasons.expect("beyond_head", answer, name):
            reasons.checks.equal(
                f"beyond_head: {name}: the head", answer.detail.get("headOffset"),
                str(node.head()))


def peers(reasons, node, other):
    """What a peer is refused, in its own place."""
    peer = Caller(node, other.certificate)
    receiver = {"log_uuid": base64.b64encode(os.urandom(16)).decode(), "epoch": 1}
    name = f"{other.zone}/{STREAM}/{node.zone}"
    opening = {
        "consumer_name": name, "stream": STREAM, "origin_zone": node.zone,
        "init_mode": "full_backfill", "receiver": receiver, "profile": "standard"}
    opens = lambda **paths: peer.call(FEDERATION + "OpenCursor", changed(opening, **paths))
    reasons.expect("identity_not_authorised", peer.append(fact("p-1")), "a peer does not append")
    reasons.expect("stream_not_granted", opens(stream=PRIVATE), "a peer")
    reasons.expect("stream_not_granted", opens(stream="facts.nowhere"), "unknown to a peer")
    reasons.expect("origin_not_granted", opens(origin_zone="plant-b"))
    reasons.expect("profile_mismatch", opens(profile="sil_strict"))
    reasons.expect(
        "init_out_of_range",
        opens(init_mode="explicit_timestamp", init_timestamp_unix_ms="99999999999999"))
    reasons.expect("consumer_bound", opens(consumer_name=f"{other.zone}/{STREAM}"), "its name")
    opened = opens()
    reasons.checks.check("a peer opens its cursor", opened.ok, opened)
    source = opened.json["start"]
    clone = {**receiver, "log_uuid": base64.b64encode(os.urandom(16)).decode()}
    reasons.expect("consumer_bound", opens(receiver=clone), "a cloned receiver")
    fetches = lambda **fields: peer.fetch(
        name, **{"source": source, "receiver": receiver, "format_max": 1, **fields})
    good = fetches()
    reasons.checks.check("a peer fetches", good.ok and good.json["entries"], good)
    reasons.expect("consumer_bound", fetches(receiver=clone), "a cloned receiver fetches")
    reasons.expect("missing_field", fetches(source=None), "a peer without its position")
    for title, change in (
        ("another log", {"logUuid": base64.b64encode(os.urandom(16)).decode()}),
        ("another epoch", {"epoch": 7}), ("beyond the head", {"offset": 1_000}),
        ("another record before it",
         {"offset": 1, "digestBefore": base64.b64encode(os.urandom(32)).decode(),
          "digestOffset": 0}),
    ):
        answer = fetches(source={**source, **change})
        reasons.expect("history_mismatch", answer, title)
    reasons.expect(
        "history_mismatch", opens(receiver={**receiver, "epoch": 2}), "the receiver's epoch")


def artifacts(reasons, site):
    """What an artifact store refuses, and a relay that has not fetched yet."""
    source, relay = site.node("plant-f"), site.node("relay-f")
    source.client("mes")
    source.clients[-1]["artifacts"] = ["files"]
    relay.client("reader", roles=["consumer"], origins=[source.zone])
    relay.clients[-1]["artifacts"] = ["files"]
    source.grant(relay, artifacts=["files"])
    relay.grant(source, streams=[])
    relay.pull(source)
    source.start()
    relay.start()
    mes = Caller(source, site.certificate("mes"))
    reader = Caller(relay, site.certificate("reader"))

    def put(key, blob=b"bytes", bucket="files", **fields):
        return mes.call(
            BOUNDARY + "PutObject",
            {"bucket": bucket, "key": key, "blob": base64.b64encode(blob).decode(), **fields})

    reasons.checks.check("an artifact is put", put("a").ok)
    reasons.expect("artifact_exists", put("a", b"other"))
    reasons.expect("digest_mismatch", put("b", digest="sha256:" + "0" * 64))
    reasons.expect("bucket_not_granted", put("a", bucket="private"), field="bucket")
    path = f"/v1/artifacts/{source.zone}/files/"
    reasons.expect(
        "length_required", mes.request(
            "PUT", path + "c", iter([b"x"]), {"transfer-encoding": "chunked"}))
    mes.close()
    reasons.expect(
        "artifact_store_full", mes.request("PUT", path + "c", b"", {"content-length": str(1 << 40)}))
    mes.close()
    reasons.expect("artifact_not_found", reader.request("GET", path + "nothing"))
    message = fact("f-1", zone=source.zone)
    message["fact"]["artifacts"] = [
        {"zone": source.zone, "bucket": "files", "key": "late", "digest": "sha256:" + "0" * 64,
         "size": 1, "mediaType": "text/plain"}]
    reasons.checks.check("a fact goes before its artifact", mes.append(message).ok)
    wait_until("the relay to know of it",
               lambda: reader.request("GET", path + "late").reason != "artifact_not_found")
    reasons.expect("artifact_pending", reader.request("GET", path + "late"))
    source.stop()
    relay.stop()


# What a node's state refuses


def gate(reasons, node, other):
    """What a peer is refused while the operator keeps its gate closed."""
    command = lambda *words: subprocess.run(
        [BSFG, "admin", *words, "--peer", other.zone, "--config", str(node.root)], check=True,
        capture_output=True)
    command("partition", "--reason", "the errors' test")
    peer = Caller(node, other.certificate)
    consumer = f"{other.zone}/{STREAM}/{node.zone}"
    reasons.expect("gate_closed", peer.fetch(consumer), "a fetch")
    reasons.expect("gate_closed", peer.confirm(consumer, "0"), "a confirmation")
    command("reconcile")


def overloaded(reasons, site):
    """One call in flight is allowed, and a long poll takes it."""
    node = site.node("plant-a", name="narrow")
    node.limits = {"in_flight_per_identity": 1}
    node.client("producer-1")
    node.start()
    certificate = site.certificate("producer-1", name="narrow-client")
    node.consumer("producer-1", "poll")
    waiting, caller = Caller(node, certificate), Caller(node, certificate)
    answers = []
    refused = threading.Event()

    def poll():
        # Refused, when the other call came before it, it comes again.
        while True:
            answer = waiting.fetch("poll", wait_ms=4_000)
            if answer.ok and refused.is_set():
                return answers.append(answer)
            if not answer.ok:
                time.sleep(0.02)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        reasons.expect("overloaded", wait_until("a call refused", lambda: (
            lambda answer: None if answer.ok else answer)(caller.fetch("poll"))))
    finally:
        refused.set()
    thread.join()
    reasons.checks.check("the long poll ends empty", answers and answers[0].ok, answers)
    caller.close()
    reasons.checks.check("the next call is served", caller.append(fact("o-1")).ok)
    node.stop()


def backpressure(reasons, site):
    """No more room on the disk: refused whole, while what is there is recognised and served. The
    room ends on a file system that is full (as root) or by an injected ENOSPC."""
    node = site.node("plant-a", name="small")
    node.capacity, node.segment = "64MiB", "1MiB"
    # Less than there is, so that it is the disk that ends and not the reserve.
    node.stream_options = {"free_space_reserve": "0B"}
    node.client("producer-1")
    volume = Volume(site, 6 << 20) if os.geteuid() == 0 else None
    if volume and volume.mounted:
        node.data = volume.point / "data"
    else:
        volume = None
    node.start()
    caller = Caller(node, site.certificate("producer-1", name="small-client"))
    stored = 0
    tracer = None
    try:
        for number in range(1_000):
            if number == 20 and volume is None:
                # No file can be made, and so no segment; what is open goes on.
                tracer = Tracer(node, "error=ENOSPC", "open,openat,openat2")
            answer = caller.append(fact(f"b-{number}", {"text": "x" * 20_000}))
            if not answer.ok:
                break
            stored += 1
        reasons.expect("backpressure", answer)
        print(f"  {stored} facts were stored before", flush=True)
        reasons.expect(
            "backpressure", caller.call(
                INGEST + "AppendFacts",
                {"stream": STREAM, "facts": [
                    {key: message[key] for key in ("envelope", "fact")}
                    for message in (fact("b-0", {"text": "x" * 20_000}),
                                    fact("b-new", {"text": "x" * 60_000}))]}), "a batch")
        again = caller.append(fact("b-0", {"text": "x" * 20_000}))
        reasons.checks.check(
            "backpressure: an existing fact is recognised",
            again.ok and again.json["outcome"] == "OUTCOME_EXISTING", again)
        reasons.expect(
            "conflicting_duplicate", caller.append(fact("b-0", {"text": "other"})), "when full")
        reasons.checks.equal("backpressure: nothing was lost", node.head(), stored)
        if tracer:
            tracer.end()
            tracer = None
        else:
            volume.grow(64 << 20)
        after = wait_until("room being seen", lambda: (
            lambda answer: None if answer.reason == "backpressure" else answer)(
                caller.append(fact(f"b-{stored}", {"text": "x" * 20_000}))))
        reasons.checks.check(
            "backpressure: with room again appends go on",
            after.ok and after.json["offset"] == str(stored), after)
        node.stop()
    finally:
        if tracer:
            tracer.end()
        node.kill()
        if volume:
            volume.remove()


class Volume:
    """A file system in memory of a given size."""

    def __init__(self, site, size):
        self.point = site.directory / "volume"
        self.point.mkdir()
        self.mounted = self.mount(f"size={size}")

    def mount(self, options):
        return subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.point)],
            capture_output=True).returncode == 0

    def grow(self, size):
        assert self.mount(f"remount,size={size}"), "the file system cannot grow"

    def remove(self):
        subprocess.run(["umount", "-l", str(self.point)], capture_output=True, check=True)


class CannotTrace(Exception):
    """This machine has no strace, or does not let it attach."""


class Tracer:
    """strace on a running node, injecting into its syncs; needs the right to trace."""

    def __init__(self, node, injection, calls="fdatasync,fsync,sync_file_range"):
        if not shutil.which("strace"):
            raise CannotTrace("strace is not installed")
        self.process = subprocess.Popen(
            ["strace", "-f", "-o", "/dev/null", "-p", str(node.process.pid), "-e",
             f"trace={calls}", "-e", f"inject={calls}:{injection}"],
            stderr=subprocess.PIPE, text=True)
        # Its first line tells that every thread is stopped and traced, or why not.
        self.line = self.process.stderr.readline()
        if "attached" not in self.line:
            self.process.kill()
            self.process.wait()
            raise CannotTrace(f"strace: {self.line.strip()}")
        # Nobody may wait for its other lines, which are one for each thread.
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE)


def disk(reasons, site):
    node = site.node("plant-a", name="broken")
    node.client("producer-1")
    node.start()
    caller = Caller(node, site.certificate("producer-1", name="broken-client"))
    append = BOUNDARY + "AppendFact"
    first = caller.append(fact("d-0"))
    # Long enough for the call to be at the disk before it is given up, and for the disk to be later than that.
    tracer = Tracer(node, "delay_enter=6000ms")
    answer = caller.call(append, fact("d-slow"), {"connect-timeout-ms": "2000"})
    tracer.end()
    reasons.expect("outcome_unknown", answer, "a deadline while the disk is slow")
    retry = caller.append(fact("d-slow"))
    reasons.checks.check(
        "outcome_unknown: the same id is stored once, whatever became of the first",
        retry.ok and retry.json["outcome"] in ("OUTCOME_EXISTING", "OUTCOME_APPENDED")
        and node.head() == 2, retry)

    refused, acknowledged = [], ["d-0", "d-slow"]

    def keep_appending():
        speaker = Caller(node, caller.certificate)
        number = 0
        while not refused:
            answer = speaker.append(fact(f"d-loop-{number}"))
            if answer.ok:
                acknowledged.append(f"d-loop-{number}")
            else:
                refused.append((f"d-loop-{number}", answer))
            number += 1

    loop = threading.Thread(target=keep_appending, daemon=True)
    loop.start()
    tracer = Tracer(node, "error=EIO")
    wait_until("a refusal", lambda: refused)
    loop.join()
    reasons.expect("outcome_unknown", refused[0][1], "a sync that fails")
    reasons.expect("log_poisoned", caller.append(fact("d-after")))
    tracer.end()
    reasons.expect("log_poisoned", caller.append(fact("d-later")), "when the disk works again")
    reasons.checks.eventually(
        "health says so", lambda: caller.request("GET", "/health").json.get("status") == "degraded")
    reasons.checks.eventually(
        "status says so", lambda: node.stream_status()["state"].startswith("stopped"))
    node.stop()
    node.start()
    after = [entry["message"]["envelope"]["messageId"] for entry in node.peek()]
    reasons.checks.check(
        "after a restart every acknowledged fact is there once and in order",
        after[:len(acknowledged)] == acknowledged and len(set(after)) == len(after),
        f"{len(after)} of {len(acknowledged)}")
    caller.close()
    retry = caller.append(fact(refused[0][0]))
    reasons.checks.check("the unknown one can be sent again", retry.ok, retry)
    reasons.checks.equal("first offset", first.json["offset"], "0")
    node.stop()


def corruption(reasons, site):
    """A bit of a stored record changes under a running node: `internal`, and never wrong facts."""
    node = site.node("plant-a", name="damaged")
    node.client("producer-1")
    node.start()
    caller = Caller(node, site.certificate("producer-1", name="damaged-client"))
    node.consumer("producer-1", "reader")
    for number in range(3):
        caller.append(fact(f"c-{number}", {"text": f"needle-{number}"}))
    # Reading what was just written may be served from memory.
    node.stop()
    node.start()
    caller.close()
    directory = node.data / "store" / STREAM
    damaged = 0
    for path in sorted(directory.rglob("*")):
        if path.is_file() and b"needle-1" in (content := path.read_bytes()):
            with open(path, "r+b") as file:
                file.seek(content.index(b"needle-1"))
                file.write(b"n")
                file.seek(content.index(b"needle-1"))
                file.write(b"N")
            damaged += 1
    reasons.checks.check("a record was damaged on disk", damaged > 0)
    answer = caller.fetch("reader")
    if answer.ok:
        # The page may end before the damage; the next one begins at it.
        offset = int(answer.json["nextOffset"])
        answer = caller.fetch("reader", from_offset=offset)
    reasons.expect("internal", answer)
    node.kill()


def later_format(reasons, site):
    """A log with a message as a later release writes it, and a reader that says what it knows."""
    node = site.node("plant-a", name="later")
    node.stream_options = {"capacity": "16MiB", "segment": "1MiB"}
    node.client("producer-1")
    # Made before the node is, so that it is nobody's log yet.
    directory = site.directory / "later-log"
    subprocess.run(
        [BSFG, "log", "append", "--dir", str(directory), "--segment", "1MiB", "--capacity", "16MiB"],
        input=b"\x2a\x02\x18\x02\n", capture_output=True, check=True, timeout=60)
    (node.data / "store").mkdir(parents=True, exist_ok=True)
    directory.rename(node.data / "store" / STREAM)
    node.start()
    caller = Caller(node, site.certificate("producer-1", name="later-client"))
    node.consumer("producer-1", "reader")
    reasons.expect("format_unsupported", caller.fetch("reader", format_max=1))
    reasons.checks.check(
        "format_unsupported: who knows the format is served", caller.fetch("reader", format_max=2).ok)
    node.kill()


def draining(reasons, node, caller):
    """A call that comes between the order to stop and the end of a call in flight."""
    connection = RawHTTP2(caller)
    head = node.head()
    before, asked = int(node.status()["server"]["requests"]), 0
    poll = connection.post(
        BOUNDARY + "FetchFacts", {"consumer_name": "line-3", "wait_ms": 8_000, "from_offset": str(head)})

    def is_under_way():
        # Asking is a request, too.
        nonlocal asked
        asked += 1
        return int(node.status()["server"]["requests"]) - before > asked

    wait_until("the call in flight", is_under_way)
    ending = time.monotonic() + GRACE_SECONDS
    node.process.send_signal(signal.SIGTERM)
    connection.wait(lambda frame: frame[0] == GOAWAY)
    late = connection.post(BOUNDARY + "AppendFact", fact("late"))
    headers, body = connection.answer(late)
    reasons.expect("draining", FrameAnswer(headers, body))
    headers, body = connection.answer(poll)
    reasons.checks.equal("spec 19.113: the call in flight is answered", headers[":status"], "200")
    connection.close()
    # Not after the patience of a test: from the signal on.
    reasons.checks.equal(
        "spec 19.113: and the node ends within its grace, with", node.process.wait(ending - time.monotonic()), 0)
    node.process = None


def grace(reasons, site):
    """A call that never comes to its end does not keep a node from its own."""
    node = site.node("plant-a", name="grace")
    node.client("producer-1")
    node.start()
    caller = Caller(node, site.certificate("producer-1", name="grace-client"))
    caller.request("GET", "/health")
    sock = caller.connection.sock
    sock.sendall(
        f"POST {BOUNDARY}AppendFact HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "Connect-Timeout-Ms: 60000\r\nContent-Length: 1000000\r\n\r\n{".encode())

    def drip():
        # Faster than the least rate of bodies, and not done before the deadline.
        with contextlib.suppress(OSError):
            while True:
                sock.sendall(b" " * 4_000)
                time.sleep(0.5)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    # Its head was read by then; otherwise the node ends too soon, and that is seen.
    time.sleep(1)
    began = time.monotonic()
    node.process.send_signal(signal.SIGTERM)
    code = node.process.wait(PATIENCE)
    seconds = time.monotonic() - began
    node.process = None
    thread.join()
    reasons.checks.check(
        "spec 19.113: a call that does not end is cut off with the grace of 30 s", code == 0
        and GRACE_SECONDS <= seconds <= GRACE_SECONDS + LATE_SECONDS, (code, seconds))


class FrameAnswer:
    def __init__(self, headers, body):
        self.status = int(headers[":status"])
        self.headers = headers
        self.json = json.loads(body)

    def __repr__(self):
        return f"{self.status} {self.json}"


def test(checks):
    reasons = Reasons(checks)
    untraced = set()
    with Site() as site:
        node = site.node("plant-a")
        other = site.node("enterprise")
        node.object_limit = "64KiB"
        node.other_streams = [{"name": PRIVATE}]
        node.client("producer-1")
        node.client("reader-1", roles=["consumer"])
        node.grant(other)
        node.start()
        caller = Caller(node, site.certificate("producer-1"))
        node.consumer("producer-1", "line-3")
        for name, part in (
            ("requests", lambda: invalid(reasons, caller)),
            ("transport", lambda: transport(reasons, caller)),
            ("deadlines", lambda: slow_body(reasons, caller)),
            ("permissions", lambda: permissions(reasons, site, node, caller)),
            ("peers", lambda: peers(reasons, node, other)),
            ("gate", lambda: gate(reasons, node, other)),
            ("artifacts", lambda: artifacts(reasons, site)),
            ("overload", lambda: overloaded(reasons, site)),
            ("backpressure", lambda: backpressure(reasons, site)),
            ("the disk", lambda: disk(reasons, site)),
            ("corruption", lambda: corruption(reasons, site)),
            ("a later format", lambda: later_format(reasons, site)),
            ("draining", lambda: draining(reasons, node, caller)),
            ("grace", lambda: grace(reasons, site)),
        ):
            with checks.guard(name):
                try:
                    part()
                except CannotTrace as error:
                    checks.skip(name, str(error))
                    untraced = TRACED
    served = {reason for reason, rule in RULES.items() if rule.served}
    missing = sorted(served - reasons.produced - untraced)
    checks.check(
        f"all {len(served)} served reasons were produced", not missing,
        "never: " + ", ".join(missing))
    surprising = sorted(reasons.produced - served)
    checks.check(
        "no reason is answered that the table calls not yet served", not surprising,
        ", ".join(surprising))


if __name__ == "__main__":
    main(test)

#!/usr/bin/env python3
"""The unary server cases of the Connect conformance suite (github.com/connectrpc/conformance), as a table.

    BSFG=path connect_conformance.py

The suite itself is written in Go. TABLE below has its cases by their own names, `name of the suite/testName`, in the
order of its files (internal/app/connectconformance/testsuites/data/*.yaml). The suite calls a service of its own, which
answers whatever the request tells it to; a node has no such service, so each case asks a real node, in words of the
contract, for what the suite would have it answer. Of every case one of these holds:

- `Case`: it is driven in every way that it is about, and the answer is the suite's.
- `Differs`: it is driven too, and the answer is another one by decision (docs/decisions/0068), which is checked.
- `NotApplicable`: nothing here can be asked so, which is said.
"""

import base64
import concurrent.futures
import dataclasses
import gzip
import itertools
import json
import pathlib
import struct
import subprocess
import threading
import time
import typing
import urllib.parse

import grpc_client
from contract import PROTO, error_table
from google.protobuf import any_pb2, json_format
from protobuf_fields import fields
from pyqwest import Headers, HTTPVersion, SyncClient, SyncHTTPTransport
from support import BSFG, PATIENCE, STREAM, Caller, Site, fact, main

PRIVATE, DAMAGED = "facts.private", "facts.damaged"
BODY_BYTES = 128 << 10
SERVICES = {
    "AppendFact": "BoundaryService", "FetchFacts": "BoundaryService", "AppendFacts": "IngestService",
    "ListStreams": "FederationService"}
RULES = error_table()
# By number, as gRPC has them.
CODES = [
    "ok", "canceled", "unknown", "invalid_argument", "deadline_exceeded", "not_found", "already_exists",
    "permission_denied", "resource_exhausted", "failed_precondition", "aborted", "out_of_range", "unimplemented",
    "internal", "unavailable", "data_loss", "unauthenticated"]


# How a call is made


class Way(typing.NamedTuple):
    """One combination of what the suite varies."""

    protocol: str
    version: str
    codec: str
    coding: str

    def __str__(self):
        return f"{self.protocol} {self.version} {self.codec} {self.coding}"

    @property
    def is_grpc(self):
        return self.protocol == "gRPC"


def ways(protocols=("Connect", "gRPC"), versions=("1.1", "2"), codecs=("json", "proto"), codings=("identity", "gzip")):
    """gRPC is HTTP/2 and proto always."""
    return [
        way for way in itertools.starmap(Way, itertools.product(protocols, versions, codecs, codings))
        if not way.is_grpc or (way.version == "2" and way.codec == "proto")]


ALL = ways()
CONNECT = ways(protocols=["Connect"])
# The suites about unexpected requests are proto and identity only.
RAW_CONNECT = ways(protocols=["Connect"], codecs=["proto"], codings=["identity"])
RAW_GRPC = ways(protocols=["gRPC"], codings=["identity"])


class Reply:
    """What was answered: the head with its trailers, and the body."""

    def __init__(self, way, method, messages, response):
        self.way = way
        self.version = "1.1" if response.http_version == HTTPVersion.HTTP1 else "2"
        self.status = response.status
        self.bytes = b"".join(map(bytes, response.content))
        # Trailers are there once the body has been read.
        self.fields = [*response.headers.items(), *response.trailers.items()]
        self.messages = messages
        self.response = messages.response(method) if method in SERVICES else None

    def field(self, name):
        return next((value for each, value in self.fields if each == name), None)

    @property
    def is_good(self):
        return self.status == 200 and (not self.way.is_grpc or self.field("grpc-status") == "0")

    @property
    def is_packed(self):
        """Whether the message came in gzip. Connect's is inflated by the transport, which then drops the length."""
        return bool(self.bytes[0]) if self.way.is_grpc else self.field("content-length") is None

    @property
    def message(self):
        """The good answer, decoded."""
        body = self.bytes
        if self.way.is_grpc:
            flag, length = struct.unpack(">BI", body[:5])
            if length != len(body) - 5:
                raise ValueError(f"the frame says {length} bytes and has {len(body) - 5}")
            body = gzip.decompress(body[5:]) if flag else body[5:]
        if self.way.codec == "json":
            return json_format.Parse(body, self.response)
        self.response.ParseFromString(body)
        return self.response

    @property
    def error(self):
        """(code, message, the one detail) in either protocol."""
        if self.way.is_grpc:
            status = fields(decode(self.field("grpc-status-details-bin")))
            code, message = CODES[int(self.field("grpc-status"))], urllib.parse.unquote(self.field("grpc-message"))
            if (CODES[dict(status)[1]], dict(status)[2].decode()) != (code, message):
                raise ValueError("the status in the details is another one")
            packed = [any_pb2.Any.FromString(value) for number, value in status if number == 3]
            found = [(each.type_url.rpartition("/")[2], each.value) for each in packed]
        else:
            body = json.loads(self.bytes)
            found = [(each["type"], decode(each["value"])) for each in body["details"]]
            code, message = body["code"], body["message"]
        if [kind for kind, _ in found] != ["bsfg.v1.ErrorDetail"]:
            raise ValueError(f"the details are {found}")
        return code, message, self.messages.pb.ErrorDetail.FromString(found[0][1])

    def __repr__(self):
        return f"{self.way}: {self.status} {self.fields} {self.bytes[:300]!r}"


def decode(text):
    return base64.b64decode(text + "=" * (-len(text) % 4))


class Messages:
    """The contract's messages by their method, made from JSON."""

    def __init__(self, pb):
        self.pb = pb

    def response(self, method):
        return getattr(self.pb, f"{method}Response")()

    def encode(self, way, method, message):
        if way.codec == "json":
            return json.dumps(message, ensure_ascii=False).encode()
        return json_format.ParseDict(message, getattr(self.pb, f"{method}Request")()).SerializeToString()


class Asker:
    """Makes calls, each over a connection of its own."""

    def __init__(self, node, messages, certificates):
        self.node, self.messages = node, messages
        self.authority = node.site.authority.read_bytes()
        self.certificates = {
            name: [pathlib.Path(f"{path}.{kind}").read_bytes() for kind in ("crt", "key")]
            for name, path in certificates.items()}

    def head(self, way, media_type=None, coding=None, timeout_ms=None):
        """The header fields of a call."""
        coding = coding or way.coding
        if way.is_grpc:
            found = [
                ("content-type", media_type or "application/grpc"), ("te", "trailers"),
                ("grpc-encoding", coding), ("grpc-accept-encoding", f"identity, {way.coding}")]
            return found + ([("grpc-timeout", f"{timeout_ms}m")] if timeout_ms else [])
        found = [
            ("content-type", media_type or f"application/{way.codec}"), ("connect-protocol-version", "1"),
            ("content-encoding", coding), ("accept-encoding", way.coding)]
        return found + ([("connect-timeout-ms", str(timeout_ms))] if timeout_ms else [])

    def body(self, way, method, message, raw=None):
        """A message as the way has it: in its codec, its coding and its frame."""
        content = self.messages.encode(way, method, message) if raw is None else raw
        packed = gzip.compress(content) if way.coding == "gzip" else content
        if not way.is_grpc:
            return packed
        return struct.pack(">BI", way.coding == "gzip", len(packed)) + packed

    def call(self, way, method, message=None, *, raw=None, body=None, verb="POST", path=None, more=(), slow=False,
             identity="producer-1", **head):
        """One call. `raw` is the message already encoded, `body` all that is sent; of a
        `slow` body the second half never comes."""
        sent = self.body(way, method, message, raw) if body is None else body
        certificate, key = self.certificates[identity]
        transport = SyncHTTPTransport(
            tls_ca_cert=self.authority, tls_cert=certificate, tls_key=key,
            http_version=HTTPVersion.HTTP1 if way.version == "1.1" else HTTPVersion.HTTP2)
        answered = threading.Event()

        def half():
            yield sent[:len(sent) // 2]
            answered.wait(PATIENCE)

        path = path or f"/bsfg.v1.{SERVICES[method]}/{method}"
        with transport:
            try:
                with SyncClient(transport).stream(
                    verb, f"https://127.0.0.1:{self.node.port}{path}", Headers([*self.head(way, **head), *more]),
                    half() if slow else sent, timeout=PATIENCE,
                ) as response:
                    reply = Reply(way, method, self.messages, response)
            finally:
                answered.set()
        require(reply.version == way.version, "it came over another version of HTTP", reply)
        # A service has no trailers of its own, which Connect's unary answers carry in fields of this prefix.
        require(not any(name.startswith("trailer-") for name, _ in reply.fields), "it has trailers", reply)
        return reply


class Failed(Exception):
    pass


def require(holds, sentence, reply):
    if not holds:
        raise Failed(f"{sentence}: {reply!r}")


def expect_error(reply, reason, says=""):
    """Refused for this reason: the code, one sentence and the detail, as docs/api/errors.md has them."""
    rule = RULES[reason]
    found, message, detail = reply.error
    require(
        (found, detail.reason, detail.retryable) == (rule.code, reason, rule.retryable),
        f"not {reason} with {rule.code}", reply)
    require(says in message, f"the message does not say {says!r}", reply)
    if reply.way.is_grpc:
        require(
            reply.status == 200 and reply.field("content-type") == "application/grpc" and not reply.bytes,
            "it is no answer of trailers only", reply)
    else:
        require(
            reply.status == rule.status and reply.field("content-type") == "application/json",
            f"it is not JSON with status {rule.status}", reply)


def expect_good(reply):
    require(reply.is_good, "it was refused", reply)
    media_type = "application/grpc" if reply.way.is_grpc else f"application/{reply.way.codec}"
    require(reply.field("content-type") == media_type, f"it is no {media_type}", reply)
    return reply.message


# What is asked


TEXT = "test response, " * 200


def unique(way, word):
    return f"{word} {way}".replace(" ", "-").replace(".", "_")


def success(asker, way, more=(), word="success"):
    """A fact is stored, and comes back as it was: in gzip where that was asked for."""
    identifier = unique(way, word)
    stored = expect_good(asker.call(way, "AppendFact", fact(identifier, {"text": TEXT}), more=more))
    require(stored.outcome == asker.messages.pb.OUTCOME_APPENDED, "it is not appended", stored)
    reply = asker.call(
        way, "FetchFacts", {"consumer_name": "suite", "from_offset": str(stored.offset), "limit": 1}, more=more)
    page = expect_good(reply)
    require(
        [(entry.offset, entry.message.envelope.message_id, json.loads(entry.message.fact.object_json))
         for entry in page.entries] == [(stored.offset, identifier, {"text": TEXT})], "it is another fact", page)
    require(reply.is_packed == (way.coding == "gzip"), "the answer's coding is wrong", reply)


def twice_success(asker, way):
    success(asker, way, [("x-conformance-test", "Value1"), ("x-conformance-test", "Value2")], "twice")


def twice_error(asker, way):
    expect_error(
        asker.call(
            way, "FetchFacts", {"consumer_name": "nobody"},
            more=[("x-conformance-test", "Value1"), ("x-conformance-test", "Value2")]),
        "consumer_not_found")


def unimplemented(asker, way):
    expect_error(
        asker.call(way, "Nothing", raw=b"", path="/bsfg.v1.BoundaryService/Unimplemented"), "unknown_method")


def refused_fact(stream=STREAM, **changes):
    message = fact("refused", stream=stream)
    message["fact"].update(changes)
    return message


# Of each code that a reason has: that reason, and the call that gets it.
REFUSALS = {
    "invalid_argument": (
        "invalid_subject", lambda asker, way: asker.call(way, "AppendFact", refused_fact(subject="No Subject"))),
    "deadline_exceeded": (
        "deadline_exceeded",
        lambda asker, way: asker.call(way, "AppendFact", fact("half"), timeout_ms=300, slow=True)),
    "not_found": (
        "consumer_not_found", lambda asker, way: asker.call(way, "FetchFacts", {"consumer_name": "nobody"})),
    "already_exists": (
        "conflicting_duplicate", lambda asker, way: asker.call(way, "AppendFact", fact("kept", {"value": 2}))),
    "permission_denied": (
        "stream_not_granted", lambda asker, way: asker.call(way, "AppendFact", refused_fact(stream=PRIVATE))),
    "resource_exhausted": (
        "too_large", lambda asker, way: asker.call(way, "AppendFact", refused_fact(object={"text": "x" * 70_000}))),
    "failed_precondition": (
        "cursor_detached", lambda asker, way: asker.call(way, "FetchFacts", {"consumer_name": "detached"})),
    "out_of_range": (
        "beyond_head",
        lambda asker, way: asker.call(way, "FetchFacts", {"consumer_name": "suite", "from_offset": "100000"})),
    "unimplemented": (
        "unsupported_encoding", lambda asker, way: asker.call(way, "AppendFact", fact("coded"), coding="br")),
    "internal": (
        "internal",
        lambda asker, way: asker.call(way, "FetchFacts", {"consumer_name": "damaged", "from_offset": "1"})),
    "unavailable": (
        "gate_closed",
        lambda asker, way: asker.call(way, "FetchFacts", asker.peers_fetch, identity="enterprise")),
}


def refusal(code):
    reason, ask = REFUSALS[code]
    return lambda asker, way: expect_error(ask(asker, way), reason)


def http_code(code, status):
    """The suite asks for the status alone, of the same calls."""
    _, ask = REFUSALS[code]

    def drive(asker, way):
        reply = ask(asker, way)
        require(reply.status == status, f"the status is not {status}", reply)

    return drive


UNICODE = "\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈 and 100%\n"


def unicode_message(asker, way):
    expect_error(
        asker.call(way, "FetchFacts", {"consumer_name": UNICODE}), "consumer_not_found", says=UNICODE)


def empty_request(asker, way):
    """Zero bytes are a message, and not the absence of one."""
    reply = asker.call(way, "ListStreams", raw=b"", identity="enterprise")
    require([each.stream for each in expect_good(reply).streams] == [STREAM], "other streams are listed", reply)


def sized(asker, way, size):
    """A batch whose encoded message has this many bytes, and its coded form fewer."""
    identifier = unique(way, f"sized {size}")

    def batch(last):
        facts = []
        for number, count in enumerate((40_000, 40_000, last)):
            message = fact(f"{identifier}-{number}", {"text": "x" * count})
            facts.append({"envelope": message["envelope"], "fact": message["fact"]})
        return asker.messages.encode(way, "AppendFacts", {"stream": STREAM, "facts": facts})

    last = size - 81_000
    for _ in range(4):
        last += size - len(batch(last))
    content = batch(last)
    if len(content) != size:
        raise ValueError(f"the batch has {len(content)} bytes and not {size}")
    return asker.call(way, "AppendFacts", raw=content)


def at_the_limit(asker, way):
    stored = expect_good(sized(asker, way, BODY_BYTES))
    require(
        [each.outcome for each in stored.outcomes] == 3 * [asker.messages.pb.OUTCOME_APPENDED], "not appended", stored)


def above_the_limit(asker, way):
    expect_error(sized(asker, way, BODY_BYTES + 10), "too_large")


def propagated(asker, way, timeout_ms=2_000):
    """A long poll of ten seconds knows of the two that its caller waits, and ends a quarter of a second before."""
    # A slow machine now and then needs that quarter, and then the deadline comes first.
    for attempt in range(5):
        began = time.monotonic()
        reply = asker.call(way, "FetchFacts", {**asker.at_head, "wait_ms": 10_000}, timeout_ms=timeout_ms)
        if reply.is_good:
            break
    require(not expect_good(reply).entries, "it has entries", reply)
    seconds = time.monotonic() - began
    require(timeout_ms / 1_000 - 0.5 < seconds < 9, f"it took {seconds:.2f} s", reply)


def shorter_than_the_poll(asker, way):
    propagated(asker, way, timeout_ms=600)


def unexpected(reason, **options):
    def drive(asker, way):
        reply = asker.call(way, "AppendFact", fact("unexpected"), **options)
        expect_error(reply, reason)
        if reason == "method_not_allowed" and not way.is_grpc:
            require(reply.field("allow") == "POST", "Allow is not POST", reply)

    return drive


def framed(asker, way, media_type):
    """The same call under either spelling of gRPC's media type."""
    identifier = unique(way, media_type.replace("/", "-"))
    stored = expect_good(asker.call(way, "AppendFact", fact(identifier), media_type=media_type))
    require(stored.outcome == asker.messages.pb.OUTCOME_APPENDED, "it is not appended", stored)


def no_message(asker, way):
    expect_error(asker.call(way, "ListStreams", body=b"", identity="enterprise"), "malformed_request")


def two_messages(asker, way):
    expect_error(asker.call(way, "ListStreams", body=bytes(10), identity="enterprise"), "malformed_request")


def packed_without_coding(asker, way):
    expect_error(
        asker.call(way, "ListStreams", body=b"\x01" + bytes(4), identity="enterprise"), "malformed_request")


def get(asker, way):
    expect_error(
        asker.call(
            way, "FetchFacts", body=b"", verb="GET",
            path="/bsfg.v1.BoundaryService/FetchFacts?connect=v1&encoding=json&message=%7B%7D"),
        "method_not_allowed")


def media_type_refused(media_type):
    def drive(asker, way):
        expect_error(
            asker.call(way, "ListStreams", body=bytes(5), media_type=media_type, identity="enterprise"),
            "unsupported_media_type")

    return drive


# The table


@dataclasses.dataclass
class Case:
    name: str
    drive: typing.Callable
    over: list


@dataclasses.dataclass
class Differs(Case):
    because: str


@dataclasses.dataclass
class NotApplicable:
    name: str
    because: str
    # No reason of docs/api/errors.md may have it.
    code: str | None = None


NO_REASON = "no reason of docs/api/errors.md has this code"
METADATA = "no service adds header fields or trailers of its own to an answer; Retry-After is in errors.py"
STREAMING = "the contract has no method that streams"
WRONG_HTTP = (
    "the suite reads `unknown` off the bare HTTP status, ours is said in words: `unimplemented`, as decision 33 has "
    "it for what is refused before a method is found; the status is the suite's")
WRONG_FRAME = (
    "the suite wants `{}`; a body that cannot be read is `malformed_request` in every framing, and a reason has one "
    "code (docs/decisions/0068); no client sends it again for either")
# Every case that the suite has for streams of a client, a server or both; of all its suites alike.
STREAMS = ("client-stream/*", "server-stream/*", "bidi-stream/*")

TABLE = [
    # basic.yaml
    Case("Basic/unary/success", success, ALL),
    Case("Basic/unimplemented", unimplemented, ALL),
    # connect_client_code_to_http_code.yaml
    NotApplicable("Connect to HTTP Code Mapping/unary/canceled", NO_REASON, "canceled"),
    NotApplicable("Connect to HTTP Code Mapping/unary/unknown", NO_REASON, "unknown"),
    Case("Connect to HTTP Code Mapping/unary/invalid-argument", http_code("invalid_argument", 400), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/deadline-exceeded", http_code("deadline_exceeded", 504), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/not-found", http_code("not_found", 404), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/already-exists", http_code("already_exists", 409), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/permission-denied", http_code("permission_denied", 403), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/resource-exhausted", http_code("resource_exhausted", 429), CONNECT),
    Case(
        "Connect to HTTP Code Mapping/unary/failed-precondition-mapping", http_code("failed_precondition", 400),
        CONNECT),
    NotApplicable("Connect to HTTP Code Mapping/unary/aborted", NO_REASON, "aborted"),
    Case("Connect to HTTP Code Mapping/unary/out-of-range", http_code("out_of_range", 400), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/unimplemented", http_code("unimplemented", 501), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/internal", http_code("internal", 500), CONNECT),
    Case("Connect to HTTP Code Mapping/unary/unavailable", http_code("unavailable", 503), CONNECT),
    NotApplicable("Connect to HTTP Code Mapping/unary/data-loss", NO_REASON, "data_loss"),
    NotApplicable("Connect to HTTP Code Mapping/unary/unauthenticated", NO_REASON, "unauthenticated"),
    # connect_server_unexpected.yaml
    NotApplicable("Connect Unexpected Requests/server-stream/no-request", STREAMING),
    NotApplicable("Connect Unexpected Requests/server-stream/multiple-requests", STREAMING),
    Differs(
        "Connect Unexpected Requests/unexpected-verb", unexpected("method_not_allowed", verb="DELETE"), RAW_CONNECT,
        WRONG_HTTP),
    Case(
        "Connect Unexpected Requests/unexpected-uri",
        unexpected("unknown_method", path="/connectrpc.conformance.v1.UnknownService/UnknownMethod"), RAW_CONNECT),
    Differs(
        "Connect Unexpected Requests/unexpected-codec",
        unexpected("unsupported_media_type", media_type="application/foo"), RAW_CONNECT, WRONG_HTTP),
    Case(
        "Connect Unexpected Requests/unexpected-compression", unexpected("unsupported_encoding", coding="foo"),
        RAW_CONNECT),
    Differs(
        "Connect Unexpected Requests/unexpected-compressed-message", media_type_refused("application/connect+proto"),
        RAW_CONNECT, STREAMING + ", so that the media type of a stream is refused"),
    # connect_with_get.yaml
    Differs(
        "Connect with GET/success", get, ways(protocols=["Connect"], codings=["identity"]),
        "no method is free of side effects (decision 30), so that none is called with GET: 405 with Allow"),
    # deadline_propagation.yaml
    Case("Deadline Propagation/unary/success", propagated, ALL),
    # duplicate_metadata.yaml: the answers' half of it is not applicable, see METADATA.
    Case("Duplicate Metadata/unary/success", twice_success, ALL),
    Case("Duplicate Metadata/unary/error", twice_error, ALL),
    # errors.yaml
    NotApplicable("Errors/unary/canceled", NO_REASON, "canceled"),
    NotApplicable("Errors/unary/unknown", NO_REASON, "unknown"),
    Case("Errors/unary/invalid-argument", refusal("invalid_argument"), ALL),
    Case("Errors/unary/deadline-exceeded", refusal("deadline_exceeded"), ALL),
    Case("Errors/unary/not-found", refusal("not_found"), ALL),
    Case("Errors/unary/already-exists", refusal("already_exists"), ALL),
    Case("Errors/unary/permission-denied", refusal("permission_denied"), ALL),
    Case("Errors/unary/resource-exhausted", refusal("resource_exhausted"), ALL),
    Case("Errors/unary/failed-precondition", refusal("failed_precondition"), ALL),
    NotApplicable("Errors/unary/aborted", NO_REASON, "aborted"),
    Case("Errors/unary/out-of-range", refusal("out_of_range"), ALL),
    Case("Errors/unary/unimplemented", refusal("unimplemented"), ALL),
    Case("Errors/unary/internal", refusal("internal"), ALL),
    Case("Errors/unary/unavailable", refusal("unavailable"), ALL),
    NotApplicable("Errors/unary/data-loss", NO_REASON, "data_loss"),
    NotApplicable("Errors/unary/unauthenticated", NO_REASON, "unauthenticated"),
    NotApplicable("Errors/unary/error-with-metadata", METADATA),
    Case("Errors/unary/unicode-error-message", unicode_message, ALL),
    # grpc_server_proto_subformat.yaml
    Case(
        "gRPC Proto Sub-Format Requests/with-proto-sub-format",
        lambda asker, way: framed(asker, way, "application/grpc+proto"), RAW_GRPC),
    Case(
        "gRPC Proto Sub-Format Requests/without-proto-sub-format",
        lambda asker, way: framed(asker, way, "application/grpc"), RAW_GRPC),
    # grpc_server_unexpected.yaml
    Differs(
        "gRPC Unexpected Requests/unary/no-request", no_message, RAW_GRPC, WRONG_FRAME.format("unimplemented")),
    Differs(
        "gRPC Unexpected Requests/unary/multiple-requests", two_messages, RAW_GRPC,
        WRONG_FRAME.format("unimplemented")),
    Case("gRPC Unexpected Requests/unexpected-verb", unexpected("method_not_allowed", verb="DELETE"), RAW_GRPC),
    Case(
        "gRPC Unexpected Requests/unexpected-uri",
        unexpected("unknown_method", path="/connectrpc.conformance.v1.UnknownService/UnknownMethod"), RAW_GRPC),
    Case(
        "gRPC Unexpected Requests/unexpected-codec",
        unexpected("unsupported_media_type", media_type="application/grpc+foo"), RAW_GRPC),
    Case(
        "gRPC Unexpected Requests/unexpected-compression", unexpected("unsupported_encoding", coding="foo"),
        RAW_GRPC),
    Differs(
        "gRPC Unexpected Requests/unexpected-compressed-message", packed_without_coding, RAW_GRPC,
        WRONG_FRAME.format("internal")),
    # grpc_web_server_proto_subformat.yaml, grpc_web_server_unexpected.yaml, and every other suite over gRPC-Web
    Differs(
        "gRPC-Web */*", media_type_refused("application/grpc-web+proto"), RAW_CONNECT,
        "gRPC-Web is not served (docs/decisions/0050): browsers speak it, and none has a client's certificate here"),
    # server_empty.yaml
    Case("Server Empty Requests/unary/empty-request", empty_request, ways(codecs=["proto"], codings=["identity"])),
    # server_message_size.yaml
    Case("Server Message Size/unary/request-equal-to-server-limit", at_the_limit, ways(codecs=["proto"])),
    Case("Server Message Size/unary/request-exceeds-server-limit", above_the_limit, ways(codecs=["proto"])),
    # server_unexpected.yaml
    Differs(
        "Unexpected Requests/unexpected-content-type", unexpected("unsupported_media_type", media_type="image/jpeg"),
        RAW_CONNECT, WRONG_HTTP),
    # timeouts.yaml
    Differs(
        "Timeouts/unary", shorter_than_the_poll, ALL,
        "the only method that waits of itself ends before the deadline with what it has; what was admitted to a "
        "commit and is late is `outcome_unknown` (decision 32, errors.py); a request that came too slowly is "
        "Errors/unary/deadline-exceeded"),
    # tls_client_certs.yaml
    NotApplicable("TLS Client Certs/client-stream", STREAMING + "; every call of this table has a client certificate"),
    # Of all suites
    *[NotApplicable(f"*/{name}", STREAMING) for name in STREAMS],
    NotApplicable("*/HTTPVersion:3/*", "the node speaks HTTP/1.1 and HTTP/2"),
    NotApplicable("*/TLS:false/*", "the node's port speaks TLS 1.3 only"),
    NotApplicable("*/Codec:CODEC_TEXT/*", "the node takes JSON and protobuf"),
    NotApplicable(
        "*/Compression:COMPRESSION_BR, _ZSTD, _DEFLATE, _SNAPPY/*",
        "the node takes identity and gzip; another one is Connect Unexpected Requests/unexpected-compression"),
]


def drive(checks, asker, row):
    """One line of the table in all its ways."""

    def attempt(way):
        try:
            row.drive(asker, way)
        except Exception as error:  # every kind: it is said of this way and fails the row
            return f"{way}: {type(error).__name__}: {error}"
        return None

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        failures = [failure for failure in pool.map(attempt, row.over) if failure]
    word = " (differs)" if isinstance(row, Differs) else ""
    checks.check(
        f"gateway decision 30: Connect suite: {row.name}{word}, {len(row.over)} ways", not failures,
        f"{len(failures)} failed: " + "; ".join(failures[:3]))


def damage(node):
    """A bit of a stored record changes under the running node."""
    count = 0
    for path in (node.data / "store" / DAMAGED).rglob("*"):
        if path.is_file() and b"needle-1" in (content := path.read_bytes()):
            with open(path, "r+b") as file:
                file.seek(content.index(b"needle-1"))
                file.write(b"N")
            count += 1
    if not count:
        raise RuntimeError("no record was found to damage")


def prepare(site, node, other, caller):
    """Consumers in every state that a refusal needs, and a gate that is closed."""
    for name, stream in (("suite", STREAM), ("detached", STREAM), ("damaged", DAMAGED)):
        node.consumer("producer-1", name, stream=stream)
    node.admin("DetachConsumer", {"owner": "producer-1", "name": "detached", "reason": "the suite"})
    answers = [caller.append(fact("kept"))] + [
        caller.append(fact(f"damaged-{number}", {"text": f"needle-{number}"}, stream=DAMAGED)) for number in range(3)]
    if not all(answer.ok for answer in answers):
        raise RuntimeError(f"what the cases need was not stored: {answers}")
    caller.close()
    # What was just written is read from memory.
    node.stop()
    node.start()
    damage(node)
    subprocess.run(
        [BSFG, "admin", "partition", "--peer", other.zone, "--reason", "the suite", "--config", str(node.root)],
        check=True, capture_output=True)


def test(checks):
    with Site() as site:
        pb, _ = grpc_client.generate(site.directory)
        node, other = site.node("plant-a"), site.node("enterprise")
        node.object_limit = "64KiB"
        node.limits = {"body_size": "128KiB"}
        node.other_streams = [{"name": PRIVATE}, {"name": DAMAGED}]
        node.client("producer-1", streams=(STREAM, DAMAGED))
        node.grant(other)
        certificates = {"producer-1": site.certificate("producer-1"), "enterprise": other.certificate}
        node.start()
        prepare(site, node, other, Caller(node, certificates["producer-1"]))
        asker = Asker(node, Messages(pb), certificates)
        source = {"logUuid": base64.b64encode(bytes(16)).decode(), "epoch": "1"}
        asker.peers_fetch = {
            "consumer_name": f"{other.zone}/{STREAM}/{node.zone}", "source": source, "receiver": source,
            "format_max": 1}
        for row in TABLE:
            if isinstance(row, NotApplicable):
                print(f"  not applicable: {row.name}: {row.because}", flush=True)
                if row.code:
                    checks.equal(
                        f"gateway decision 30: Connect suite: {row.name} is no reason's",
                        [rule.reason for rule in RULES.values() if rule.code == row.code], [])
                continue
            if isinstance(row, Differs):
                print(f"  differs: {row.name}: {row.because}", flush=True)
            asker.at_head = {"consumer_name": "suite", "from_offset": str(node.head())}
            drive(checks, asker, row)
        text = PROTO.read_text()
        checks.check(
            "gateway decision 30: no method streams or is free of side effects",
            "(stream " not in text and "NO_SIDE_EFFECTS" not in text)
        checks.equal("the node ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)

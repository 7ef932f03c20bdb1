#!/usr/bin/env python3
"""The official Python Connect client (PyPI connectrpc) against a node: its defaults, then every
combination of codec, coding and HTTP version; errors decoded as the table says.

    BSFG=path connect_client.py
"""

import itertools
import json
import pathlib
import re
import time

import whole_contract
from contract import PROTO, error_table, generate
from connectrpc.code import Code
from connectrpc.codec import proto_json_codec
from connectrpc.errors import ConnectError
from protobuf import Oneof, message_from_json_value, message_to_json_value
from pyqwest import HTTPVersion, SyncClient, SyncHTTPTransport
from support import STREAM, Caller, Site, fact, main

RULES = error_table()


class Recorder:
    """The client's own transport; remembers how the last call went."""

    def __init__(self, transport):
        self.transport = transport

    def execute_sync(self, request):
        self.request = dict(request.headers.items())
        response = self.transport.execute_sync(request)
        self.version = response.http_version
        self.headers = dict(response.headers.items())
        return response


class Clients:
    """The generated clients over one transport with a client certificate."""

    def __init__(self, generated, node, certificate, version=None, **options):
        files = {name: pathlib.Path(f"{certificate}.{name}").read_bytes() for name in ("crt", "key")}
        transport = SyncHTTPTransport(
            tls_ca_cert=node.site.authority.read_bytes(), tls_cert=files["crt"],
            tls_key=files["key"], http_version=version)
        self.wire = Recorder(transport)
        http_client = SyncClient(self.wire)
        address = f"https://127.0.0.1:{node.port}"
        self.of = lambda service: getattr(generated.connect, f"{service}ClientSync")(
            address, http_client=http_client, **options)
        self.boundary = self.of("BoundaryService")
        self.ingest = self.of("IngestService")


class Requests:
    """Messages of the generated classes."""

    def __init__(self, generated):
        self.pb = generated.pb

    def envelope(self, identifier, **fields):
        return self.pb.Envelope(
            message_id=identifier, from_zone="plant-a", to_zone="plant-a",
            produced_at_unix_ms=1_700_000_000_000, **fields)

    def fact(self, text):
        return self.pb.Fact(
            subject="turbine:R80711", predicate="power_measured",
            body=Oneof(field="object_json", value=text))

    def append(self, identifier, text='{"value":1}', **fields):
        return self.pb.AppendFactRequest(
            stream=STREAM, envelope=self.envelope(identifier, **fields), fact=self.fact(text))

    def message(self, identifier, text='{"value":1}'):
        return self.pb.Message(envelope=self.envelope(identifier), fact=self.fact(text))


def refused(checks, name, generated, reason, call):
    """The call is refused with this reason, as the table says. Returns the decoded detail."""
    try:
        call()
    except ConnectError as error:
        rule = RULES[reason]
        detail = error.details[0].value(generated.pb.ErrorDetail) if error.details else None
        found = (error.code.value, len(error.details), detail and detail.reason,
                 detail and detail.retryable)
        checks.equal(name, found, (rule.code, 1, reason, rule.retryable))
        return detail
    checks.check(name, False, "it was not refused")
    return None


def round_trip(checks, name, requests, clients, consumer, expected):
    """Appends, appends again, fetches and confirms. Returns whether it could."""
    pb = requests.pb
    codec, gzip, version = expected
    identifier = name.replace(" ", "-")
    text = json.dumps({"text": "wind " * 400, "value": 2.5}, separators=(",", ":"))
    first = clients.boundary.append_fact(requests.append(identifier, text))
    checks.equal(f"{name}: appended", first.outcome, pb.Outcome.APPENDED)
    checks.equal(f"{name}: HTTP version", clients.wire.version, version)
    checks.equal(
        f"{name}: codec and coding of the request",
        (clients.wire.request["content-type"],
         clients.wire.request.get("content-encoding", "identity")),
        (f"application/{codec}", "gzip" if gzip else "identity"))
    again = clients.boundary.append_fact(requests.append(identifier, text))
    checks.equal(
        f"{name}: a retry is existing", (again.outcome, again.offset),
        (pb.Outcome.EXISTING, first.offset))
    page = clients.boundary.fetch_facts(pb.FetchFactsRequest(consumer_name=consumer))
    # The transport inflates by itself and then drops both headers that were of the gzip bytes.
    checks.equal(
        f"{name}: the answer was inflated", "content-length" not in clients.wire.headers, gzip)
    last = page.entries[-1]
    checks.equal(
        f"{name}: fetched",
        (last.offset, last.item.value.envelope.message_id, last.item.value.fact.body.value,
         bytes(last.content_digest)),
        (first.offset, identifier, text, bytes(first.content_digest)))
    done = clients.boundary.confirm_receipt(
        pb.ConfirmReceiptRequest(consumer_name=consumer, offset=last.offset))
    checks.equal(
        f"{name}: confirmed", (done.cursor_advanced_to, done.next_offset),
        (first.offset, first.offset + 1))


def first_answer(checks, site, node, certificate):
    """Nothing has been appended yet, and a zero must not be left out."""
    answer = Caller(node, certificate).append(fact("the-first"))
    checks.check(
        'the first fact\'s JSON answer has "offset":"0"', '"offset":"0"' in answer.text, answer.text)


def unknown_field(checks, directory, node, certificate):
    """The same client generated from a contract that has one field more."""
    newer = PROTO.read_text().replace(
        "string object_media_type=8;", "string object_media_type=8; string colour=77;")
    generated = generate(directory, "newer", newer)
    requests = Requests(generated)
    for codec, options in (("proto", {}), ("JSON", {"codec": proto_json_codec()})):
        clients = Clients(generated, node, certificate, **options)
        detail = refused(
            checks, f"an unknown field in {codec}", generated, "unknown_field",
            lambda: clients.boundary.append_fact(requests.append("u-1", colour="red")))
        if detail:
            # Protobuf sends no names: there the field's number is named.
            checks.check(
                f"an unknown field in {codec} is named",
                detail.field.startswith("envelope")
                and ("colour" if codec == "JSON" else "77") in detail.field, detail.field)


def batch(checks, generated, requests, clients):
    pb = requests.pb
    existing = clients.boundary.append_fact(requests.append("batch-existing"))
    facts = [
        requests.message("batch-existing"), requests.message("batch-new-1"),
        requests.message("batch-existing", '{"value":2}'),
        pb.Message(
            envelope=requests.envelope("batch-invalid"),
            fact=pb.Fact(subject="No Subject", predicate="power_measured",
                         body=Oneof(field="object_json", value="{}"))),
        requests.message("batch-new-2"),
    ]
    mixed = clients.ingest.append_facts(pb.AppendFactsRequest(stream=STREAM, facts=facts))
    outcome = pb.Outcome
    checks.equal(
        "a mixed batch: outcomes", [result.outcome for result in mixed.outcomes],
        [outcome.EXISTING, outcome.APPENDED, outcome.CONFLICT, outcome.INVALID, outcome.APPENDED])
    checks.equal(
        "a mixed batch: offsets",
        [result.offset for result in mixed.outcomes if result.outcome != outcome.INVALID],
        [existing.offset, existing.offset + 1, existing.offset, existing.offset + 2])
    checks.equal(
        "a mixed batch: reasons",
        [result.error and result.error.reason for result in mixed.outcomes],
        [None, None, "conflicting_duplicate", "invalid_subject", None])
    again = clients.ingest.append_facts(pb.AppendFactsRequest(stream=STREAM, facts=facts))
    checks.equal(
        "a mixed batch again: nothing new",
        [(result.outcome, result.offset) for result in again.outcomes][:2]
        + [again.outcomes[4].outcome],
        [(outcome.EXISTING, existing.offset), (outcome.EXISTING, existing.offset + 1),
         outcome.EXISTING])

    for bad, word, result in (
        (requests.message("batch-existing", '{"value":3}'), "fact that conflicts", outcome.CONFLICT),
        (facts[3], "fact that is invalid", outcome.INVALID),
    ):
        stopped = clients.ingest.append_facts(
            pb.AppendFactsRequest(
                stream=STREAM, stop_on_error=True,
                facts=[requests.message(f"stop-before-{word}"), bad,
                       requests.message(f"stop-after-{word}")]))
        checks.equal(
            f"stop_on_error at a {word}", [each.outcome for each in stopped.outcomes],
            [outcome.APPENDED, result, outcome.SKIPPED])
        late = clients.boundary.append_fact(requests.append(f"stop-after-{word}"))
        checks.equal(
            f"stop_on_error at a {word}: what followed was not stored", late.outcome,
            outcome.APPENDED)


def deadlines(checks, generated, node, certificate, pb):
    """`timeout_ms`, of the client and of a call, reaches the node: a long poll ends before it, and empty."""
    head = Clients(generated, node, certificate).boundary.fetch_facts(
        pb.FetchFactsRequest(consumer_name="line-3")).head_offset
    for name, of_client, of_call in (("a client", 3_000, None), ("a call", None, 3_000), ("both", 600_000, 3_000)):
        for version in (HTTPVersion.HTTP1, HTTPVersion.HTTP2):
            clients = Clients(generated, node, certificate, version, timeout_ms=of_client)
            page = None
            # Now and then a slow machine needs more than the quarter of a second that is left for the way back.
            for _ in range(5):
                began = time.monotonic()
                try:
                    page = clients.boundary.fetch_facts(
                        pb.FetchFactsRequest(consumer_name="line-3", from_offset=head, wait_ms=10_000),
                        timeout_ms=of_call)
                    break
                except ConnectError as error:
                    if error.code != Code.DEADLINE_EXCEEDED:
                        raise
            seconds = time.monotonic() - began
            checks.check(
                f"gateway decision 32: timeout_ms of {name}: a long poll ends before it, {version}",
                page is not None and not page.entries and 1 < seconds < 10
                and clients.wire.request.get("connect-timeout-ms") == "3000", (seconds, clients.wire.request))


def everything(checks, generated, site, node, peer):
    """Every procedure by the generated clients, in both codecs."""
    certificates = {"producer-1": site.certificate("producer-1", name="everything"), peer.zone: peer.certificate}
    for codec, options in (("proto", {}), ("JSON", {"codec": proto_json_codec()})):
        clients = {
            identity: Clients(generated, node, certificate, timeout_ms=60_000, **options)
            for identity, certificate in certificates.items()}

        def call(identity, service, method, message):
            request = message_from_json_value(getattr(generated.pb, f"{method}Request"), message)
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()
            return message_to_json_value(getattr(clients[identity].of(service), name)(request))

        whole_contract.walk(checks, f"connectrpc {codec}", node, peer, "producer-1", call)


def test(checks):
    with Site() as site:
        generated = generate(site.directory)
        requests = Requests(generated)
        pb = generated.pb
        node = site.node("plant-a")
        peer = site.node("enterprise")
        whole_contract.prepare(node, peer, "producer-1")
        node.client("producer-2")
        certificate = site.certificate("producer-1")
        other = site.certificate("producer-2")
        node.start()
        node.consumer("producer-1", "line-3")

        first_answer(checks, site, node, certificate)

        clients = Clients(generated, node, certificate)
        with checks.guard("the client's defaults"):
            round_trip(
                checks, "defaults", requests, clients, "line-3", ("proto", True, HTTPVersion.HTTP2))

        for codec, gzip, version in itertools.product(
            ("json", "proto"), (True, False), (HTTPVersion.HTTP1, HTTPVersion.HTTP2)
        ):
            options = {"codec": proto_json_codec()} if codec == "json" else {}
            if not gzip:
                options |= {"send_compression": None, "accept_compression": ()}
            name = f"{codec} {'gzip' if gzip else 'identity'} " + (
                "1.1" if version == HTTPVersion.HTTP1 else "2")
            with checks.guard(name):
                round_trip(
                    checks, name, requests, Clients(generated, node, certificate, version, **options),
                    "line-3", (codec, gzip, version))

        with checks.guard("errors"):
            for codec, options in (("proto", {}), ("JSON", {"codec": proto_json_codec()})):
                speaker = Clients(generated, node, certificate, **options)
                foreign = Clients(generated, node, other, **options)
                kept = speaker.boundary.append_fact(requests.append("conflict"))
                detail = refused(
                    checks, f"a conflict in {codec}", generated, "conflicting_duplicate",
                    lambda: speaker.boundary.append_fact(
                        requests.append("conflict", '{"value":2}')))
                if detail:
                    checks.equal(
                        f"a conflict in {codec}: offset and digests",
                        (detail.offset, bytes(detail.stored_digest),
                         bytes(detail.offered_digest) not in (b"", bytes(detail.stored_digest))),
                        (kept.offset, bytes(kept.content_digest), True))
                again = speaker.boundary.append_fact(requests.append("conflict"))
                checks.equal(
                    f"a conflict in {codec} changed nothing", (again.outcome, again.offset),
                    (pb.Outcome.EXISTING, kept.offset))
                refused(
                    checks, f"a wrong owner in {codec}", generated, "not_the_owner",
                    lambda: foreign.boundary.fetch_facts(
                        pb.FetchFactsRequest(consumer_name="line-3")))
                refused(
                    checks, f"a wrong owner's confirm in {codec}", generated, "not_the_owner",
                    lambda: foreign.boundary.confirm_receipt(
                        pb.ConfirmReceiptRequest(consumer_name="line-3", offset=0)))
            unknown_field(checks, site.directory, node, certificate)

        with checks.guard("batches"):
            batch(checks, generated, requests, clients)

        with checks.guard("deadlines"):
            deadlines(checks, generated, node, certificate, pb)
        with checks.guard("every procedure"):
            everything(checks, generated, site, node, peer)

        with checks.guard("a restart"):
            before = clients.boundary.append_fact(requests.append("before-restart"))
            checks.equal("the node ends with", node.stop(), 0)
            node.start()
            after = Clients(generated, node, certificate)
            retry = after.boundary.append_fact(requests.append("before-restart"))
            checks.equal(
                "a retry after a restart", (retry.outcome, retry.offset),
                (pb.Outcome.EXISTING, before.offset))
            mixed = after.ingest.append_facts(
                pb.AppendFactsRequest(
                    stream=STREAM,
                    facts=[requests.message("after-restart"), requests.message("before-restart")]))
            checks.equal(
                "a retry after a restart inside a batch",
                [(each.outcome, each.offset) for each in mixed.outcomes],
                [(pb.Outcome.APPENDED, before.offset + 1), (pb.Outcome.EXISTING, before.offset)])
            refused(
                checks, "a conflict after a restart", generated, "conflicting_duplicate",
                lambda: after.boundary.append_fact(
                    requests.append("before-restart", '{"value":2}')))


if __name__ == "__main__":
    main(test)

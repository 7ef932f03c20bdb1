#!/usr/bin/env python3
"""Google's Python gRPC client (PyPI grpcio) against a node, with default options: calls, full pages,
errors with their details, deadlines and compression.

    BSFG=path grpc_client.py
"""

import concurrent.futures
import importlib
import json
import pathlib
import signal
import subprocess
import sys
import threading
import time

import grpc
import whole_contract
from contract import PROTO, error_table
from google.protobuf import any_pb2, json_format  # the type of a detail
from protobuf_fields import fields
from support import STREAM, Site, main, wait_until

RULES = error_table()
CODES = {code.value[1].replace(" ", "_"): code for code in grpc.StatusCode}
# Connect writes one L, gRPC two.
CODES["canceled"] = grpc.StatusCode.CANCELLED


def generate(directory):
    """The contract's messages and stubs, as protoc and grpcio's plugin make them."""
    (directory / "bsfg.proto").write_text(PROTO.read_text())
    done = subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{directory}", f"--python_out={directory}",
         f"--grpc_python_out={directory}", "bsfg.proto"], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"protoc: {done.stderr.strip()}")
    sys.path.insert(0, str(directory))
    return importlib.import_module("bsfg_pb2"), importlib.import_module("bsfg_pb2_grpc")


def channel(node, certificate, **options):
    files = [pathlib.Path(f"{certificate}.{name}").read_bytes() for name in ("key", "crt")]
    return grpc.secure_channel(
        f"127.0.0.1:{node.port}",
        grpc.ssl_channel_credentials(node.site.authority.read_bytes(), *files), **options)


def status_details(error):
    """The fields of a google.rpc.Status in the trailers: number, message, the packed details."""
    return dict(fields(dict(error.trailing_metadata())["grpc-status-details-bin"]))


class Requests:
    def __init__(self, pb):
        self.pb = pb

    def append(self, identifier, text='{"value":1}', subject="turbine:R80711"):
        return self.pb.AppendFactRequest(
            stream=STREAM,
            envelope=self.pb.Envelope(
                message_id=identifier, from_zone="plant-a", to_zone="plant-a",
                produced_at_unix_ms=1_700_000_000_000),
            fact=self.pb.Fact(subject=subject, predicate="power_measured", object_json=text))


def refused(checks, name, pb, reason, call):
    """The call is refused with this reason: code, message and one detail say so."""
    try:
        call()
    except grpc.RpcError as error:
        rule = RULES[reason]
        status = status_details(error)
        packed = any_pb2.Any.FromString(status[3])
        detail = pb.ErrorDetail.FromString(packed.value)
        checks.equal(
            name,
            (error.code(), status[1], status[2].decode() == error.details(), packed.type_url,
             detail.reason, detail.retryable),
            (CODES[rule.code], CODES[rule.code].value[0], True,
             "type.googleapis.com/bsfg.v1.ErrorDetail", reason, rule.retryable))
        return error, detail
    checks.check(name, False, "it was not refused")
    return None, None


def calls(checks, pb, requests, boundary, name, **options):
    text = json.dumps({"text": "déjà vu " * 300, "value": 2.5}, ensure_ascii=False,
                      separators=(",", ":"))
    first = boundary.AppendFact(requests.append(name, text), **options)
    checks.equal(f"{name}: appended", first.outcome, pb.OUTCOME_APPENDED)
    again = boundary.AppendFact(requests.append(name, text), **options)
    checks.equal(
        f"{name}: a retry is existing", (again.outcome, again.offset),
        (pb.OUTCOME_EXISTING, first.offset))
    page = boundary.FetchFacts(pb.FetchFactsRequest(consumer_name="grpc"), **options)
    last = page.entries[-1]
    checks.equal(
        f"{name}: fetched",
        (last.offset, last.message.envelope.message_id, last.message.fact.object_json),
        (first.offset, name, text))
    done = boundary.ConfirmReceipt(
        pb.ConfirmReceiptRequest(consumer_name="grpc", offset=last.offset), **options)
    checks.equal(f"{name}: confirmed", done.cursor_advanced_to, first.offset)


def errors(checks, pb, requests, boundary, wire):
    first = boundary.AppendFact(requests.append("conflict"))
    error, detail = refused(
        checks, "a conflict", pb, "conflicting_duplicate",
        lambda: boundary.AppendFact(requests.append("conflict", '{"value":2}')))
    if detail:
        checks.equal(
            "a conflict: the digests and the offset come with it",
            (detail.offset, len(detail.stored_digest), len(detail.offered_digest)),
            (first.offset, 32, 32))
    refused(
        checks, "an invalid subject", pb, "invalid_subject",
        lambda: boundary.AppendFact(requests.append("subject", subject="No Subject")))
    error, _ = refused(
        checks, "an unknown consumer with a name beyond ASCII", pb, "consumer_not_found",
        lambda: boundary.FetchFacts(pb.FetchFactsRequest(consumer_name="grüße 100%")))
    if error:
        checks.check(
            "the message is whole, percent sign and umlauts", "grüße 100%" in error.details(),
            error.details())
    nothing = wire.unary_unary(
        "/bsfg.v1.BoundaryService/Nothing", request_serializer=lambda text: text,
        response_deserializer=lambda text: text)
    try:
        nothing(b"")
        checks.check("an unknown method is unimplemented", False, "it was answered")
    except grpc.RpcError as error:
        checks.equal(
            "gateway decision 31: an unknown method is unimplemented", error.code(),
            grpc.StatusCode.UNIMPLEMENTED)


def deadlines(checks, pb, boundary):
    head = boundary.FetchFacts(pb.FetchFactsRequest(consumer_name="grpc")).head_offset
    # A quarter of a second before the deadline: now and then a slow machine needs that long for the way back.
    for _ in range(5):
        began = time.monotonic()
        page = None
        try:
            page = boundary.FetchFacts(
                pb.FetchFactsRequest(consumer_name="grpc", from_offset=head, wait_ms=10_000), timeout=3)
            break
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
    seconds = time.monotonic() - began
    checks.check(
        "a long poll is answered empty before its deadline",
        page is not None and len(page.entries) == 0 and 1 < seconds < 10, seconds)


def reloads(checks, node, pb, requests, boundary):
    """64 calls at a time on one connection while the configuration is reloaded 20 times."""
    stop, failures, counts = threading.Event(), [], [0] * 64

    def append(number):
        while not stop.is_set() and not failures:
            try:
                boundary.AppendFact(requests.append(f"reload-{number}-{counts[number]}"))
            except grpc.RpcError as error:
                failures.append(repr(error))
            counts[number] += 1

    def reloaded():
        return node.errors.read_text(errors="replace").count('"configuration_reloaded"')

    connections = node.status()["server"]["connections"]
    threads = [
        threading.Thread(target=append, args=(number,), daemon=True) for number in range(64)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            before = reloaded()
            node.process.send_signal(signal.SIGHUP)
            wait_until("a reload", lambda: reloaded() > before)
        wait_until("each of them going on", lambda: failures or min(counts) > 0)
    finally:
        stop.set()
    for thread in threads:
        thread.join()
    checks.equal("gateway decision 40: 64 in flight through 20 reloads: no error", failures, [])
    checks.check("gateway decision 40: 64 in flight through 20 reloads: all went on", min(counts) > 0, counts)
    # Each status is asked over a connection of its own to the administration socket.
    checks.equal(
        "gateway decision 40: 64 in flight through 20 reloads: on the same connection",
        int(node.status()["server"]["connections"]) - int(connections), 1)


def pages(checks, pb, requests, boundary):
    """More than one default page, which grpcio takes as it is (its limit is 4 MiB)."""
    text = json.dumps({"text": "x" * 100_000})
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(
            lambda number: boundary.AppendFact(requests.append(f"page-{number}", text)), range(60)))
    checks.check(
        "60 calls at a time on one connection",
        all(answer.outcome == pb.OUTCOME_APPENDED for answer in answers))
    seen, largest = [], 0
    while True:
        page = boundary.FetchFacts(pb.FetchFactsRequest(consumer_name="grpc"))
        if not page.entries:
            break
        largest = max(largest, page.ByteSize())
        seen += [entry.message.envelope.message_id for entry in page.entries]
        boundary.ConfirmReceipt(
            pb.ConfirmReceiptRequest(consumer_name="grpc", offset=page.entries[-1].offset))
    checks.equal(
        "gateway decision 31: full pages by default options",
        (len({name for name in seen if name.startswith("page-")}), 500_000 < largest <= 4 << 20),
        (60, True))


def everything(checks, pb, stubs, site, node, peer):
    """Every procedure by the generated stubs."""
    certificates = {"producer-1": site.certificate("producer-1", name="everything"), peer.zone: peer.certificate}
    wires = {identity: channel(node, certificate) for identity, certificate in certificates.items()}

    def call(identity, service, method, message):
        stub = getattr(stubs, f"{service}Stub")(wires[identity])
        answer = getattr(stub, method)(
            json_format.ParseDict(message, getattr(pb, f"{method}Request")()), timeout=60)
        return json_format.MessageToDict(answer)

    try:
        whole_contract.walk(checks, "grpcio", node, peer, "producer-1", call)
    finally:
        for wire in wires.values():
            wire.close()


def test(checks):
    with Site() as site:
        pb, stubs = generate(site.directory)
        requests = Requests(pb)
        node = site.node("plant-a")
        peer = site.node("enterprise")
        whole_contract.prepare(node, peer, "producer-1")
        node.client("monitor-1", roles=("monitor",))
        certificate = site.certificate("producer-1")
        node.start()
        made = node.consumer("producer-1", "grpc")
        checks.check("a consumer is made", made.ok, made)
        with channel(node, certificate) as wire:
            boundary = stubs.BoundaryServiceStub(wire)
            with checks.guard("plain"):
                calls(checks, pb, requests, boundary, "plain")
            with checks.guard("gzip"):
                calls(checks, pb, requests, boundary, "gzip", compression=grpc.Compression.Gzip)
            with checks.guard("deflate"):
                refused(
                    checks, "a coding that is not taken", pb, "unsupported_encoding",
                    lambda: boundary.AppendFact(
                        requests.append("deflate", '{"text":"' + "x" * 2_000 + '"}'),
                        compression=grpc.Compression.Deflate))
            with checks.guard("errors"):
                errors(checks, pb, requests, boundary, wire)
            with checks.guard("pages"):
                pages(checks, pb, requests, boundary)
            with checks.guard("reloads"):
                reloads(checks, node, pb, requests, boundary)
            with checks.guard("deadlines"):
                deadlines(checks, pb, boundary)
        with checks.guard("every procedure"):
            everything(checks, pb, stubs, site, node, peer)
        with channel(node, site.certificate("monitor-1")) as wire:
            refused(
                checks, "gateway decision 34: a monitor appends nothing", pb,
                "identity_not_authorised",
                lambda: stubs.BoundaryServiceStub(wire).AppendFact(requests.append("monitor")))
        with channel(node, site.certificate("stranger")) as wire:
            refused(
                checks, "gateway decision 38: a stranger hears why", pb, "identity_not_authorised",
                lambda: stubs.BoundaryServiceStub(wire).AppendFact(requests.append("stranger")))
        checks.equal("the node ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)

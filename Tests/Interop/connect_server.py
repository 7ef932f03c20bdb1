#!/usr/bin/env python3
"""Our client against a server that is not ours: the official Python Connect implementation (PyPI connectrpc), over
mutual TLS 1.3 and HTTP/2, with messages generated from docs/api/bsfg.proto.

    BSFG=path connect_server.py
"""

import io
import json
import subprocess
import tempfile

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from protobuf import Oneof

from contract import generate
from lying_peer import FramedServer
from support import BSFG, Site, main, run


class Service:
    """A log in memory that keeps what it is given, and refuses what it is told to."""

    def __init__(self, pb):
        self.pb = pb
        self.messages = []
        self.requests = []
        self.confirmed = None

    def offset(self, identifier):
        return next((i for i, each in enumerate(self.messages) if each.envelope.message_id == identifier), None)

    def refusal(self, code, sentence, **fields):
        return ConnectError(code, sentence, details=[self.pb.ErrorDetail(**fields)])

    def put(self, envelope, fact):
        found = self.offset(envelope.message_id)
        if found is not None:
            return found, self.pb.Outcome.EXISTING
        self.messages.append(self.pb.Message(envelope=envelope, fact=fact, format=1))
        return len(self.messages) - 1, self.pb.Outcome.APPENDED

    def append_fact(self, request, context):
        self.requests.append(request)
        if request.envelope.message_id == "refused":
            raise self.refusal(
                Code.RESOURCE_EXHAUSTED, "the drawer is full", reason="backpressure", retryable=True,
                retry_after_ms=1_500, fill=0.9)
        offset, outcome = self.put(request.envelope, request.fact)
        return self.pb.AppendFactResponse(offset=offset, outcome=outcome, epoch=1)

    def append_facts(self, request, context):
        results = []
        for each in request.facts:
            offset, outcome = self.put(each.envelope, each.fact)
            results.append(self.pb.AppendResult(offset=offset, outcome=outcome))
        return self.pb.AppendFactsResponse(outcomes=results, epoch=1)

    def fetch_facts(self, request, context):
        self.requests.append(request)
        first = request.from_offset or 0
        entries = [
            self.pb.Entry(
                offset=first + i, appended_at_unix_ms=1_700_000_000_000 + i,
                item=Oneof(field="message", value=message))
            for i, message in enumerate(self.messages[first:first + (request.limit or 100)])]
        return self.pb.FetchFactsResponse(
            entries=entries, next_offset=first + len(entries), head_offset=len(self.messages), first_offset=0)

    def confirm_receipt(self, request, context):
        self.confirmed = request.offset
        return self.pb.ConfirmReceiptResponse(
            cursor_advanced_to=request.offset, next_offset=request.offset + 1)

    def put_object(self, request, context):
        raise ConnectError(Code.UNIMPLEMENTED, "no artifacts here")


class Server(FramedServer):
    """The official application behind the little HTTP/2 that a call needs."""

    def __init__(self, site, certificate, applications):
        self.applications = applications
        super().__init__(certificate, site.authority)

    def answer(self, request, body):
        path = request[":path"]
        # No part of the contract's services; a client asks it for the zone.
        if path == "/health":
            return 200, "application/json", b'{"status":"ok","zone":"plant-a"}'
        application = next((app for prefix, app in self.applications.items() if path.startswith(prefix)), None)
        if application is None:
            return 404, "text/plain", b"nothing here"
        environment = {
            "REQUEST_METHOD": request[":method"], "SCRIPT_NAME": "", "PATH_INFO": path, "QUERY_STRING": "",
            "SERVER_NAME": "127.0.0.1", "SERVER_PORT": str(self.port), "SERVER_PROTOCOL": "HTTP/2",
            "CONTENT_LENGTH": str(len(body)), "wsgi.version": (1, 0), "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(body), "wsgi.errors": io.StringIO(), "wsgi.multithread": True,
            "wsgi.multiprocess": False, "wsgi.run_once": False}
        for name, value in request.items():
            if name == "content-type":
                environment["CONTENT_TYPE"] = value
            # The answers have no encoding where none is asked for, and our front passes none on.
            elif not name.startswith(":") and name not in ("content-length", "accept-encoding"):
                environment["HTTP_" + name.upper().replace("-", "_")] = value
        told = {}

        def start(status, headers, error=None):
            told["status"], told["headers"] = int(status.split()[0]), dict((n.lower(), v) for n, v in headers)

        content = b"".join(application(environment, start))
        return told["status"], told["headers"].get("content-type", ""), content


def test(checks):
    with Site() as site, tempfile.TemporaryDirectory() as directory:
        contract = generate(directory)
        service = Service(contract.pb)
        run_certificate = site.directory / "server"
        run("cert", "issue", "--ca", site.authority_directory, "--identity", "plant-a-bsfg", "--address", "127.0.0.1",
            "--out", run_certificate, "--name", "server")
        server = Server(site, run_certificate / "server", {
            "/bsfg.v1.BoundaryService/": contract.connect.BoundaryServiceWSGIApplication(service),
            "/bsfg.v1.IngestService/": contract.connect.IngestServiceWSGIApplication(service)})
        caller = site.certificate("producer")

        def ours(*arguments, text=None):
            return subprocess.run(
                [BSFG, *map(str, arguments), "--endpoint", f"127.0.0.1:{server.port}", "--cert", f"{caller}.crt",
                 "--key", f"{caller}.key", "--ca", str(site.authority)],
                capture_output=True, text=True, timeout=120, input=text)

        fact = ("--subject", "pump:7", "--predicate", "started", "--from", "plant-a", "--to", "plant-a")
        done = ours("fact", "append", *fact, "--object", '{"rpm": 1450, "label": "grün"}', "--id", "one", "-o", "json")
        checks.check("connectrpc server: a fact is appended", done.returncode == 0 and
                     json.loads(done.stdout)["offset"] == 0, done)
        told = service.requests[-1]
        checks.check("connectrpc server: it reads what was meant",
                     told.envelope.message_id == "one" and told.fact.subject == "pump:7"
                     and json.loads(told.fact.body.value) == {"rpm": 1450, "label": "grün"}, repr(told))
        done = ours("fact", "append", *fact, "--object", '{"rpm": 1450, "label": "grün"}', "--id", "one", "-o", "json")
        checks.check("connectrpc server: again it exists", done.returncode == 0 and
                     json.loads(done.stdout)["outcome"] == "existing", done)
        done = ours("fact", "append", *fact, "--object", "{}", "--id", "refused")
        checks.check("connectrpc server: its refusal is told with its sentence",
                     done.returncode != 0 and "the drawer is full" in done.stderr, done)
        rows = "".join(json.dumps({"n": number}) + "\n" for number in range(1_200))
        done = ours("ingest", "--format", "jsonl", "--from", "plant-a", "--to", "plant-a", "--subject", "row:{n}",
                    "--predicate", "read", text=rows)
        checks.check("connectrpc server: 1,200 rows are ingested in batches",
                     done.returncode == 0 and len(service.messages) == 1_201, done)
        done = ours("fact", "fetch", "--consumer", "reader", "--limit", "700", "-o", "json")
        page = json.loads(done.stdout or "{}")
        checks.check("connectrpc server: a page is fetched",
                     done.returncode == 0 and len(page["entries"]) == 700 and str(page["next_offset"]) == "700"
                     and page["entries"][0]["message"]["envelope"]["message_id"] == "one",
                     (done.returncode, done.stdout[:400], done.stderr[:400]))
        done = ours("fact", "confirm", "--consumer", "reader", "--offset", "699")
        checks.check("connectrpc server: it is confirmed", done.returncode == 0 and service.confirmed == 699, done)
        server.close()


if __name__ == "__main__":
    main(test)

"""Real nodes for the Python tests: configured, certified and started through the binary in the
environment variable BSFG, each in a directory of its own, with ports that were free.

Every check prints one line, `PASS name` or `FAIL name: why`; a part that this machine cannot do
prints `SKIPPED name: why`.
"""

import base64
import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time

BSFG = os.environ.get("BSFG", "bsfg")
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
# What reads bytes without the product's own code lives there; it is found last.
sys.path.append(str(REPOSITORY / "Tests" / "Interop"))
STREAM = "facts.operational"
BOUNDARY = "/bsfg.v1.BoundaryService/"
INGEST = "/bsfg.v1.IngestService/"
FEDERATION = "/bsfg.v1.FederationService/"
ADMIN = "/bsfg.admin.v1.AdminService/"

# Where a debug build on a busy machine may be slow, waiting longer costs nothing.
PATIENCE = float(os.environ.get("BSFG_TEST_PATIENCE", "120"))


class Checks:
    """What was checked and how it went."""

    def __init__(self, title):
        self.title = title
        self.passed = 0
        self.failed = []
        self.skipped = []
        self.began = time.monotonic()

    def check(self, name, holds, why=""):
        if holds:
            self.passed += 1
            print(f"PASS {name}", flush=True)
        else:
            self.failed.append(name)
            print(f"FAIL {name}: {why}" if why else f"FAIL {name}", flush=True)
        return bool(holds)

    def equal(self, name, found, expected):
        return self.check(name, found == expected, f"found {found!r}, expected {expected!r}")

    def eventually(self, name, condition, seconds=None):
        """Waits for a condition; one that does not come true is a failed check of that name."""
        try:
            wait_until(name, condition, seconds)
        except TimeoutError as error:
            return self.check(name, False, str(error))
        return self.check(name, True)

    def skip(self, name, why):
        self.skipped.append(name)
        print(f"SKIPPED {name}: {why}", flush=True)

    @contextlib.contextmanager
    def guard(self, name):
        """A part whose failure by exception is one failed check and not the end of the others."""
        try:
            yield
        except Exception as error:  # every kind: it is reported and fails the run
            import traceback

            traceback.print_exc()
            self.check(name, False, f"{type(error).__name__}: {error}")

    def finish(self):
        seconds = time.monotonic() - self.began
        print(
            f"{self.title}: {self.passed} held, {len(self.failed)} failed, "
            f"{len(self.skipped)} skipped, {seconds:.0f} s",
            flush=True,
        )
        for name in self.failed:
            print(f"  failed: {name}", flush=True)
        return 1 if self.failed else 0


def run(*arguments, **options):
    """The binary, to its end; its output is kept for the error."""
    done = subprocess.run([BSFG, *map(str, arguments)], capture_output=True, text=True, **options)
    if done.returncode != 0:
        raise RuntimeError(
            f"bsfg {' '.join(map(str, arguments))} ended with {done.returncode}: "
            f"{done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


_ports_given = set()


def kept_ports():
    """Ports that the kernel gives to no outgoing connection, where it leaves any."""
    try:
        lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        lowest = 32_768
    end = min(lowest, 32_000)
    return range(max(1_024, end - 12_000), end) if end > 4_000 else range(20_000, 32_000)


def free_port():
    """A port below the kernel's own range for outgoing connections, so that no client of this
    test takes it while its node is down."""
    kept = kept_ports()
    while True:
        port = kept[struct.unpack("<H", os.urandom(2))[0] % len(kept)]
        if port in _ports_given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _ports_given.add(port)
        return port


def wait_until(what, condition, seconds=None, every=0.05):
    """The first true answer of `condition`; an error that says what was waited for otherwise."""
    deadline = time.monotonic() + (PATIENCE if seconds is None else seconds)
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not happen in time")
        time.sleep(every)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Answer:
    """An HTTP answer with a JSON body where it has one."""

    def __init__(self, response):
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.bytes = response.read()
        self.text = self.bytes.decode("utf-8", "replace")
        try:
            self.json = json.loads(self.text)
        except ValueError:
            self.json = None

    @property
    def ok(self):
        return self.status == 200

    @property
    def code(self):
        return (self.json or {}).get("code")

    @property
    def detail(self):
        """The `debug` form of the one ErrorDetail."""
        details = (self.json or {}).get("details") or [{}]
        return details[0].get("debug") or {}

    @property
    def reason(self):
        return self.detail.get("reason")

    def __repr__(self):
        return f"{self.status} {self.text[:400]}"


class Caller:
    """Calls a node over HTTP/1.1 with a certificate: one connection, made again when it is lost."""

    def __init__(self, node, certificate, timeout=PATIENCE):
        self.node = node
        self.certificate = pathlib.Path(certificate) if certificate else None
        self.timeout = timeout
        self.connection = None

    def context(self):
        context = ssl.create_default_context(cafile=str(self.node.site.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        if self.certificate:
            context.load_cert_chain(
                str(self.certificate) + ".crt", str(self.certificate) + ".key")
        return context

    def connect(self):
        self.close()
        self.connection = http.client.HTTPSConnection(
            "127.0.0.1", self.node.port, context=self.context(), timeout=self.timeout)
        return self.connection

    def request(self, method, path, body=None, headers=None):
        connection = self.connection or self.connect()
        try:
            connection.request(method, path, body=body, headers=headers or {})
            return Answer(connection.getresponse())
        except Exception:
            self.close()
            raise

    def call(self, procedure, message, headers=None, raw=False):
        body = message if raw else json.dumps(message, ensure_ascii=False).encode()
        return self.request(
            "POST", procedure, body, {"content-type": "application/json", **(headers or {})})

    def append(self, message):
        return self.call(BOUNDARY + "AppendFact", message)

    def fetch(self, consumer, **fields):
        return self.call(BOUNDARY + "FetchFacts", {"consumer_name": consumer, **fields})

    def confirm(self, consumer, offset, **fields):
        return self.call(
            BOUNDARY + "ConfirmReceipt",
            {"consumer_name": consumer, "offset": offset, **fields})

    def close(self):
        if self.connection:
            self.connection.close()
            self.connection = None


def fact(identifier, value=None, zone="plant-a", to_zone=None, **fields):
    """An AppendFact request; `value` is the object."""
    envelope = {
        "message_id": identifier, "from_zone": zone, "to_zone": to_zone or zone,
        "produced_at_unix_ms": 1_700_000_000_000,
    }
    message = {
        "stream": STREAM,
        "envelope": envelope,
        "fact": {
            "subject": "turbine:R80711", "predicate": "power_measured",
            "object": {"value": 1} if value is None else value,
        },
    }
    for name, content in fields.items():
        message[name] = content
    return message


def short_directory():
    """Where temporary files are, unless a socket's name, of 107 bytes at most, would be too long there."""
    return "/tmp" if len(os.fsencode(tempfile.gettempdir())) > 50 else None


class Site:
    """A directory with a certificate authority, nodes and clients."""

    def __init__(self, prefix="bsfg-test-"):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir=short_directory()))
        self.authority_directory = self.directory / "ca"
        run("ca", "init", "--dir", self.authority_directory)
        self.authority = self.authority_directory / "ca.crt"
        self.nodes = []

    def certificate(self, identity, name=None, authority=None):
        """A client's certificate; the path without `.crt` and `.key`."""
        directory = self.directory / "clients" / (name or identity)
        run("cert", "issue", "--ca", authority or self.authority_directory, "--identity",
            identity, "--out", directory, "--name", "client")
        return directory / "client"

    def node(self, zone, **options):
        node = Node(self, zone, **options)
        self.nodes.append(node)
        return node

    def close(self, keep=False):
        for node in self.nodes:
            node.kill()
        if keep:
            print(f"  kept: {self.directory}", flush=True)
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close(keep=bool(os.environ.get("BSFG_TEST_KEEP")))


class Node:
    """One node: its files, its process, its administration socket."""

    def __init__(self, site, zone, data=None, name=None):
        self.site = site
        self.zone = zone
        self.identity = f"{zone}-bsfg"
        self.port = free_port()
        self.listen_address = "127.0.0.1"
        self.root = site.directory / (name or zone)
        self.process = None
        self.errors = self.root / "node.err"
        run("init", "--root", self.root, "--zone", zone, "--identity", self.identity,
            "--address", "127.0.0.1", "--port", self.port)
        run("cert", "issue", "--ca", site.authority_directory, "--identity", self.identity,
            "--address", "127.0.0.1", "--out", self.root / "certs")
        self.data = pathlib.Path(data) if data else self.root / "data"
        self.segment = None
        self.capacity = "256MiB"
        self.profile = None
        self.object_limit = None
        self.clients = []
        self.peers = []
        self.cursors = []
        self.limits = {}
        self.zones = []
        self.other_streams = []
        # More keys of the stream, and of `tls`, as bsfg.yaml has them.
        self.stream_options = {}
        self.tls_options = {}

    @property
    def certificate(self):
        """Of the node itself, to speak in its place."""
        return self.root / "certs" / "server"

    @property
    def socket(self):
        return self.root / "admin.sock"

    def client(self, identity, roles=("producer", "consumer"), streams=(STREAM,), origins=None):
        self.clients.append(
            {"identity": identity, "roles": list(roles), "streams": list(streams),
             "origins": list(origins or [self.zone])})

    def grant(self, other, streams=(STREAM,), **options):
        """What `other` may take from this node."""
        self.peers.append(
            {"id": other.zone, "identity": other.identity,
             "endpoint": f"{options.pop('address', '127.0.0.1')}:{options.pop('port', other.port)}",
             "authorized": True,
             "streams": list(streams), **options})

    def pull(self, other, stream=STREAM, init_mode="full_backfill", **options):
        """What this node takes from `other`."""
        self.cursors.append(
            {"peer": other.zone, "stream": stream, "init_mode": init_mode, **options})

    def write(self):
        """Writes the three files. JSON is YAML, and cannot be misquoted."""
        stream = {"name": STREAM, "capacity": self.capacity}
        if self.segment:
            stream["segment"] = self.segment
        if self.profile:
            stream["profile"] = self.profile
            if self.profile == "sil_strict":
                stream["terminal"] = True
        if self.object_limit:
            stream["object_limit"] = self.object_limit
        stream.update(self.stream_options)
        certificates = self.root / "certs"
        main = {
            "zone": self.zone, "identity": self.identity, "data": str(self.data),
            "listen": f"{self.listen_address}:{self.port}", "admin": {"socket": str(self.socket)},
            "tls": {"ca": str(self.site.authority), "certificate": str(certificates / "server.crt"),
                    "key": str(certificates / "server.key"), **self.tls_options},
            "streams": [stream, *self.other_streams], "clients": self.clients,
        }
        if self.limits:
            main["limits"] = self.limits
        if self.zones:
            main["zones"] = self.zones
        config = self.root / "config"
        for name, content in (
            ("bsfg.yaml", main), ("peers.yaml", {"peers": self.peers}),
            ("cursors.yaml", {"cursors": self.cursors}),
        ):
            (config / name).write_text(json.dumps(content, indent=2) + "\n")

    def start(self, wrapper=()):
        """Starts the process and waits until it listens."""
        assert self.process is None, f"{self.zone} runs already"
        self.write()
        output = open(self.root / "node.out", "wb")
        errors = open(self.errors, "ab")
        self.process = subprocess.Popen(
            [*wrapper, BSFG, "serve", "--config", str(self.root / "config")],
            stdout=output, stderr=errors)
        output.close()
        errors.close()

        def listens():
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"{self.zone} ended with {self.process.returncode}: "
                    + self.errors.read_text()[-2000:])
            return b"listening" in (self.root / "node.out").read_bytes()

        wait_until(f"{self.zone} listening", listens)
        return self

    def stop(self, seconds=None):
        """Ends it as an operator does; the exit code."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(PATIENCE if seconds is None else seconds)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None

    def kill(self):
        """SIGKILL, stopped or not."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        self.process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    # Administration

    def admin(self, method, message=None, timeout=PATIENCE):
        connection = UnixConnection(self.socket, timeout)
        try:
            connection.request(
                "POST", ADMIN + method, json.dumps(message or {}).encode(),
                {"content-type": "application/json"})
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def status(self):
        answer = self.admin("Status")
        if not answer.ok:
            raise RuntimeError(f"status of {self.zone}: {answer!r}")
        return answer.json

    def stream_status(self, origin=None, stream=STREAM):
        for found in self.status()["streams"]:
            if found["origin"] == (origin or self.zone) and found["stream"] == stream:
                return found
        raise KeyError(f"{self.zone} has no log {stream} of {origin or self.zone}")

    def head(self, origin=None):
        return int(self.stream_status(origin).get("headOffset", 0))

    def pull_status(self, peer):
        for found in self.status().get("pulls", []):
            if found["peer"] == peer:
                return found
        raise KeyError(f"{self.zone} does not pull from {peer}")

    def cursor(self, name):
        """The next offset of a consumer of this node; None where there is none."""
        for found in self.status().get("consumers", []):
            if found["name"] == name:
                return int(found.get("nextOffset", 0))
        return None

    def consumer(self, owner, name, stream=STREAM, origin=None, **fields):
        return self.admin(
            "CreateConsumer",
            {"owner": owner, "name": name, "stream": stream, "origin": origin or self.zone,
             **fields})

    def failures(self, reason):
        """How many handshakes failed for a reason."""
        return int(self.status()["server"].get("handshakeFailures", {}).get(reason, 0))

    def peek(self, origin=None, stream=STREAM, start=0):
        """Every entry of a log from an offset on, by the administration socket."""
        entries, offset = [], start
        while True:
            answer = self.admin(
                "Peek", {"stream": stream, "origin": origin or self.zone, "fromOffset": str(offset),
                         "limit": 10_000})
            if not answer.ok:
                raise RuntimeError(f"peek at {self.zone}: {answer!r}")
            page = answer.json.get("entries", [])
            entries += page
            following = int(answer.json.get("nextOffset", offset))
            if not page or following >= int(answer.json.get("headOffset", 0)):
                return entries
            offset = following


def identifiers(entries):
    """(message id, content digest, origin offset) of entries, in their order. In the origin's own
    log the origin's offset is the offset."""
    found = []
    for entry in entries:
        message = entry["message"]
        origin = entry.get("origin", {}).get("offset", entry.get("offset"))
        found.append(
            (message["envelope"]["messageId"], entry["contentDigest"], int(origin)))
    return found


def content_digest(message):
    """The content digest of a fact with a JSON object and nothing else optional (decision 20)."""
    import rfc8785

    body = message["fact"]
    parts = [
        body["subject"].encode(), body["predicate"].encode(), b"\x01",
        rfc8785.dumps(body["object"]), b"", b"",
    ]
    digest = hashlib.sha256(b"bsfg.fact.v1\0")
    for part in parts:
        digest.update(struct.pack("<I", len(part)) + part)
    digest.update(struct.pack("<I", 0))
    return base64.b64encode(digest.digest()).decode()


def main(test):
    """Runs `test(checks)` as the script that is called."""
    checks = Checks(pathlib.Path(sys.argv[0]).name)
    # Whoever ends it has its mounts and namespaces taken away all the same.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # Run behind the scenes by a shell, this and all below it would ignore interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not (shutil.which(BSFG) or os.access(BSFG, os.X_OK)):
        print("FAIL the binary: set BSFG to the bsfg executable")
        sys.exit(2)
    with checks.guard("the run as a whole"):
        test(checks)
    sys.exit(checks.finish())

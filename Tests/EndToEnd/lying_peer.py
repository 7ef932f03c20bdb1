"""A peer that speaks for a real node and lies in one thing.

It has the node's certificate, passes every call on to the node as the caller that sent it would, and changes what its lie
is about: the bytes of the protocol, so that it can lie in ways for which no client library has a function.
"""

import hashlib
import http.client
import http.server
import socket
import socketserver
import ssl
import struct
import threading

import hpack
from replication_common import finish
from support import BOUNDARY, FEDERATION, Caller, UnixConnection, free_port

from protobuf_fields import Fixed, field, fields, message  # of Tests/Interop, where support leads

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACKNOWLEDGE = 1, 4, 1
PREFACE_BYTES = 24


def crc32c(data):
    checksum = 0xFFFFFFFF
    for byte in data:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return checksum ^ 0xFFFFFFFF


# HTTP/2, as far as a small answer needs it

class Connection:
    def __init__(self, plain, context, answer):
        self.answer = answer
        plain.settimeout(60)
        self.socket = context.wrap_socket(plain, server_side=True)
        self.lock = threading.Lock()
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.requests = {}

    def send(self, kind, flags, stream, payload):
        self.socket.sendall(
            struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def serve(self):
        self.exactly(PREFACE_BYTES)
        with self.lock:
            self.send(SETTINGS, 0, 0, b"")
        while True:
            head = self.exactly(9)
            kind, flags, stream = struct.unpack(">BBI", head[3:])
            payload = self.exactly(int.from_bytes(head[:3], "big"))
            if kind == HEADERS:
                assert flags & END_HEADERS and not flags & 0x28, "a small head comes in one frame"
                self.requests[stream] = (dict(self.decoder.decode(payload)), b"")
            elif kind == DATA and stream in self.requests:
                request, body = self.requests[stream]
                self.requests[stream] = (request, body + payload)
                if payload:
                    with self.lock:
                        for each in (0, stream):
                            self.send(WINDOW, 0, each, struct.pack(">I", len(payload)))
            elif kind in (SETTINGS, PING) and not flags & ACKNOWLEDGE:
                with self.lock:
                    self.send(kind, ACKNOWLEDGE, 0, payload if kind == PING else b"")
            elif kind == RESET:
                self.requests.pop(stream, None)
            elif kind == GOAWAY:
                return
            if kind in (HEADERS, DATA) and flags & END_STREAM and stream in self.requests:
                threading.Thread(target=self.respond, args=(stream, *self.requests.pop(stream)), daemon=True).start()

    def respond(self, stream, request, body):
        try:
            status, kind, content = self.answer(request, body)
            with self.lock:
                self.send(HEADERS, END_HEADERS, stream, self.encoder.encode(
                    [(":status", str(status)), ("content-type", kind), ("content-length", str(len(content)))]))
                for start in range(0, len(content), 1 << 14):
                    self.send(DATA, 0, stream, content[start:start + (1 << 14)])
                self.send(DATA, END_STREAM, stream, b"")
        except (OSError, ValueError, http.client.HTTPException):
            self.socket.close()


class FramedServer:
    """HTTP/2 over mutual TLS 1.3 on a port of its own; `answer(request, body)` gives (status, content type, bytes)."""

    def __init__(self, certificate, authority, port=0):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.context.load_cert_chain(f"{certificate}.crt", f"{certificate}.key")
        self.context.load_verify_locations(str(authority))
        self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.set_alpn_protocols(["h2"])
        self.listener = socket.create_server(("127.0.0.1", port))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(plain,), daemon=True).start()

    def serve(self, plain):
        try:
            Connection(plain, self.context, self.answer).serve()
        except (OSError, EOFError):
            pass
        finally:
            plain.close()

    def close(self):
        # Closing alone does not wake who waits for a connection.
        finish(self.listener)


class LyingPeer(FramedServer):
    """In the place of `node`, for `other`. `lie(path, body, tell)` answers a call or returns None to pass it on as it
    is; `tell(path, body)` asks the node as `other` and gives (status, content type, bytes)."""

    def __init__(self, node, other, lie):
        self.node, self.other, self.lie = node, other, lie
        # Calls that were answered, with a lie or without.
        self.answered = 0
        super().__init__(node.certificate, node.site.authority, free_port())

    def answer(self, request, body):
        def tell(path, body, kind=request.get("content-type", "application/proto")):
            caller = Caller(self.node, self.other.certificate, timeout=60)
            try:
                answer = caller.request(request[":method"], path, body or None, {"content-type": kind})
                return answer.status, answer.headers.get("content-type", ""), answer.bytes
            finally:
                caller.close()

        answer = self.lie(request[":path"], body, tell) or tell(request[":path"], body)
        self.answered += 1
        return answer


class LyingSocket:
    """In the place of a node's administration socket. `lie(path, bytes)` changes an answer."""

    def __init__(self, node, path, lie):
        self.path = path

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                connection = UnixConnection(node.socket, 60)
                connection.request(
                    "POST", self.path, body, {"content-type": self.headers["content-type"]})
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                if answer.status == 200:
                    content = lie(self.path, content)
                self.send_response(answer.status)
                self.send_header("content-type", answer.getheader("content-type"))
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments):
                pass

            def address_string(self):
                return "unix"

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self.server = Server(str(path), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


# The lies

def serves_ungranted_streams(path, body, tell):
    """Opens a cursor on a stream that nobody was granted."""
    if path == FEDERATION + "OpenCursor" and field(fields(body), 2, b"") == b"bsfg.deny-test":
        return 200, "application/proto", message([(5, 0)])
    return None


def serves(stream):
    """Opens a cursor on a stream that it has and that was not granted."""
    def lie(path, body, tell):
        if path == FEDERATION + "OpenCursor" and field(fields(body), 2, b"") == stream.encode():
            return 200, "application/proto", message([(5, 0)])
        return None

    return lie


def serves_facts_of(consumer, entry=b""):
    """Refuses the cursor, and serves pages to whoever names it."""
    page = message([(1, entry)] if entry else []) + message([(2, 0), (3, 1)])

    def lie(path, body, tell):
        if path == BOUNDARY + "FetchFacts" and field(fields(body), 1, b"") == consumer.encode():
            return 200, "application/proto", page
        return None

    return lie


def forgets_its_cursor(path, body, tell):
    """Says yes to every confirm and keeps none."""
    if path == BOUNDARY + "ConfirmReceipt":
        offset = field(fields(body), 2)
        return 200, "application/proto", message([(1, offset), (2, offset + 1)])
    return None


def confirms_at_length(is_due):
    """Says yes to a confirm, and names as many passed gaps of nothing as anybody takes."""
    def lie(path, body, tell):
        if path == BOUNDARY + "ConfirmReceipt" and is_due.is_set():
            offset = field(fields(body), 2)
            return 200, "application/proto", message([(1, offset), (2, offset + 1)]) + b"\x1a\x00" * (128 << 10)
        return None

    return lie


def serves_altered_facts(path, body, tell):
    """Changes a value, and the checksum that was to show it."""
    if path != BOUNDARY + "FetchFacts":
        return None
    status, kind, content = tell(path, body)
    if status != 200:
        return status, kind, content
    page = []
    for number, value in fields(content):
        if number == 1:
            entry = fields(value)
            fact = field(entry, 5, b"").replace(b'{"value":1}', b'{"value":7}')
            value = message([
                (each, fact if each == 5 else Fixed(struct.pack("<I", crc32c(fact))) if each == 4 and fact else old)
                for each, old in entry])
        page.append((number, value))
    return status, kind, message(page)


class Refetches:
    """Serves every page as it is, but for what was confirmed before: that goes through `alter(entries, known)`, which
    gives (entries, next offset or None), entries as lists of fields."""

    def __init__(self, alter):
        self.alter, self.known = alter, 0

    def __call__(self, path, body, tell):
        if path == BOUNDARY + "ConfirmReceipt":
            self.known = max(self.known, field(fields(body), 2, 0) + 1)
        if path != BOUNDARY + "FetchFacts":
            return None
        status, kind, content = tell(path, body)
        if status != 200:
            return status, kind, content
        page, start = fields(content), field(fields(body), 4, 0)
        if start < self.known:
            entries, skipped_to = self.alter([fields(value) for number, value in page if number == 1], self.known)
            content = message(
                [(1, message(entry)) for entry in entries]
                + [(number, skipped_to or value if number == 2 else value) for number, value in page if number != 1])
        return status, kind, content


def altered(entry):
    """Another value, with the checksum and the content digest that it has to have."""
    fact = field(entry, 5, b"")
    changed = fact.replace(b'{"value":1}', b'{"value":7}')
    if changed == fact:
        return entry
    content = fields(field(fields(changed), 2))
    digest = hashlib.sha256(b"bsfg.fact.v1\0" + b"".join(
        struct.pack("<I", len(part)) + part
        for part in (field(content, 1), field(content, 2), b"\1", field(content, 3), b"", b"")) + bytes(4)).digest()
    new = {4: Fixed(struct.pack("<I", crc32c(changed))), 5: changed, 10: digest}
    return [(number, new.get(number, value)) for number, value in entry]


def alters_on_refetch():
    return Refetches(lambda entries, known: ([altered(entry) for entry in entries], None))


def refetches_one_only():
    """Says after the first of them that this was all."""
    return Refetches(lambda entries, known: (entries[:1], known))


def empty(content, start):
    """The same page as if there were nothing to be had."""
    return message(
        [(2, start), (3, start)] + [(number, value) for number, value in fields(content) if number in (4, 6)])


def takes_nothing_of_the_drill(path, body, tell):
    """Lies to its own receiver: what is appended during the partition, and all after it, does not exist."""
    if path != BOUNDARY + "FetchFacts":
        return None
    status, kind, content = tell(path, body)
    if status == 200 and b"federation:" in content:
        content = empty(content, field(fields(body), 4, 0))
    return status, kind, content


def confirms_before_it_appends(path, body, tell):
    """Lies to its own receiver: takes pages for it, confirms them, and hands none of them on."""
    if path != BOUNDARY + "FetchFacts":
        return None
    status, kind, content = tell(path, body)
    request, page = fields(body), fields(content) if status == 200 else []
    entries = [fields(value) for number, value in page if number == 1]
    if not entries:
        return status, kind, content
    last, start, following = entries[-1], field(request, 4, 0), field(page, 2)
    digest = hashlib.sha256(
        b"bsfg.record.v1\0" + struct.pack("<Q", field(last, 1, 0)) + bytes([5]) + field(last, 5)).digest()
    known = fields(field(page, 6))
    source = message([
        (1, field(known, 1)), (2, field(known, 2)), (3, following), (4, digest), (5, field(last, 1, 0))])
    tell(BOUNDARY + "ConfirmReceipt", message([
        (1, field(request, 1)), (2, following - 1), (3, source), (4, field(request, 7, b""))]))
    return 200, kind, empty(content, start)


def gives_nothing_back(path, content):
    """For an administration socket: takes facts, and has none for who reads there."""
    return b"" if path.endswith("/Peek") else content


def drains_through_a_partition(is_closed):
    """For an administration socket: its pulls go on while the other side's gate is closed."""
    def lie(path, content):
        if not path.endswith("/Status") or not is_closed():
            return content
        status = []
        for number, value in fields(content):
            if number == 8:
                value = message([
                    (each, old + 5 if each in (7, 9) else old) for each, old in fields(value)])
            status.append((number, value))
        return message(status)

    return lie

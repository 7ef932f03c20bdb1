"""HTTP/2 by hand, as far as a test needs it to do what no library lets it do."""

import json
import socket
import ssl
import struct

import hpack

DATA, HEADERS, SETTINGS, GOAWAY = 0, 1, 4, 7
END_STREAM, END_HEADERS, ACKNOWLEDGE = 1, 4, 1


class RawHTTP2:
    """One connection. Frames that are not asked for are kept until they are, and pings are left
    unanswered."""

    def __init__(self, caller, timeout=120):
        context = caller.context()
        context.set_alpn_protocols(["h2"])
        plain = socket.create_connection(("127.0.0.1", caller.node.port), timeout)
        self.socket: ssl.SSLSocket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.frames = []
        self.stream = -1
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        self.send(SETTINGS, 0, 0, b"")

    def send(self, kind, flags, stream, payload):
        head = struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream)
        self.socket.sendall(head + payload)

    def post(self, path, message):
        """Begins a call; the stream's number."""
        self.stream += 2
        body = json.dumps(message).encode()
        fields = [
            (":method", "POST"), (":scheme", "https"), (":authority", "localhost"),
            (":path", path), ("content-type", "application/json"),
            ("content-length", str(len(body)))]
        self.send(HEADERS, END_HEADERS, self.stream, self.encoder.encode(fields))
        self.send(DATA, END_STREAM, self.stream, body)
        return self.stream

    def exactly(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise EOFError("the connection has ended")
            data += piece
        return data

    def read(self):
        head = self.exactly(9)
        length = int.from_bytes(head[:3], "big")
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        payload = self.exactly(length)
        if kind == HEADERS:
            payload = dict(self.decoder.decode(payload))
        frame = (kind, flags, stream, payload)
        self.frames.append(frame)
        return frame

    def wait(self, condition):
        """The first frame, come or coming, that fits."""
        for frame in self.frames:
            if condition(frame):
                return frame
        while True:
            frame = self.read()
            if condition(frame):
                return frame

    def answer(self, stream):
        """Headers and body of an answer."""
        headers = self.wait(lambda frame: frame[0] == HEADERS and frame[2] == stream)[3]
        self.wait(lambda frame: frame[2] == stream and frame[0] == DATA and frame[1] & END_STREAM)
        body = b"".join(
            frame[3] for frame in self.frames if frame[0] == DATA and frame[2] == stream)
        return headers, body

    def close(self):
        self.socket.close()

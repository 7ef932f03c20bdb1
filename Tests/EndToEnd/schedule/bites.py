"""Whether the faults do what they are named after, seen by a plain connection before any node is trusted to them."""

import contextlib
import socket
import threading
import time

from schedule.faults import Faults
from schedule.plan import Fault
from schedule.relays import NODE_PORT
from support import PATIENCE

NEAR, FAR = "plant-a", "idmz"
SILENCE_SECONDS = 0.6


class Echo:
    """Stands where the far node listens, and sends back what comes."""

    def __init__(self, network):
        with network.inside(FAR):
            self.listener = socket.create_server(("0.0.0.0", NODE_PORT), backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def connect(field):
    """Through the relay, as a node does."""
    with field.network.inside(NEAR):
        return socket.create_connection(
            (field.network.addresses[FAR, NEAR], field.relays.port(NEAR, FAR)), PATIENCE)


def echoed(connection, data=b"x", seconds=SILENCE_SECONDS):
    """Seconds until all of it is back; None when it is not in time."""
    began = time.monotonic()
    connection.settimeout(seconds)
    try:
        threading.Thread(target=_send, args=(connection, data), daemon=True).start()
        missing = len(data)
        while missing:
            received = connection.recv(1 << 16)
            if not received:
                return None
            missing -= len(received)
    except OSError:
        return None
    return time.monotonic() - began


def _send(connection, data):
    with contextlib.suppress(OSError):
        connection.sendall(data)


def named(fault):
    direction = fault.details.get("half_close", "")
    return " ".join(filter(None, (
        fault.kind, direction, "from", fault.details["near"], "to", fault.details["far"])))


def faults_bite(checks, field):
    field.calm()
    echo = Echo(field.network)
    faults = Faults(field.network, field.relays, field.nodes)
    way = {"near": NEAR, "far": FAR}
    try:
        for kind, details in (
            ("link down", way), ("blackhole both ways", way), ("blackhole one way", way),
            ("blackhole one way", {"near": FAR, "far": NEAR}), ("hold", way), ("loss", {**way, "loss": 1.0}),
            ("half close", {**way, "half_close": "up"}), ("half close", {**way, "half_close": "down"}),
        ):
            with connect(field) as connection:
                before = echoed(connection, seconds=PATIENCE)
                fault = Fault(kind, 0, 0, **details)
                faults.begin(fault, None)
                during = echoed(connection)
                faults.end(fault)
            with connect(field) as connection:
                after = echoed(connection, seconds=PATIENCE)
            checks.check(
                f"faults: {named(fault)} lets nothing back, and everything once it is over",
                before is not None and during is None and after is not None, (before, during, after))
        with connect(field) as connection:
            echoed(connection, seconds=PATIENCE)
            faults.begin(Fault("reset", 0, 0, **way, times=1), None)
            checks.check("faults: a reset ends a connection", echoed(connection, seconds=PATIENCE) is None)
        for kind, details, least in (
            ("delay", {"delay": 0.3}, 0.6), ("rate", {"kilobits": 1_000}, 0.3),
        ):
            fault = Fault(kind, 0, 0, **way, **details)
            faults.begin(fault, None)
            with connect(field) as connection:
                seconds = echoed(connection, bytes(100_000) if kind == "rate" else b"x", PATIENCE)
            faults.end(fault)
            checks.check(
                f"faults: {named(fault)} makes an answer late", seconds is not None and seconds >= least, seconds)
    finally:
        echo.close()
        field.calm()

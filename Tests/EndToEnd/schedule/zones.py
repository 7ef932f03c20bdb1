"""Nodes in namespaces of their own, with a clock that can be stepped and a step at which they end."""

import shutil

from history_common import events
from schedule.relays import NODE_PORT
from schedule.stepped_clock import SteppedClock
from support import Caller, Node


class ZoneNode(Node):
    """A node that is started again as often as a schedule kills it."""

    def __init__(self, site, zone, network, library):
        super().__init__(site, zone)
        self.port = NODE_PORT
        self.listen_address = "0.0.0.0"
        self.network = network
        self.clock = SteppedClock(self.root / "clock", library)
        # The step and number at which this process ends, None for none.
        self.fault_point = None

    def clear(self):
        """As if it had never run."""
        assert self.process is None
        shutil.rmtree(self.data, ignore_errors=True)
        for name in ("gates.json", "admin.sock"):
            (self.root / name).unlink(missing_ok=True)
        self.errors.write_bytes(b"")
        self.peers, self.cursors, self.clients, self.zones = [], [], [], []
        self.stream_options = {}
        self.clock.step_to(0)
        self.fault_point = None

    def launch(self, fault_point=None):
        """Starts it, to end at a step where one is given: that may be before it is seen to listen."""
        self.fault_point = fault_point
        settings = dict(self.clock.environment)
        if fault_point:
            settings["BSFG_FAULT_POINT"] = "{}:{}".format(*fault_point)
        wrapper = [*self.network.command(self.zone), "env"]
        wrapper += [f"{name}={value}" for name, value in settings.items()]
        try:
            self.start(wrapper=wrapper)
        except RuntimeError:
            if self.process is None or self.process.poll() != -9 or fault_point is None:
                raise

    def take_end(self):
        """Whether the process has ended at its step by now; every other end is an error."""
        code = self.process.poll()
        if code is None:
            return False
        told = [(line["step"], line["hit"]) for line in events(self, "fault_point")]
        if code != -9 or self.fault_point is None or told[-1:] != [self.fault_point]:
            raise RuntimeError(
                f"{self.zone} ended with {code} and should not have: "
                + self.errors.read_text(errors="replace")[-2_000:])
        self.process = None
        return True


class ZoneCaller(Caller):
    """Calls a node from within its namespace, as a producer of that zone does."""

    def connect(self):
        connection = super().connect()
        # A connection that was lost is made again here and not by the library, which knows no namespaces.
        connection.auto_open = 0
        with self.node.network.inside(self.node.zone):
            connection.connect()
        return connection

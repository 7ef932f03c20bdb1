"""What all schedules of a run share: namespaces, cables, relays, certificates, the clock library."""

import pathlib
import shutil
import tempfile

from schedule import stepped_clock
from schedule.namespaces import Network
from schedule.plan import THREE
from schedule.relays import Relays
from schedule.zones import ZoneNode
from support import Site

CABLES = (("plant-a", "idmz"), ("idmz", "enterprise"), ("plant-a", "enterprise"))


class Field:
    identity = "producer-1"

    def __init__(self, seed):
        self.site = Site(prefix="bsfg-schedule-")
        self.network = self.relays = None
        try:
            self.library = stepped_clock.build(self.site.directory)
            self.network = Network(THREE, CABLES)
            self.relays = Relays(self.network, THREE, seed)
            self.nodes = {}
            for zone in THREE:
                self.nodes[zone] = ZoneNode(self.site, zone, self.network, self.library)
                self.site.nodes.append(self.nodes[zone])
            self.certificate = self.site.certificate(self.identity)
        except BaseException:
            self.close()
            raise

    def heal(self):
        self.network.heal()
        self.relays.heal()

    def calm(self):
        """No node runs, nothing is wrong, no connection is left."""
        for node in self.nodes.values():
            node.kill()
        self.network.heal()
        self.relays.reset()

    def keep(self, seed):
        """Logs and files of a schedule that failed, for whoever looks into it."""
        target = pathlib.Path(tempfile.gettempdir()) / f"bsfg-schedule-failed-{seed}"
        shutil.rmtree(target, ignore_errors=True)
        for node in self.nodes.values():
            node.kill()
            shutil.copytree(
                node.root, target / node.zone, ignore=shutil.ignore_patterns("*.sock", "certs"))
        print(f"  kept: {target}", flush=True)

    def close(self):
        self.site.close()
        if self.relays:
            self.relays.close()
        if self.network:
            self.network.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.close()

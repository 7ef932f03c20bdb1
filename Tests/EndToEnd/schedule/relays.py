"""The relay processes through which nodes reach each other, one in the namespace of each zone that is called."""

import json
import pathlib
import subprocess
import sys
import threading

PROGRAM = pathlib.Path(__file__).with_name("relay_process.py")
NODE_PORT = 9443
FIRST_PORT = 7001


class Relays:
    """`port(caller, called)` at the called zone's address leads to its node."""

    def __init__(self, network, zones, seed):
        self.zones = zones
        self.processes = {}
        self.lock = threading.Lock()
        for called in zones:
            links = [
                f"{caller}={self.port(caller, called)}:{NODE_PORT}"
                for caller in zones if caller != called]
            self.processes[called] = subprocess.Popen(
                [*network.command(called), sys.executable, str(PROGRAM), str(seed), *links],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for called in zones:
            self._answer(called, "ready")

    def port(self, caller, called):
        return FIRST_PORT + self.zones.index(caller)

    def tell(self, caller, called, **command):
        """Changes what the relay does to calls of one zone to another; in force on return."""
        with self.lock:
            process = self.processes[called]
            process.stdin.write(json.dumps({"link": caller, **command}) + "\n")
            process.stdin.flush()
            self._answer(called, "done")

    def heal(self):
        for called in self.zones:
            for caller in self.zones:
                if caller != called:
                    self.tell(caller, called, heal=True)

    def reset(self):
        """No connection is left."""
        for called in self.zones:
            for caller in self.zones:
                if caller != called:
                    self.tell(caller, called, heal=True, reset=True)

    def close(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def _answer(self, called, expected):
        line = self.processes[called].stdout.readline().strip()
        if line != expected:
            raise RuntimeError(f"the relay in front of {called} said {line!r} and not {expected!r}")

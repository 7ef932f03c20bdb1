"""Network namespaces with a cable between each two of them, and what can be done to a cable. Needs root.

A cable is a veth pair with a network of its own; nothing is added to the machine's own network."""

import contextlib
import ctypes
import os
import pathlib
import subprocess
import threading

PREFIX = "bsfg-schedule"
NAMES = pathlib.Path("/run/netns")
CLONE_NEWNET = 0x40000000

_library = ctypes.CDLL(None, use_errno=True)


def ip(*arguments, ok=True):
    done = subprocess.run(["ip", *map(str, arguments)], capture_output=True, text=True)
    if ok and done.returncode != 0:
        raise RuntimeError(f"ip {' '.join(map(str, arguments))}: {done.stderr.strip()}")
    return done.returncode == 0


def why_not():
    """Why this machine cannot make namespaces; None where it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"{PREFIX}-{os.getpid()}-probe"
    try:
        ip("netns", "add", name)
        ip("-n", name, "link", "add", "one", "type", "veth", "peer", "name", "two")
        subprocess.run(
            ["tc", "-n", name, "qdisc", "add", "dev", "one", "root", "tbf", "rate", "1mbit", "burst",
             "16kb", "latency", "100ms"], check=True, capture_output=True, text=True)
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        return f"{error} {getattr(error, 'stderr', '') or ''}".strip()
    finally:
        with contextlib.suppress(OSError):
            ip("netns", "del", name, ok=False)
    return None


def remove_abandoned():
    """Removes what runs left behind that were killed: the name tells which process made it."""
    if not NAMES.is_dir():
        return
    for path in NAMES.glob(f"{PREFIX}-*"):
        process = path.name.removeprefix(f"{PREFIX}-").split("-")[0]
        if process.isdigit() and not pathlib.Path(f"/proc/{process}").exists():
            ip("netns", "del", path.name, ok=False)


class Network:
    """One namespace a zone, one cable for each pair of zones. All of it is gone after `close`."""

    def __init__(self, zones, cables):
        remove_abandoned()
        self.names = {zone: f"{PREFIX}-{os.getpid()}-{zone}" for zone in zones}
        self.cables = [tuple(cable) for cable in cables]
        # (zone, the zone at the other end) to the address of the first one on that cable.
        self.addresses = {}
        try:
            for name in self.names.values():
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            for number, (left, right) in enumerate(self.cables):
                self._lay(number, left, right)
        except RuntimeError:
            self.close()
            raise

    def _lay(self, number, left, right):
        ip("-n", self.names[left], "link", "add", self.device(right), "type", "veth",
           "peer", "name", self.device(left), "netns", self.names[right])
        for host, (near, far) in enumerate(((left, right), (right, left)), 1):
            self.addresses[near, far] = f"10.199.{number}.{host}"
            ip("-n", self.names[near], "address", "add", f"10.199.{number}.{host}/30",
               "dev", self.device(far))
            ip("-n", self.names[near], "link", "set", self.device(far), "up")

    def device(self, far):
        """An interface is named after where it leads; the kernel takes 15 characters."""
        return f"to-{far}"[:15]

    def command(self, zone):
        """What a command begins with to run in a zone's namespace, with its own process number."""
        return ("ip", "netns", "exec", self.names[zone])

    @contextlib.contextmanager
    def inside(self, zone):
        """This thread makes its sockets in the zone's namespace meanwhile."""
        outside = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        try:
            inner = os.open(NAMES / self.names[zone], os.O_RDONLY)
            try:
                _enter(inner)
            finally:
                os.close(inner)
            try:
                yield
            finally:
                _enter(outside)
        finally:
            os.close(outside)

    # What can be done to a cable. Each undoes itself with `False`, also when it was not done.

    def pull_out(self, near, far, is_out):
        ip("-n", self.names[near], "link", "set", self.device(far), "down" if is_out else "up")

    def swallow(self, near, far, swallows):
        """Packets from `near` to `far` vanish in a blackhole route; the other way they pass."""
        ip("-n", self.names[near], "route", "replace" if swallows else "del", "blackhole",
           f"{self.addresses[far, near]}/32", ok=swallows)

    def slow(self, near, far, kilobits):
        """What `near` sends to `far` in a second at most; None for no limit."""
        base = ["tc", "-n", self.names[near], "qdisc"]
        place = ["dev", self.device(far), "root"]
        if kilobits is None:
            subprocess.run([*base, "del", *place], capture_output=True)
        else:
            subprocess.run(
                [*base, "replace", *place, "tbf", "rate", f"{kilobits}kbit", "burst", "16kb",
                 "latency", "200ms"], check=True, capture_output=True)

    def heal(self):
        for left, right in self.cables:
            for near, far in ((left, right), (right, left)):
                self.pull_out(near, far, False)
                self.swallow(near, far, False)
                self.slow(near, far, None)

    def close(self):
        for name in self.names.values():
            ip("netns", "del", name, ok=False)


def _enter(descriptor):
    if _library.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "entering a network namespace")

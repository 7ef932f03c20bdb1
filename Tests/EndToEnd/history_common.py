"""What the tests of histories and of quarantine share: commands at a node's socket, copies of a log as an
operator or a backup makes them, and facts by their id."""

import json
import shutil
import subprocess

from replication_common import Producer
from support import BSFG, STREAM, fact


def bsfg(node, *arguments, ok=True):
    """A command at a node's socket: what it printed, or with `ok` false its exit status and error."""
    done = subprocess.run(
        [BSFG, *map(str, arguments), "--socket", str(node.socket)], capture_output=True, text=True,
        timeout=60)
    if ok:
        if done.returncode != 0:
            raise RuntimeError(f"bsfg {arguments}: {done.returncode}, {done.stderr}")
        return done.stdout
    return done.returncode, done.stderr


def bsfg_json(node, *arguments):
    return json.loads(bsfg(node, *arguments, "-o", "json"))


def copy(source, target):
    """`cp -a`."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def begin_epoch(directory, reason="restored"):
    done = subprocess.run(
        [BSFG, "log", "begin-epoch", "--dir", str(directory), "--after-restore", "--reason", reason,
         "-o", "json"], capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout)


def pair(site, profile=None, seed=1):
    """A source, its receiver and a producer at the source."""
    source, receiver = site.node("plant-a"), site.node("enterprise")
    source.segment = receiver.segment = "1MiB"
    source.capacity = receiver.capacity = "32MiB"
    source.profile = receiver.profile = profile
    source.client("producer-1")
    source.grant(receiver)
    receiver.grant(source, streams=())
    receiver.pull(source, justification="the test wants every fact")
    return source, receiver, Producer(source, site.certificate("producer-1"), "p", seed)


def append(producer, *pairs):
    """Facts with ids and values of the caller's choice, in one batch."""
    producer.pending = [
        {name: message[name] for name in ("envelope", "fact")}
        for message in (
            fact(identifier, {"value": value}, zone=producer.node.zone)
            for identifier, value in pairs)]
    producer.append(None)


def start_to_end(node, step):
    """Starts a node that ends at a step, which may be before it is seen to listen."""
    try:
        node.start(wrapper=("env", f"BSFG_FAULT_POINT={step}:1"))
    except RuntimeError:
        if node.process is None or node.process.poll() != -9:
            raise


def events(node, name):
    """The lines of a node's log with an event."""
    lines = []
    for line in node.errors.read_text(errors="replace").splitlines():
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if found.get("event") == name:
            lines.append(found)
    return lines


def accept(node, peer, reason="drill"):
    return bsfg_json(
        node, "peer", "accept-history", "--peer", peer.zone, "--reason", reason)


def ids(entries):
    """Message ids and the kinds of notices, in order."""
    return [
        entry["message"]["envelope"]["messageId"] if "message" in entry
        else next(kind for kind in ("gap", "refused", "quarantined") if kind in entry)
        for entry in entries]


__all__ = [
    "STREAM", "accept", "append", "begin_epoch", "bsfg", "bsfg_json", "copy", "events", "ids", "pair",
    "start_to_end"]

#!/usr/bin/env python3
"""Who decided something at a node is in its log: the user of the process that asked, as the kernel names it.

    BSFG=path audit.py

Acknowledged alarms are in capacity.py, quarantine in quarantine.py, accepted histories in histories.py.
"""

import os
import signal

from gates import enterprise_reload
from history_common import bsfg, events
from replication_common import Producer
from support import STREAM, Site, main, wait_until

BY = f"uid:{os.getuid()}"
PRODUCER = "producer-1"


def decided(checks, node, name, event, decide, **fields):
    """A decision leaves a line that names the caller, and its subject."""
    before = len(events(node, event))
    decide()
    wait_until(f"the line {event}", lambda: len(events(node, event)) > before)
    line = events(node, event)[-1]
    checks.equal(
        f"gateway decision 41: {name} is in the log with the caller's user",
        {field: line.get(field) for field in ("by", *fields)}, {"by": BY, **fields})


def readers(checks, source):
    """Consumers from their creation to their end."""
    names = {"owner": PRODUCER, "consumer": "reader"}
    owner = ("--owner", PRODUCER, "--name", "reader")

    def admin(method, **fields):
        answer = source.admin(method, {"owner": PRODUCER, "name": "reader", **fields})
        assert answer.ok, answer

    decided(checks, source, "a new consumer", "consumer_created",
            lambda: admin("CreateConsumer", stream=STREAM), **names, stream=STREAM, origin="plant-a")
    decided(checks, source, "detaching", "consumer_detached",
            lambda: admin("DetachConsumer", reason="left"), **names, reason="left")
    decided(checks, source, "attaching", "consumer_attached",
            lambda: admin("AttachConsumer", initMode="resume"), **names)
    decided(checks, source, "deleting a consumer", "consumer_deleted",
            lambda: bsfg(source, "consumer", "delete", *owner, "--reason", "gone"), **names, reason="gone")


def pulls(checks, source, receiver, producer):
    of = {"stream": STREAM, "origin": "plant-a"}
    producer.append(20)
    decided(checks, receiver, "starting a pull", "pull_started",
            lambda: bsfg(receiver, "peer", "start", "plant-a"), peer="plant-a", **of)
    wait_until("the facts", lambda: receiver.head("plant-a") == 20)
    decided(checks, receiver, "a redelivery", "redelivery_asked",
            lambda: bsfg(receiver, "peer", "redeliver", "plant-a", "--count", "5"), **of, from_offset="15")


def gates(checks, node):
    peer = {"peer": "plant-a"}
    decided(checks, node, "a partition", "operator_partition",
            lambda: bsfg(node, "admin", "partition", "--peer", "plant-a", "--reason", "drill"), **peer,
            reason="drill")
    decided(checks, node, "its end", "operator_reconcile",
            lambda: bsfg(node, "admin", "reconcile", "--peer", "plant-a"), **peer)
    bsfg(node, "admin", "partition", "--peer", "plant-a", "--reason", "short", "--for", "100ms")
    wait_until("its end by itself", lambda: len(events(node, "operator_reconcile")) == 2)
    checks.equal(
        "gateway decision 41: a partition that ends by itself was ended by nobody",
        events(node, "operator_reconcile")[-1]["by"], "clock")


def reloads(checks, node):
    decided(checks, node, "a reload", "configuration_reloaded", lambda: bsfg(node, "config", "reload"))
    peers, node.peers = node.peers, [{"id": "nobody"}]
    node.write()
    decided(checks, node, "a reload that is refused", "configuration_refused",
            lambda: enterprise_reload(node))
    node.peers = peers
    node.write()
    before = len(events(node, "configuration_reloaded"))
    node.process.send_signal(signal.SIGHUP)
    wait_until("the reload", lambda: len(events(node, "configuration_reloaded")) > before)
    checks.equal(
        "gateway decision 41: a signal has no user, and is told as what it is",
        events(node, "configuration_reloaded")[-1]["by"], "SIGHUP")


def test(checks):
    with Site() as site:
        source, receiver = site.node("plant-a"), site.node("enterprise")
        source.client(PRODUCER)
        source.grant(receiver)
        receiver.grant(source, streams=(), start="manual")
        receiver.pull(source, justification="the test wants every fact")
        producer = Producer(source, site.certificate(PRODUCER), "fact")
        source.start()
        receiver.start()
        with checks.guard("readers"):
            readers(checks, source)
        with checks.guard("pulls"):
            pulls(checks, source, receiver, producer)
        with checks.guard("gates"):
            gates(checks, receiver)
        with checks.guard("reloads"):
            reloads(checks, receiver)
        for node in (source, receiver):
            checks.equal(f"{node.zone} ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)

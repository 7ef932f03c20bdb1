#!/usr/bin/env python3
"""Requirements 49 to 59, 104 and 119 of the specification: two zones that pull from each other, and the link between
them cut in both directions. A check is named by the requirement that it is about (docs/conformance.md).

    BSFG=path conformance_partition.py
"""

import socket
import threading
import time

from history_common import events
from replication_common import Link, Producer, consumer_name, finish
from support import (
    PATIENCE, STREAM, Answer, Caller, Site, UnixConnection, fact, free_port, identifiers, main, wait_until)

LIST_GATES = "/bsfg.admin.v1.FederationAdministration/ListGates"
# Who waits for a peer that is away waits for longer than this.
SLOWEST_SECONDS = 25
RECONCILING_BYTES_PER_SECOND = 200_000


def gate(node):
    """Of the node's one peer."""
    connection = UnixConnection(node.socket, PATIENCE)
    try:
        connection.request("POST", LIST_GATES, b"{}", {"content-type": "application/json"})
        return Answer(connection.getresponse()).json["gates"][0]
    finally:
        connection.close()


def mode(node, direction="inbound"):
    return gate(node)[direction]["mode"]


class Watch:
    """What a gate showed, and how far the pull was when it did."""

    def __init__(self, node, source):
        self.seen = []
        self.stopping = threading.Event()

        def work():
            while not self.stopping.is_set():
                found = mode(node)
                if not self.seen or self.seen[-1][0] != found:
                    self.seen.append((found, node.head(source.zone)))

        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def has_seen(self, mode):
        return any(found[0] == mode for found in self.seen)

    def stop(self):
        self.stopping.set()
        self.thread.join()
        return self.seen


class Pair:
    def __init__(self, site):
        self.plant, self.enterprise = site.node("plant-a"), site.node("enterprise")
        self.nodes = [self.plant, self.enterprise]
        self.links = [Link(node.port) for node in self.nodes]
        for node, other, link in (
            (self.plant, self.enterprise, self.links[1]), (self.enterprise, self.plant, self.links[0]),
        ):
            node.grant(other, port=link.port)
            node.pull(other)
            node.client("producer-1")
            node.client("reader-1", roles=["consumer"], origins=[node.zone, other.zone])
        certificate = site.certificate("producer-1")
        self.producers = [
            Producer(node, certificate, f"{node.zone}-fact", seed) for seed, node in enumerate(self.nodes)]
        for node in self.nodes:
            node.start()

    def others(self):
        return ((self.plant, self.enterprise), (self.enterprise, self.plant))

    def settled(self):
        return all(
            node.head(other.zone) == other.head()
            and other.cursor(consumer_name(node, other)) == other.head()
            for node, other in self.others())

    def all_modes(self):
        return {mode(node, direction) for node in self.nodes for direction in ("inbound", "outbound")}


def normals(pair):
    """How often each gate's log said that it became normal."""
    return [
        len([line for line in events(node, "gate_normal") if line.get("direction") == "inbound"])
        for node in pair.nodes]


def bounds(node):
    return {
        (log["origin"], log["logUuid"], log.get("epoch"), log.get("firstOffset", "0"))
        for log in node.status()["streams"]}


def partition(checks, site):
    pair = Pair(site)
    plant, enterprise = pair.nodes
    for producer in pair.producers:
        producer.append(50)
    wait_until("both having everything", pair.settled)
    wait_until("normal", lambda: pair.all_modes() == {"normal"})
    before = {node.zone: bounds(node) for node in pair.nodes}
    cursors = [other.cursor(consumer_name(node, other)) for node, other in pair.others()]

    for link in pair.links:
        link.cut()
    checks.eventually(
        "spec 19.50: the loss of the peer closes the gate without an operator",
        lambda: all(
            gate(node)["inbound"]["mode"] == "autonomous" and gate(node).get("closure") is None
            for node in pair.nodes))

    fills = [int(node.stream_status().get("fillBytes", 0)) for node in pair.nodes]
    slowest = 0.0
    for producer in pair.producers:
        for _ in range(30):
            began = time.monotonic()
            producer.append(100)
            slowest = max(slowest, time.monotonic() - began)
    wait_until(
        "the fill being counted", lambda: all(
            int(node.stream_status().get("fillBytes", 0)) > fill for node, fill in zip(pair.nodes, fills)))
    checks.check(
        "spec 19.52: the store fills, nothing is lost and no producer is held up",
        slowest < SLOWEST_SECONDS and [len(node.peek()) for node in pair.nodes] == [3_050, 3_050],
        slowest)
    own = Caller(enterprise, site.certificate("reader-1"))
    consumed = []
    for name, origin in (("own", "enterprise"), ("theirs", "plant-a")):
        assert enterprise.consumer("reader-1", name, origin=origin).ok
        page = own.fetch(name, limit=10_000)
        consumed.append(len(page.json["entries"]) > 0 and own.confirm(
            name, int(page.json["nextOffset"]) - 1).ok)
    own.close()
    checks.equal(
        "spec 19.51: in autonomous mode producing and consuming go on",
        (consumed, [mode(node) for node in pair.nodes]), ([True, True], ["autonomous"] * 2))
    checks.equal(
        "spec 19.25: the frontier stands while the peer is away",
        [other.cursor(consumer_name(node, other)) for node, other in pair.others()], cursors)
    backlog = [
        other.head() - other.cursor(consumer_name(node, other)) for node, other in pair.others()]

    normals_before = normals(pair)
    watches = [Watch(node, other) for node, other in pair.others()]
    # Until both were seen to reconcile what follows comes slowly: who looks late sees it too.
    for link in pair.links:
        link.rate = RECONCILING_BYTES_PER_SECOND
        link.heal()
    wait_until("both reconciling", lambda: all(watch.has_seen("reconciling") for watch in watches))
    for link in pair.links:
        link.rate = None
    checks.eventually(
        "spec 19.53: the peer's return is noticed, and everything crosses", pair.settled)
    wait_until("normal again", lambda: pair.all_modes() == {"normal"})
    seen = [watch.stop() for watch in watches]
    checks.check(
        "spec 19.53: the peer's return reconciles and replays by itself",
        # A call that a slow machine fails meanwhile begins it anew.
        all([found[0] for found in modes[-2:]] == ["reconciling", "normal"]
            and all(found[0] != "normal" for found in modes[:-1]) for modes in seen), seen)
    checks.equal(
        "spec 19.54: normal is shown once the frontier has caught up",
        [modes[-1] for modes in seen], [("normal", 3_050)] * 2)
    checks.equal(
        "spec 19.49: all three modes were shown",
        {"normal", "autonomous"} | {found[0] for modes in seen for found in modes},
        {"normal", "autonomous", "reconciling"})
    checks.equal(
        "spec 19.119: a backlog grew in the drill and drained after it",
        (backlog, [other.head() - other.cursor(consumer_name(node, other))
                   for node, other in pair.others()]), ([3_000, 3_000], [0, 0]))
    checks.check(
        "spec 19.55: after a partition each side has every fact of both exactly once",
        all(identifiers(node.peek(other.zone)) == identifiers(other.peek())
            and {found[0] for found in identifiers(other.peek())} == set(producer.acknowledged)
            and len(other.peek()) == len(producer.acknowledged)
            for (node, other), producer in zip(pair.others(), reversed(pair.producers))))
    checks.equal(
        "spec 19.56: no log was wiped or made again",
        {node.zone: bounds(node) for node in pair.nodes}, before)
    wait_until("the lines of the end", lambda: all(
        count > known for count, known in zip(normals(pair), normals_before)))
    order = [
        [line["event"] for line in sorted(
            (line for name in (
                "peer_reachable", "cursor_comparison", "backfill_required", "replay_initiated",
                "cursor_advanced", "gate_normal") for line in events(node, name)
             if line.get("direction") == "inbound"), key=lambda line: line["time"])][-6:]
        for node in pair.nodes]
    checks.equal(
        "spec 19.104: the log has the reconciliation in its order", [set(found) for found in order],
        [{"peer_reachable", "cursor_comparison", "backfill_required", "replay_initiated",
          "cursor_advanced", "gate_normal"}] * 2)
    for link in pair.links:
        link.close()
    for node in pair.nodes:
        node.stop()


class Deaf:
    """Takes connections and says nothing; counts them."""

    def __init__(self):
        self.port, self.count = free_port(), 0
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._work, daemon=True).start()

    def _work(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            connection.close()


def pulled(checks, site):
    """The source cannot reach its receiver at all."""
    for notify, zones in ((False, ("plant-b", "idmz")), (True, ("plant-c", "hub"))):
        source, receiver = (site.node(zone) for zone in zones)
        deaf = Deaf()
        source.client("producer-1")
        source.grant(receiver, port=deaf.port, notify=notify)
        receiver.grant(source, streams=())
        receiver.pull(source)
        source.start()
        producer = Caller(source, site.certificate("producer-1", name=source.zone))
        for number in range(30):
            assert producer.append(fact(f"fact-{number}", zone=source.zone)).ok
        if notify:
            wait_until("an attempt to notify", lambda: deaf.count > 0)
        receiver.start()

        def is_all_here():
            return identifiers(receiver.peek(source.zone)) == identifiers(source.peek())

        if notify:
            checks.eventually("spec 19.59: with every notice lost the facts come all the same", is_all_here)
        else:
            checks.eventually("spec 19.58: facts cross although the source calls nobody", is_all_here)
            checks.equal("spec 19.58: and it has called nobody", deaf.count, 0)
        finish(deaf.listener)
        source.stop()
        receiver.stop()


def test(checks):
    with Site() as site:
        with checks.guard("a partition"):
            partition(checks, site)
        with checks.guard("pulled"):
            pulled(checks, site)


if __name__ == "__main__":
    main(test)

#!/usr/bin/env python3
"""Three nodes, plant-a, idmz and enterprise, all producing on one stream and relaying under explicit origins:
what crosses, what an operator's partition stops (over a restart too), what a dead peer does not delay,
what a reload changes, and what a notice speeds up.
"""
import base64
import json
import signal
import subprocess
import time

from replication_common import Link, Producer
from support import (
    BOUNDARY, BSFG, FEDERATION, PATIENCE, STREAM, Answer, Caller, Site, UnixConnection, identifiers, main,
    wait_until)

FEDERATION_ADMIN = "/bsfg.admin.v1.FederationAdministration/"
PRODUCER = "producer-1"
EVENTS = ["peer_reachable", "cursor_comparison", "backfill_required", "replay_initiated",
          "cursor_advanced"]


def command(node, *arguments):
    done = subprocess.run(
        [BSFG, *map(str, arguments), "--config", str(node.root)], capture_output=True, text=True,
        timeout=60)
    return done.returncode, done.stdout, done.stderr


def gates(node):
    code, output, errors = command(node, "status", "-o", "json")
    assert output, errors
    return {gate["peer"]: gate for gate in json.loads(output)["gates"]}


def mode(node, peer, direction=None):
    gate = gates(node)[peer.zone]
    return gate[direction]["mode"] if direction else gate["mode"]


def log_lines(node, since=0):
    lines = []
    for line in node.errors.read_text().splitlines()[since:]:
        try:
            lines.append(json.loads(line))
        except ValueError:
            pass
    return lines


def reconciliation(node, since):
    """The inbound events about plant-a up to the last one's; none before that is there. Where a slow machine began
    anew, only what follows the last beginning."""
    found = [
        line for line in log_lines(node, since)
        if line.get("event") in EVENTS and line.get("peer") == "plant-a"
        and line.get("direction") == "inbound"]
    begun = [number for number, line in enumerate(found) if line["event"] == EVENTS[0]]
    for first, following in zip(begun, begun[1:]):
        # What was begun and not finished was in order, too.
        names = [line["event"] for line in found[first:following]]
        if names != EVENTS[:len(names)]:
            return found
    found = found[begun[-1]:] if begun else found
    return found if found and found[-1]["event"] == EVENTS[-1] else None


def log_length(node):
    return len(node.errors.read_text().splitlines())


def pulls(node):
    return {(pull["peer"], pull["origin"]): pull for pull in node.status().get("pulls", [])}


class Chain:
    """plant-a - idmz - enterprise. Each of the outer two has a link to idmz that can be cut."""

    def __init__(self, site, **options):
        self.plant, self.idmz, self.enterprise = (
            site.node(zone) for zone in ("plant-a", "idmz", "enterprise"))
        self.nodes = [self.plant, self.idmz, self.enterprise]
        self.links = {}
        for outer in (self.plant, self.enterprise):
            for side, node in ((outer, self.idmz), (self.idmz, outer)):
                self.links[side.zone, node.zone] = Link(node.port)
        other = {"plant-a": self.enterprise, "enterprise": self.plant}
        for outer in (self.plant, self.enterprise):
            port = self.links[outer.zone, "idmz"].port
            outer.grant(self.idmz, origins=[outer.zone], port=port, **options)
            outer.zones = [other[outer.zone].zone]
            for origin in ("idmz", other[outer.zone].zone):
                outer.pull(self.idmz, origin=origin)
            self.idmz.grant(
                outer, origins=["idmz", other[outer.zone].zone],
                port=self.links["idmz", outer.zone].port, **options)
            self.idmz.pull(outer)
        certificate = site.certificate(PRODUCER)
        self.certificate = certificate
        for node in self.nodes:
            node.client(PRODUCER, roles=("producer",))
        self.producers = {
            node.zone: Producer(node, certificate, f"{node.zone}-fact") for node in self.nodes}

    def start(self):
        for node in self.nodes:
            node.start()
        return self

    def close(self):
        for link in self.links.values():
            link.close()

    def settled(self):
        heads = {node.zone: node.head() for node in self.nodes}
        return all(
            node.head(origin) == head
            for node in self.nodes for origin, head in heads.items() if origin != node.zone)

    def settle(self, what="every node having everything"):
        wait_until(what, self.settled)

    def compare(self, checks, name):
        for origin in self.nodes:
            stored = identifiers(origin.peek())
            acknowledged = self.producers[origin.zone].acknowledged
            checks.equal(
                f"{name}: {origin.zone} has each acknowledged fact once",
                ({entry[0] for entry in stored}, len(stored)), (set(acknowledged), len(acknowledged)))
            for node in self.nodes:
                if node is not origin:
                    checks.check(
                        f"{name}: {node.zone} has the {len(stored)} facts of {origin.zone} once each, "
                        "in order", identifiers(node.peek(origin.zone)) == stored)


def relay(checks):
    """Facts of all three zones reach the other two, and nothing returns to its origin."""
    with Site() as site:
        chain = Chain(site, compression="lz4")
        for producer in chain.producers.values():
            producer.size = (200, 2_000)
        chain.start()
        for round_number in range(3):
            for producer in chain.producers.values():
                producer.append(300)
        chain.settle()
        chain.compare(checks, "relay")
        for node in chain.nodes:
            origins = sorted(log["origin"] for log in node.status()["streams"])
            checks.equal(
                f"relay: {node.zone} has one log for each zone", origins,
                ["enterprise", "idmz", "plant-a"])
        for node, peers in ((chain.idmz, (chain.plant, chain.enterprise)),
                            (chain.plant, (chain.idmz,)), (chain.enterprise, (chain.idmz,))):
            for peer in peers:
                for direction in ("inbound", "outbound"):
                    wait_until(
                        f"{node.zone} being normal with {peer.zone}",
                        lambda: mode(node, peer, direction) == "normal")
        checks.check("relay: every gate is normal in both directions", True)
        checks.check(
            "spec 19.120: facts cross plant-a - idmz - enterprise, whose ends know nothing of each other",
            identifiers(chain.enterprise.peek("plant-a")) == identifiers(chain.plant.peek())
            and identifiers(chain.plant.peek("enterprise")) == identifiers(chain.enterprise.peek())
            and [[peer["id"] for peer in node.peers] for node in (chain.plant, chain.enterprise)]
            == [["idmz"], ["idmz"]])
        # The relayed record says where and when it began.
        first = chain.enterprise.peek("plant-a")[0]["origin"]
        uuid = chain.plant.stream_status()["logUuid"]
        checks.equal(
            "relay: origin log and offset are unchanged on the second hop",
            (base64.b64decode(first["logUuid"]).hex(), int(first.get("offset", 0))), (uuid, 0))
        idmz = Caller(chain.idmz, chain.enterprise.certificate)
        answer = idmz.call(FEDERATION + "OpenCursor", {
            "consumer_name": f"enterprise/{STREAM}/enterprise", "stream": STREAM,
            "origin_zone": "enterprise", "profile": "standard",
            "receiver": {"log_uuid": "AAAAAAAAAAAAAAAAAAAAAA==", "epoch": 1}})
        checks.equal("relay: nobody is given its own facts back", answer.reason, "origin_not_granted")
        code, output, _ = command(chain.idmz, "stream", "info", STREAM, "--origin", "plant-a")
        checks.check(
            "relay: stream info names history, bounds, durability and readers",
            code == 0 and all(word in output for word in (
                "UUID", "epoch", "first", "last         899", "fdatasync",
                f"enterprise/{STREAM}/plant-a")), output)
        code, output, _ = command(chain.idmz, "stream", "list", "-o", "json")
        checks.equal("relay: stream list has every log", len(json.loads(output)), 3)
        chain.close()


def partition(checks):
    """An operator's partition: nothing crosses, over a restart too; afterwards everything does."""
    with Site() as site:
        chain = Chain(site).start()
        plant, idmz, enterprise = chain.nodes
        for producer in chain.producers.values():
            producer.append(100)
        chain.settle()
        wait_until("normal", lambda: mode(idmz, plant) == "normal")
        code, output, errors = command(
            idmz, "admin", "partition", "--peer", "plant-a", "--reason", "drill 7")
        checks.check(
            "partition: the command returns with the gate closed",
            code == 0 and "autonomous" in output and "drill 7" in output, output + errors)
        frontier = idmz.cursor(f"plant-a/{STREAM}/enterprise")
        before = idmz.head("plant-a")
        for producer in chain.producers.values():
            producer.append(200)
        wait_until(
            "the other pair going on",
            lambda: enterprise.head("idmz") == 300 and idmz.head("enterprise") == 300)
        checks.check("partition: producers and the other peer go on", True)
        time.sleep(1)
        checks.equal("partition: nothing of plant-a comes in", idmz.head("plant-a"), before)
        checks.equal(
            "spec 19.25: partition: the frontier is frozen", idmz.cursor(f"plant-a/{STREAM}/enterprise"), frontier)
        peer = Caller(idmz, plant.certificate)
        for method, body in (
            ("FetchFacts", {"consumer_name": f"plant-a/{STREAM}/enterprise"}),
            ("ConfirmReceipt", {"consumer_name": f"plant-a/{STREAM}/enterprise", "offset": "1"}),
        ):
            answer = peer.call(BOUNDARY + method, body)
            checks.equal(
                f"partition: {method} of the peer is refused", (answer.code, answer.reason),
                ("unavailable", "gate_closed"))
        answer = peer.call(FEDERATION + "Hello", {"zone": "plant-a", "format_max": 1})
        checks.check("partition: hello stays", answer.ok, repr(answer))
        checks.check("partition: /health stays", peer.request("GET", "/health").ok)
        peer.close()
        idmz.stop()
        idmz.start()
        closure = gates(idmz)["plant-a"]["closure"]
        checks.equal(
            "partition: it survives a restart, with its reason",
            closure and closure["reason"], "drill 7")
        time.sleep(1)
        checks.equal("partition: nothing comes in after it either", idmz.head("plant-a"), before)
        length = log_length(idmz)
        code, output, errors = command(idmz, "admin", "reconcile", "--peer", "plant-a")
        checks.equal("partition: reconcile ends it", code, 0)
        chain.settle()
        wait_until("normal again", lambda: mode(idmz, plant) == "normal")
        chain.compare(checks, "partition")
        events = wait_until("the last event", lambda: reconciliation(idmz, length))
        checks.equal(
            "spec 19.104: partition: the five events by name and in order",
            [line["event"] for line in events], EVENTS)
        words = [line.get("message", line.get("msg")) for line in events]
        checks.equal(
            "partition: the five events in the runbook's words", words,
            ["peer plant-a reachable", f"cursor comparison: local={before}, peer=300",
             "backfill required: 200 facts", "replay initiated", "cursor advanced to 300"])
        checks.equal(
            "spec 19.26: partition: replay begins behind the frontier",
            events[3].get("from") if len(events) > 3 else None, str(before))

        # With a time of its own.
        began = time.monotonic()
        _, output, errors = command(
            idmz, "admin", "partition", "--peer", "plant-a", "--reason", "short", "--for", "2s")
        checks.check("partition: --for closes it", "short" in output, output + errors)
        wait_until("its end", lambda: gates(idmz)["plant-a"]["closure"] is None)
        checks.check("partition: --for ends it by itself", time.monotonic() - began >= 2)
        wait_until("normal after that", lambda: mode(idmz, plant) == "normal")
        code, output, errors = command(
            idmz, "admin", "partition", "--peer", "plant-z", "--reason", "x")
        checks.check(
            "partition: an unknown peer is named with the nearest", code != 0 and "plant-a" in errors,
            errors)
        chain.close()


def dead_peer(checks):
    """A peer that is gone closes its own gate and delays nobody; it comes back by itself."""
    with Site() as site:
        chain = Chain(site).start()
        plant, idmz, enterprise = chain.nodes
        for producer in chain.producers.values():
            producer.append(50)
        chain.settle()
        wait_until("normal", lambda: mode(idmz, plant) == "normal")
        length = log_length(idmz)
        for link in chain.links.values():
            if plant.port == link.target_port or link is chain.links["plant-a", "idmz"]:
                link.cut()
        wait_until("the gate closing", lambda: mode(idmz, plant, "inbound") == "autonomous")
        closed = wait_until("the line", lambda: [
            line for line in log_lines(idmz, length)
            if line.get("event") == "gate_autonomous" and line.get("direction") == "inbound"])
        # Silence closes it too, after 30 s and with those words.
        checks.check(
            "dead peer: three failures close the inbound gate",
            "no answer for" not in closed[0]["message"], closed)
        checks.check(
            "dead peer: the reason is told", bool(gates(idmz)["plant-a"]["inbound"]["reason"]))
        delays = []
        for _ in range(10):
            chain.producers["enterprise"].append(20)
            head = enterprise.head()
            sent = time.monotonic()
            wait_until(
                "enterprise's facts at idmz", lambda: idmz.head("enterprise") == head, every=0.01)
            delays.append(time.monotonic() - sent)
        # A machine that stands still for a moment delays one or two of them; whoever waits for the dead, all.
        checks.check(
            "spec 19.57: dead peer: the other one is not delayed", sorted(delays)[7] < 3,
            ", ".join(f"{delay:.2f} s" for delay in delays))
        chain.producers["plant-a"].append(100)
        wait_until(
            "the outbound gate closing", lambda: mode(idmz, plant, "outbound") == "autonomous")
        checks.check("dead peer: 30 s without a request close the outbound gate", True)
        checks.eventually(
            "spec 19.57: dead peer: the other gate is normal", lambda: mode(idmz, enterprise) == "normal")
        for link in chain.links.values():
            link.heal()
        chain.settle()
        wait_until("normal again", lambda: mode(idmz, plant) == "normal")
        chain.compare(checks, "dead peer")
        events = wait_until("the last event", lambda: reconciliation(idmz, length))
        checks.equal("dead peer: the five events", [line["event"] for line in events], EVENTS)
        chain.close()


def reload(checks):
    """What a running node takes from its files, what it refuses, and whose connections end."""
    with Site() as site:
        chain = Chain(site)
        plant, idmz, enterprise = chain.nodes
        # At first enterprise takes idmz's own facts only.
        enterprise.cursors = [
            cursor for cursor in enterprise.cursors if cursor["origin"] != "plant-a"]
        chain.start()
        for producer in chain.producers.values():
            producer.append(50)
        wait_until("the first facts", lambda: enterprise.head("idmz") == 50)
        code, output, errors = command(enterprise, "config", "validate")
        checks.check("reload: validate says what there is", code == 0 and "1 cursors" in output, errors)
        code, output, _ = command(enterprise, "config", "diff")
        checks.equal("reload: no difference at first", (code, output), (0, ""))

        process = enterprise.process.pid
        enterprise.pull(idmz, origin="plant-a")
        enterprise.write()
        code, output, _ = command(enterprise, "config", "diff")
        checks.check(
            "reload: diff names the new cursor",
            code == 1 and f"+ cursors.{STREAM}/plant-a.peer: idmz" in output, output)
        before = pulls(enterprise)["idmz", "idmz"]
        code, output, errors = command(enterprise, "config", "reload")
        checks.check("reload: it is taken", code == 0 and "generation 2" in output, output + errors)
        wait_until("the new pull", lambda: enterprise.head("plant-a") == 50)
        checks.equal("reload: by the same process", enterprise.process.pid, process)
        checks.equal(
            "reload: the other pull noticed nothing", pulls(enterprise)["idmz", "idmz"].get("failures"),
            before.get("failures"))
        code, output, _ = command(enterprise, "config", "show", "--effective")
        checks.check(
            "reload: it is in force", code == 0 and f"cursors.{STREAM}/plant-a.peer: idmz" in output)

        # Invalid files, and what needs a restart: the old one stays.
        peers = (enterprise.root / "config" / "peers.yaml").read_text()
        (enterprise.root / "config" / "peers.yaml").write_text("peers: [{id: idmz, identiti: x}]\n")
        answer = enterprise.admin("Status")
        checks.check("reload: the node runs on", answer.ok)
        connection_refusal = enterprise_reload(enterprise)
        checks.check(
            "reload: an invalid file is refused by line and column",
            not connection_refusal.ok and "identiti" in connection_refusal.text,
            repr(connection_refusal))
        (enterprise.root / "config" / "peers.yaml").write_text(peers)
        enterprise.capacity = "512MiB"
        enterprise.write()
        code, _, errors = command(enterprise, "config", "reload")
        checks.check(
            "reload: what needs a restart is refused in one sentence",
            code != 0 and "capacity" in errors and "restart" in errors, errors)
        code, output, _ = command(enterprise, "config", "diff")
        checks.check("reload: diff marks it", code == 1 and "(restart)" in output, output)
        enterprise.capacity = "256MiB"
        enterprise.write()

        # A grant that goes: the peer's pull is refused on the next call, and its connections end.
        idmz.peers = [
            {**peer, "origins": ["idmz"]} if peer["id"] == "enterprise" else peer
            for peer in idmz.peers]
        idmz.write()
        idmz.process.send_signal(signal.SIGHUP)
        wait_until(
            "the refusal of what is not granted any more",
            lambda: pulls(enterprise)["idmz", "plant-a"].get("reason") == "origin_not_granted")
        checks.check("reload: a grant that goes stops service at once (SIGHUP)", True)
        chain.producers["idmz"].append(25)
        wait_until("what is still granted", lambda: enterprise.head("idmz") == 75)
        checks.check("reload: what is still granted goes on", True)
        checks.check(
            "reload: the cursor stays and holds truncation",
            idmz.cursor(f"enterprise/{STREAM}/plant-a") is not None)
        # After a partition the refused stream holds the gate up, and is named with its reason.
        command(enterprise, "admin", "partition", "--peer", "idmz", "--reason", "blocked drill")
        command(enterprise, "admin", "reconcile", "--peer", "idmz")
        named = [f"{STREAM} of plant-a (blocked: origin_not_granted)"]
        wait_until(
            "the blocked stream holding reconciling up",
            lambda: (lambda gate: gate["mode"] == "reconciling" and gate["open_streams"] == named)(
                gates(enterprise)["idmz"]["inbound"]))
        checks.check("spec 19.54: reload: a blocked stream keeps reconciling open and is named", True)
        idmz.peers = [
            {**peer, "origins": ["idmz", "plant-a"]} if peer["id"] == "enterprise" else peer
            for peer in idmz.peers]
        idmz.write()
        command(idmz, "config", "reload")
        wait_until("normal", lambda: mode(enterprise, idmz, "inbound") == "normal")
        checks.check("reload: granted again it goes on and the gate is normal", True)

        # A client that comes and goes.
        certificate = site.certificate("late")
        checks.equal(
            "reload: an unknown client is refused", Caller(idmz, certificate).request("GET", "/health").ok,
            False)
        idmz.client("late", roles=("monitor",))
        idmz.write()
        checks.equal("reload: a client is added", command(idmz, "config", "reload")[0], 0)
        caller = Caller(idmz, certificate)
        checks.check("reload: and let in", caller.request("GET", "/health").ok)
        idmz.clients = [client for client in idmz.clients if client["identity"] != "late"]
        idmz.write()
        checks.equal("reload: a client is removed", command(idmz, "config", "reload")[0], 0)

        def is_out():
            try:
                return not caller.request("GET", "/health").ok
            except Exception:
                return True

        checks.check("reload: its open connection is cut", wait_until("the cut", is_out))
        chain.close()


def enterprise_reload(node):
    """The reload without reading the broken files first, as the command line would for the socket."""
    connection = UnixConnection(node.socket, PATIENCE)
    try:
        connection.request(
            "POST", FEDERATION_ADMIN + "Reload", b"{}", {"content-type": "application/json"})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def manual(checks):
    """start: manual holds a peer until an operator starts it; a dry run says where it would begin."""
    with Site() as site:
        plant, enterprise = site.node("plant-a"), site.node("enterprise")
        certificate = site.certificate(PRODUCER)
        plant.client(PRODUCER, roles=("producer",))
        plant.grant(enterprise)
        enterprise.grant(plant, streams=(), start="manual")
        enterprise.pull(plant, init_mode="bounded_backfill_24h")
        producer = Producer(plant, certificate, "fact")
        plant.start()
        enterprise.start()
        producer.append(40)
        time.sleep(1)
        checks.equal(
            "manual: nothing is pulled", (enterprise.head("plant-a"), enterprise.pull_status("plant-a")["state"]),
            (0, "manual"))
        code, output, errors = command(enterprise, "peer", "start", "plant-a", "--dry-run", "-o", "json")
        found = json.loads(output)[0] if output else {}
        checks.equal(
            "manual: a dry run says where it would begin",
            (code, found.get("start_offset"), found.get("head_offset"), found.get("init_mode")),
            (0, 0, 40, "bounded_backfill_24h"))
        checks.equal("manual: and makes no cursor", plant.status().get("consumers", []), [])
        code, output, errors = command(enterprise, "peer", "start", "plant-a")
        checks.equal("manual: started", code, 0)
        wait_until("the facts", lambda: enterprise.head("plant-a") == 40)
        enterprise.stop()
        enterprise.start()
        producer.append(5)
        wait_until("the facts after a restart", lambda: enterprise.head("plant-a") == 45)
        checks.check("manual: once started it goes on after a restart", True)


def initialisation(checks):
    """explicit_timestamp: inside what the source has it begins there, outside it is refused with the range."""
    with Site() as site:
        plant, enterprise = site.node("plant-a"), site.node("enterprise")
        certificate = site.certificate(PRODUCER)
        plant.client(PRODUCER, roles=("producer",))
        plant.grant(enterprise)
        enterprise.grant(plant, streams=())
        producer = Producer(plant, certificate, "fact")
        plant.start()
        producer.append(10)
        time.sleep(1.1)
        middle = time.time()
        time.sleep(0.1)
        producer.append(10)

        def text(seconds):
            return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"

        enterprise.pull(plant, init_mode="explicit_timestamp", init_timestamp=text(middle + 3600))
        enterprise.start()
        status = wait_until(
            "the refusal",
            lambda: (lambda pull: pull if pull.get("reason") == "init_out_of_range" else None)(
                enterprise.pull_status("plant-a")))
        checks.check(
            "spec 19.86: initialisation: a time in the future is refused with the range",
            "to " in status["sentence"] and "Z" in status["sentence"], status["sentence"])
        enterprise.cursors[0]["init_timestamp"] = text(middle)
        enterprise.write()
        checks.equal("initialisation: corrected by a reload", command(enterprise, "config", "reload")[0], 0)
        wait_until(
            "the later half", lambda: plant.cursor(f"enterprise/{STREAM}/plant-a") == plant.head())
        entries = enterprise.peek("plant-a")
        checks.equal(
            "spec 19.86: initialisation: exactly what came after the time",
            [int(entry["origin"]["offset"]) for entry in entries], list(range(10, 20)))


def notices(checks):
    """A notice ends the wait for the next probe; nothing depends on it."""
    with Site() as site:
        plant, enterprise = site.node("plant-a"), site.node("enterprise")
        certificate = site.certificate(PRODUCER)
        plant.client(PRODUCER, roles=("producer",))
        link = Link(plant.port)
        plant.grant(enterprise, notify=True)
        enterprise.grant(plant, streams=(), port=link.port)
        enterprise.pull(plant)
        producer = Producer(plant, certificate, "fact")
        plant.start()
        enterprise.start()
        producer.append(10)
        wait_until("the first facts", lambda: enterprise.head("plant-a") == 10)
        delays = []
        for _ in range(3):
            link.cut()
            wait_until("the gate closing", lambda: mode(enterprise, plant) == "autonomous")
            # Long enough for the pauses between probes to have grown.
            time.sleep(8)
            link.heal()
            began = time.monotonic()
            producer.append(5)
            head = plant.head()
            wait_until("the facts after the notice", lambda: enterprise.head("plant-a") == head, every=0.02)
            delays.append(time.monotonic() - began)
        checks.check(
            f"notices: facts come at once ({', '.join(f'{delay:.1f}' for delay in delays)} s)",
            sorted(delays)[1] < 2.5)
        caller = Caller(enterprise, plant.certificate)
        answers = [
            caller.call(FEDERATION + "NotifyAvailable", {
                "stream": STREAM, "origin_zone": "plant-a", "head_offset": "999999"})
            for _ in range(20)]
        checks.check("notices: many are taken and do nothing", all(answer.ok for answer in answers))
        checks.equal("notices: nothing was moved by them", enterprise.head("plant-a"), plant.head())
        link.close()


def gates_test(checks):
    for part in (relay, partition, dead_peer, reload, manual, initialisation, notices):
        with checks.guard(part.__name__):
            part(checks)


if __name__ == "__main__":
    main(gates_test)

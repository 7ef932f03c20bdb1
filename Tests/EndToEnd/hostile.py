#!/usr/bin/env python3
"""Hostile connections of every kind at once, and what a good client notices of them: nothing.

    BSFG=path hostile.py [--seconds 60] [--connections 1000] [--only ATTACK]

Without options a short form, for every test run; `make hostile` runs the whole one. The node has its default limits. Some sources have no certificate
and come from many addresses; the others are clients of the node with all that it grants. While they are at work
every append of a good client has to succeed, and the node may take no more than 128 MiB above what it takes idle.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import threading
import time

from support import INGEST, STREAM, Caller, Site, fact, main, wait_until

MIB = 1 << 20
ALLOWANCE_KIB = 128 << 10
WHOLE_SECONDS = 60
# Attacks that their first bytes tell from a client: none of their connections lives on, or gets to its end. The
# others take as long as this machine takes to send what is too much.
CUT_AT_ONCE = ("bombs_in_heads", "continuations", "garbage", "large_head")
IDENTITIES = [f"hostile-{number}" for number in range(6)]


def memory(node, name="VmHWM"):
    """In KiB."""
    with open(f"/proc/{node.process.pid}/status") as status:
        for line in status:
            if line.startswith(name + ":"):
                return int(line.split()[1])
    raise KeyError(name)


def fill(node, caller):
    """A page of 6 MiB, which everybody may read as often as he likes."""
    for number in range(4):
        answer = caller.call(INGEST + "AppendFacts", {"stream": STREAM, "facts": [
            {"envelope": message["envelope"], "fact": message["fact"]}
            for message in (fact(f"page-{number}-{each}", "x" * (250 << 10)) for each in range(8))]})
        assert answer.ok, answer


class GoodClient(threading.Thread):
    """Appends one fact after the other on one connection."""

    def __init__(self, node, certificate):
        super().__init__()
        self.caller = Caller(node, certificate)
        self.answered = 0
        self.refused = []
        self.slowest = 0.0
        self.over = threading.Event()

    def append(self, name):
        began = time.monotonic()
        try:
            answer = self.caller.append(fact(name))
            if answer.ok:
                self.answered += 1
            else:
                self.refused.append(repr(answer))
        except Exception as error:  # of every kind: none of them may happen
            self.refused.append(f"{type(error).__name__}: {error}")
        self.slowest = max(self.slowest, time.monotonic() - began)

    def run(self):
        while not self.over.wait(0.05):
            self.append(f"good-{self.answered}-{len(self.refused)}")


def attack(node, certificates, seconds, connections, only):
    """Everybody at work, in a process of their own; what each kind of attack came to."""
    order = {
        "port": node.port, "authority": str(node.site.authority), "seconds": seconds, "connections": connections,
        "only": only, "certificates": [str(certificate) for certificate in certificates]}
    script = pathlib.Path(__file__).with_name("hostile_attacks.py")
    done = subprocess.run(
        [sys.executable, str(script), json.dumps(order)], stdout=subprocess.PIPE, timeout=seconds + 300)
    return json.loads(done.stdout)


def lines(checks, node, seconds):
    """What they made the node write: ten lines a minute of each event, reason and identity, and one about the rest."""
    kinds = collections.Counter()
    for text in node.errors.read_text(errors="replace").splitlines():
        line = json.loads(text) if text.startswith("{") else {}
        kinds[line.get("event"), line.get("of"), line.get("reason"), line.get("identity")] += 1
    most = 11 * (1 + int(seconds) // 60)
    checks.check(
        "gateway decision 38: lines under attack", all(count <= most for count in kinds.values()),
        kinds.most_common(3))


def test(checks, options):
    with Site() as site:
        node = site.node("plant-a")
        node.client("good")
        for identity in IDENTITIES:
            node.client(identity)
        certificates = [site.certificate(identity) for identity in IDENTITIES]
        good = site.certificate("good")
        node.start()
        for identity in IDENTITIES:
            node.consumer(identity, f"reader-of-{identity}")
        caller = Caller(node, good)
        fill(node, caller)
        caller.close()
        # From here on nothing is counted that filling it took.
        node.stop()
        node.errors.write_bytes(b"")
        began = time.monotonic()
        node.start()
        client = GoodClient(node, good)
        client.append("warm")
        idle = memory(node)
        client.start()
        with checks.guard("the attacks"):
            outcomes = attack(node, certificates, options.seconds, options.connections, options.only)
            for name, outcome in sorted(outcomes.items()):
                checks.check(f"hostile: {name} was tried", outcome["connected"] > 0, outcome)
                # The short form ends before some limits do.
                if outcome["is_cut"] and options.seconds >= WHOLE_SECONDS:
                    checks.check(
                        f"hostile: {name} was cut off", outcome["cut"] + outcome["answered"] > 0, outcome)
                if name in CUT_AT_ONCE:
                    checks.equal(
                        f"hostile: {name}: every connection was cut off, but for young ones at the end",
                        outcome["cut"], outcome["connected"] - outcome["open"])
                print(f"  {name}: {outcome}", flush=True)
        peak = memory(node)
        client.over.set()
        client.join()
        checks.check(
            "gateway decision 42: memory under attack", peak <= idle + ALLOWANCE_KIB,
            f"{peak} KiB, and {idle} KiB idle")
        print(f"  VmHWM {peak >> 10} MiB, idle {idle >> 10} MiB; {client.answered} appends, "
              f"the slowest {client.slowest:.1f} s", flush=True)
        checks.check("gateway decision 42: every append of a good client succeeds",
                     client.answered > 0 and not client.refused, client.refused[:3])
        with checks.guard("afterwards"):
            wait_until("the hostile connections gone", lambda: int(
                node.status()["server"].get("openConnections", 0)) <= 1)
            # A page as JSON asks for 18 of an identity's 32 MiB: nothing is held for it any more once the node
            # has made the answers that nobody waits for.
            for identity, certificate in zip(IDENTITIES, certificates):
                reader = Caller(node, certificate)
                wait_until(f"a page for {identity}", lambda: reader.fetch(
                    f"reader-of-{identity}", max_bytes=6 * MIB).ok)
                checks.check(f"hostile: afterwards {identity} gets a page", True)
                reader.close()
            again = Caller(node, good)
            checks.check("hostile: afterwards a new connection is served", again.append(fact("after")).ok)
            again.close()
        client.caller.close()
        checks.equal("hostile: the node ends with", node.stop(), 0)
        lines(checks, node, time.monotonic() - began)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--connections", type=int, default=240)
    parser.add_argument("--only", help="one kind of attack")
    arguments = parser.parse_args()
    main(lambda checks: test(checks, arguments))

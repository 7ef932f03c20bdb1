#!/usr/bin/env python3
"""`federation accept` against a peer that lies in one thing: it fails at exactly the criterion that the lie breaks.

    BSFG=path federation_lies.py [--only LIE]
"""

import argparse
import contextlib
import json

import lying_peer
from federation import Pair, fails
from support import PATIENCE, Site, UnixConnection, main, wait_until

# What a lie keeps from happening is waited for this long; everything else has to happen in it.
PATIENCE_SECONDS = 10
LIST_GATES = "/bsfg.admin.v1.FederationAdministration/ListGates"


@contextlib.contextmanager
def lying(pair, node, other, lie):
    """`other` finds a liar where it looked for `node`."""
    peer = lying_peer.LyingPeer(node, other, lie)
    entries = [
        {**entry, "endpoint": f"127.0.0.1:{peer.port}"} if entry["id"] == node.zone else entry
        for entry in other.peers]
    try:
        with pair.files(other, peers=entries):
            wait_until("the liar believed", lambda: peer.answered > 0 and pulls(other, node))
            yield
    finally:
        peer.close()


def pulls(receiver, source):
    return receiver.pull_status(source.zone)["state"] == "pulling"


def settled(pair):
    wait_until("both agree", lambda: pulls(pair.ours, pair.theirs) and pulls(pair.theirs, pair.ours)
               and pair.ours.head("plant-a") == pair.theirs.head()
               and pair.theirs.head("enterprise") == pair.ours.head())


def ungranted(checks, pair):
    with lying(pair, pair.theirs, pair.ours, lying_peer.serves_ungranted_streams):
        fails(checks, pair, "serves ungranted streams", "authorization", "had to be refused")


def partition(checks, pair):
    def is_closed():
        connection = UnixConnection(pair.ours.socket, PATIENCE)
        try:
            connection.request("POST", LIST_GATES, b"{}", {"content-type": "application/json"})
            gates = json.loads(connection.getresponse().read())["gates"]
        finally:
            connection.close()
        return any("closure" in gate for gate in gates)

    path = pair.site.directory / "liar.sock"
    socket = lying_peer.LyingSocket(
        pair.theirs, path, lying_peer.drains_through_a_partition(is_closed))
    try:
        fails(checks, pair, "drains through a partition", "partition_recovery", "through the closed gate",
              peer_socket=path)
    finally:
        socket.close()


def cursor(checks, pair):
    with lying(pair, pair.theirs, pair.ours, lying_peer.forgets_its_cursor):
        pair.append(pair.theirs, "is never confirmed")
        wait_until("it taken", lambda: pair.ours.head("plant-a") == pair.theirs.head())
        fails(checks, pair, "forgets its cursor", "cursor", "believes", patience=PATIENCE_SECONDS)


def confirm(checks, pair):
    with lying(pair, pair.ours, pair.theirs, lying_peer.confirms_before_it_appends):
        pair.append(pair.ours, "is never appended")
        name = "plant-a/facts.operational/enterprise"
        wait_until("it confirmed", lambda: pair.ours.cursor(name) == pair.ours.head())
        fails(checks, pair, "confirms before it appends", "cursor", "of enterprise to plant-a", "confirmed up to",
              patience=PATIENCE_SECONDS)


def altered(checks, pair):
    with lying(pair, pair.theirs, pair.ours, lying_peer.serves_altered_facts):
        pair.append(pair.theirs, "is altered on its way")
        wait_until("it in quarantine", lambda: int(
            pair.ours.status().get("quarantine", {}).get("count", 0)) > 0)
        fails(checks, pair, "serves altered facts", "replay", "in quarantine", patience=PATIENCE_SECONDS)


# A pair for each group: the last lie of a group leaves behind what the next one would be blamed for.
GROUPS = [[ungranted, partition, cursor, confirm], [altered]]
LIES = [lie for group in GROUPS for lie in group]


def test(checks, only):
    for group in GROUPS:
        chosen = [lie for lie in group if only in (None, lie.__name__)]
        if not chosen:
            continue
        with Site() as site:
            pair = Pair(site)
            for lie in chosen:
                with checks.guard(lie.__name__):
                    settled(pair)
                    lie(checks, pair)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=[lie.__name__ for lie in LIES])
    arguments = parser.parse_args()
    main(lambda checks: test(checks, arguments.only))

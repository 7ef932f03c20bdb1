#!/usr/bin/env python3
"""`federation accept` against a peer that lies in one thing: it fails at exactly the criterion that the lie breaks.

    BSFG=path federation_lies.py [--only LIE]
"""

import argparse
import contextlib
import json
import shutil
import threading

import lying_peer
from federation import Pair, fails
from support import PATIENCE, Site, UnixConnection, main, wait_until

from protobuf_fields import message  # of Tests/Interop, where support leads

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
        fails(checks, pair, "serves ungranted streams", "authorization", "did not refuse ungranted_stream")


def real(checks, pair):
    """What nobody has is refused; what is there is given."""
    pair.theirs.other_streams = [{"name": "facts.secret", "capacity": "256MiB"}]
    pair.theirs.stop()
    pair.theirs.start()
    settled(pair)
    code, output, errors = pair.call(
        "peer", "deny-test", "plant-a", "-o", "json", "--peer-admin", pair.theirs.socket)
    denials = {each["case"]: each["verdict"] for each in json.loads(output)}
    checks.equal(
        "deny-test: every stream that is there and not granted is refused",
        {name: verdict for name, verdict in denials.items() if name.startswith("stream:")},
        {"stream:facts.operational/enterprise": "refused", "stream:facts.secret/plant-a": "refused"})
    for what, lie in (
            ("serves a real ungranted stream", lying_peer.serves("facts.secret")),
            ("serves facts without a grant", lying_peer.serves_facts_of("enterprise/facts.secret/plant-a")),
            ("serves a large fact without a grant",
             lying_peer.serves_facts_of("enterprise/facts.secret/plant-a", message([(5, bytes(300 << 10))])))):
        with lying(pair, pair.theirs, pair.ours, lie):
            fails(checks, pair, what, "authorization", "did not refuse stream:facts.secret/plant-a")
        settled(pair)


def partition(checks, pair):
    def is_closed():
        connection = UnixConnection(pair.ours.socket, PATIENCE)
        try:
            connection.request("POST", LIST_GATES, b"{}", {"content-type": "application/json"})
            gates = json.loads(connection.getresponse().read())["gates"]
        finally:
            connection.close()
        return any("closure" in gate for gate in gates)

    for number, (what, words, lie) in enumerate((
            ("drains through a partition", "through the closed gate", lying_peer.drains_through_a_partition(is_closed)),
            ("gives nothing back", "plant-a gave 0 of the 3 facts", lying_peer.gives_nothing_back))):
        path = pair.site.directory / f"liar{number}.sock"
        socket = lying_peer.LyingSocket(pair.theirs, path, lie)
        try:
            fails(checks, pair, what, "partition_recovery", words, peer_socket=path)
        finally:
            socket.close()
        settled(pair)


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


def refetch(checks, pair):
    pair.append(pair.theirs, "is altered when it comes again")
    settled(pair)
    with lying(pair, pair.theirs, pair.ours, lying_peer.alters_on_refetch()):
        settled(pair)
        kept = pair.ours.head("plant-a")
        fails(checks, pair, "alters on re-fetch", "duplicate_replay", "another id or other content",
              patience=PATIENCE_SECONDS)
        lines = [json.loads(line) for line in pair.ours.errors.read_text().splitlines() if "redelivery_altered" in line]
        checks.check(
            "alters on re-fetch: an alert names the offset",
            lines and all(line["alert"] == "DigestMismatch" and int(line["offset"]) < kept for line in lines), lines)
        checks.equal("alters on re-fetch: only the drill's facts are new", pair.ours.head("plant-a"), kept + 3)
        checks.equal("alters on re-fetch: nothing is in quarantine",
                     int(pair.ours.status().get("quarantine", {}).get("count", 0)), 0)


def one(checks, pair):
    with lying(pair, pair.theirs, pair.ours, lying_peer.refetches_one_only()):
        settled(pair)
        fails(checks, pair, "re-fetches one only", "duplicate_replay", "came again in order within the time given",
              patience=PATIENCE_SECONDS)


def taken(checks, pair):
    with lying(pair, pair.ours, pair.theirs, lying_peer.takes_nothing_of_the_drill):
        settled(pair)
        fails(checks, pair, "takes nothing after the partition", "partition_recovery", "plant-a has confirmed",
              peer_admin=False, patience=PATIENCE_SECONDS)


def length(checks, pair):
    """No criterion is about it: the receiver reads nothing of such an answer, and goes on when it gets others."""
    is_due = threading.Event()

    def sentence():
        return pair.ours.pull_status("plant-a").get("sentence", "")

    with lying(pair, pair.theirs, pair.ours, lying_peer.confirms_at_length(is_due)):
        settled(pair)
        is_due.set()
        pair.append(pair.theirs, "is confirmed at length")
        said = wait_until("the answer refused", lambda: sentence() if "an answer larger" in sentence() else None)
        checks.check("confirms at length: an answer of a few fields has 256 KiB at most", "262144 bytes" in said, said)
        is_due.clear()
        settled(pair)
        checks.check("confirms at length: afterwards the stream goes on", pulls(pair.ours, pair.theirs))


def nothing(checks, pair):
    """No lie: a peer that is granted nothing and takes nothing, and of which only we are seen."""
    nodes = pair.ours, pair.theirs
    for node in nodes:
        node.stop()
        shutil.rmtree(node.data)
    pair.theirs.cursors = []
    pair.ours.peers[0]["streams"] = []
    for node in nodes:
        node.start()
        pair.append(node, "once more")
    wait_until("all of it here", lambda: pulls(pair.ours, pair.theirs)
               and pair.ours.head("plant-a") == pair.theirs.head() > 0)
    code, answer, criteria = pair.accept(
        pair.site.directory / "reports" / "nothing", peer_admin=False, patience=PATIENCE_SECONDS)
    found = criteria["partition_recovery"]
    checks.equal("takes nothing at all: that facts cross is not checked", found["verdict"], "not_checked")
    checks.check("takes nothing at all: with the right words", "was not seen" in found["sentence"], found)


# A pair for each group: the last lie of a group leaves behind what the next one would be blamed for.
GROUPS = [[ungranted, real, partition, refetch, one, length, taken], [nothing], [cursor, confirm], [altered]]
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

#!/usr/bin/env python3
"""`federation accept`, `federation drill` and `doctor peer` of pairs that are not the book's: files that were not
reloaded, a gate that the peer's operator closed, a drill that is cut off, facts told apart by their content, one
direction alone, producers that go on, a pull that began late.

    BSFG=path federation_pairs.py [--only PART]
"""

import argparse
import contextlib
import json
import signal
import subprocess
import threading

from federation import SIGN_OFFS, WAIVED, Pair, command, fails, issue
from support import (
    BSFG, PATIENCE as PATIENCE_SECONDS, STREAM, Site, UnixConnection, fact, main, run, wait_until)

PATIENCE = "30"
APPEND = "/bsfg.v1.BoundaryService/AppendFact"


class OneWay:
    """`source` serves, `receiver` pulls; the source cannot call the receiver."""

    def __init__(self, site, endpoint=False, init_mode="full_backfill", stream_options=None):
        self.source, self.receiver = site.node("plant-a"), site.node("enterprise")
        for node in (self.source, self.receiver):
            node.stream_options = stream_options or {}
        self.receiver.grant(self.source, streams=[])
        self.source.grant(self.receiver)
        if not endpoint:
            self.source.peers[0].pop("endpoint")
        self.receiver.pull(self.source, init_mode=init_mode, justification="as the test wants it")

    def start(self):
        self.source.start()
        append(self.source, "first")
        self.receiver.start()
        wait_until("it pulling", lambda: self.receiver.pull_status("plant-a")["state"] == "pulling")
        return self


def append(node, name):
    run("fact", "append", "--config", node.root, "--subject", "turbine:R80711", "--predicate", "power_measured",
        "--object", json.dumps({"name": name}), "--to", node.zone, "--id", f"{node.zone}-{name}")


def accept(node, peer, out, *arguments):
    """The exit status, the criteria by name and the report."""
    code, output, errors = command(
        "federation", "accept", "--config", node.root, "--peer", peer, "--out", out, "--patience-seconds", PATIENCE,
        "-o", "json", *SIGN_OFFS, *WAIVED, *arguments)
    assert output, f"{code}: {errors}"
    return code, {each["name"]: each for each in json.loads(output)["criteria"]}, json.loads(
        (out / "acceptance.json").read_text())


def drill(node, peer, *arguments):
    code, output, errors = command(
        "federation", "drill", "--config", node.root, "--peer", peer, "--patience-seconds", PATIENCE, "-o", "json",
        *arguments)
    assert output, f"{code}: {errors}"
    return code, {each["name"]: each for each in json.loads(output)}


def failed(criteria):
    return {name: each["sentence"] for name, each in criteria.items() if each["verdict"] == "failed"}


def passes(checks, what, criteria, *names):
    found = {name: (criteria[name]["verdict"], criteria[name]["sentence"]) for name in names}
    checks.check(f"{what}: {', '.join(names)} pass", all(each[0] == "passed" for each in found.values()), found)


def doctor(node, peer, *arguments):
    code, output, errors = command("doctor", "peer", peer, "--config", node.root, "-o", "json", *arguments)
    assert output, f"{code}: {errors}"
    return code, json.loads(output)


def finds(checks, what, found, *words):
    code, findings = found
    checks.check(
        what, code == 1 and any(all(word in json.dumps(each) for word in words) for each in findings), found)


# MARK: - What runs, and what the files say

def not_reloaded(checks):
    with Site() as site:
        pair = Pair(site)
        kept = pair.ours.peers
        pair.ours.peers = [{**kept[0], "streams": []}, *kept[1:]]
        pair.ours.write()
        fails(checks, pair, "a grant that was cut and not reloaded", "configuration", "peers.plant-a.streams")
        out = site.directory / "waived"
        code, criteria, report = accept(
            pair.ours, "plant-a", out, "--peer-admin", pair.theirs.socket, *pair.with_unlisted,
            "--waive", "configuration=the reload is planned for tonight")
        [granted] = [each["streams"] for each in report["evidence"]["plan"]["grants"] if each["from"] == "enterprise"]
        checks.equal("not reloaded: the matrix that is signed is of the running node", (code, granted), (0, [STREAM]))
        changed = report["preflight"]["changed_keys"]
        checks.equal("not reloaded: the report holds what the preconditions were decided from",
                     changed, ["peers.plant-a.streams"])
        pair.ours.peers = kept
        # What a peer is shown is what the node began with.
        new = site.directory / "new"
        run("cert", "issue", "--ca", site.authority_directory, "--identity", "enterprise-bsfg", "--address",
            "127.0.0.1", "--out", new)
        pair.ours.tls_options = {"certificate": str(new / "server.crt"), "key": str(new / "server.key")}
        pair.ours.write()
        code, criteria, _ = accept(pair.ours, "plant-a", site.directory / "moved", "--peer-admin", pair.theirs.socket)
        checks.check(
            "another certificate in the files, and no restart: it is not what is accepted",
            code == 1 and set(failed(criteria)) == {"certificate", "configuration"}
            and "the running node shows" in criteria["certificate"]["sentence"]
            and "tls.certificate" in criteria["configuration"]["sentence"], failed(criteria))
        pair.ours.tls_options = {}
        # The other way round: the file is right, and what runs is wrong.
        pair.ours.peers = [{**kept[0], "endpoint": "127.0.0.1:1"}, *kept[1:]]
        pair.ours.write()
        run("config", "reload", "--config", pair.ours.root)
        pair.ours.peers = kept
        pair.ours.write()
        wait_until("the pull failing", lambda: pair.ours.pull_status("plant-a")["state"] == "unavailable")
        found = doctor(pair.ours, "plant-a")
        finds(checks, "doctor: a file that was corrected and not reloaded", found, "endpoint", "bsfg config reload")
        finds(checks, "doctor: and the pull that gets nowhere", found, "is unavailable")


def peers_gate(checks):
    """What the peer's operator closed is his: nobody broke anything."""
    with Site() as site:
        pair = Pair(site)
        wait_until("it pulling", lambda: pair.ours.pull_status("plant-a")["state"] == "pulling")
        run("admin", "partition", "--config", pair.theirs.root, "--peer", "enterprise", "--reason", "incident")
        wait_until("our pull waiting", lambda: pair.ours.pull_status("plant-a")["state"] == "unavailable")
        finds(checks, "doctor: a gate that the peer's operator closed", doctor(pair.ours, "plant-a"),
              "is unavailable", "on plant-a: bsfg doctor peer enterprise")
        finds(checks, "doctor: with the peer's own words", doctor(
            pair.ours, "plant-a", "--peer-admin", pair.theirs.socket),
              "the operator of plant-a closed the gate to enterprise (incident)", "bsfg admin reconcile")
        code, criteria, _ = accept(
            pair.ours, "plant-a", site.directory / "closed", "--peer-admin", pair.theirs.socket, *pair.with_unlisted)
        checks.equal("accept: behind a closed gate nothing fails", (code, failed(criteria)), (1, {}))
        for name in ("replay", "partition_recovery"):
            checks.check(
                f"accept: {name} is not checked, for the operator's reason",
                criteria[name]["verdict"] == "not_checked" and "(incident)" in criteria[name]["sentence"],
                criteria[name])
        gates = json.loads((pair.theirs.data / "gates.json").read_text())
        checks.check("accept: his closure stands", "incident" in json.dumps(gates), gates)


def certificates(checks):
    """Somebody who is refused for his certificate is not somebody who is not listed."""
    with Site() as site:
        pair = Pair(site)
        expired = issue(site, "expired", "somebody-else", ["somebody-else"], (-40, -1))
        files = ("--unlisted-cert", expired / "server.crt", "--unlisted-key", expired / "server.key")
        for what, way, word in (("alone", (), "--peer-admin"), (
                "with the peer's note", ("--peer-admin", pair.theirs.socket), "a certificate in date")):
            code, output, errors = pair.call("peer", "deny-test", "plant-a", "-o", "json", *files, *way)
            [denial] = [each for each in json.loads(output) if each["case"] == "unlisted_identity"]
            checks.check(f"deny-test: an expired certificate, {what}: nothing is shown of who is listed",
                         code == 1 and denial["verdict"] == "not_checked" and word in denial["sentence"], denial)


# MARK: - Drills

def closure(node):
    file = node.data / "gates.json"
    return "federation drill" in file.read_text() if file.exists() else False


@contextlib.contextmanager
def pulling_pair():
    """A site and its pair, when each side pulls from the other."""
    with Site() as site:
        pair = Pair(site)
        wait_until("both pulling", lambda: pair.ours.pull_status("plant-a")["state"] == "pulling"
                   and pair.theirs.pull_status("enterprise")["state"] == "pulling")
        yield site, pair


def interrupted(checks):
    with pulling_pair() as (site, pair):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process = subprocess.Popen(
                [BSFG, "federation", "drill", "--config", str(pair.ours.root), "--peer", "plant-a", "--peer-admin",
                 str(pair.theirs.socket), "--patience-seconds", PATIENCE],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                # Also where these tests are run under nohup themselves.
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL))
            wait_until("the gate closed", lambda: closure(pair.ours), every=0.01)
            process.send_signal(number)
            _, errors = process.communicate(timeout=30)
            checks.equal(f"drill: {number.name} opens the gate and ends with its status",
                         (process.returncode, closure(pair.ours)), (128 + number, False))
            checks.check(f"drill: {number.name}: it says so", "the gate to plant-a is open again" in errors, errors)
        # Under nohup it outlives its terminal.
        process = subprocess.Popen(
            [BSFG, "federation", "drill", "--config", str(pair.ours.root), "--peer", "plant-a", "--peer-admin",
             str(pair.theirs.socket), "--patience-seconds", PATIENCE, "-o", "json"],
            stdout=subprocess.PIPE, text=True, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
        wait_until("the gate closed", lambda: closure(pair.ours), every=0.01)
        process.send_signal(signal.SIGHUP)
        output, _ = process.communicate(timeout=60)
        checks.check("drill: under nohup it goes on to its end",
                     process.returncode == 0 and "partition_recovery" in output, (process.returncode, output))
        code, criteria = drill(pair.ours, "plant-a", "--peer-admin", pair.theirs.socket)
        passes(checks, "drill: the next one", criteria, "authorization", "partition_recovery", "replay")


def contents(checks):
    """A stream that tells facts apart by their content takes every drill's."""
    with Site() as site:
        pair = OneWay(site, endpoint=True, stream_options={"idempotency": "content"}).start()
        for turn in ("first", "second"):
            code, criteria = drill(pair.source, "enterprise", "--peer-admin", pair.receiver.socket)
            passes(checks, f"idempotency by content: the {turn} drill", criteria, "partition_recovery", "cursor")


def one_way(checks):
    with Site() as site:
        pair = OneWay(site).start()
        what = "from a source that cannot call"
        code, criteria, report = accept(
            pair.source, "enterprise", site.directory / "source", "--peer-admin", pair.receiver.socket)
        checks.equal(f"{what}: there is a report, and nothing failed", (code, failed(criteria)), (1, {}))
        passes(checks, what, criteria, "replay", "cursor", "duplicate_replay", "replay_drill", "partition_recovery")
        checks.check(f"{what}: who it is was not looked at",
                     "has no endpoint" in criteria["authentication"]["sentence"], criteria["authentication"])
        code, criteria, report = accept(pair.source, "enterprise", site.directory / "alone")
        checks.check(f"{what}, alone: where the drill belongs", all(
            "nothing is pulled here" in criteria[name]["sentence"] for name in ("duplicate_replay", "replay_drill")),
                     criteria["duplicate_replay"])
        # Granted, and taken by nobody.
        pair.receiver.peers[0]["streams"] = [STREAM]
        pair.receiver.write()
        run("config", "reload", "--config", pair.receiver.root)
        code, criteria = drill(pair.receiver, "plant-a", "--peer-admin", pair.source.socket)
        passes(checks, "a stream that nobody takes", criteria, "partition_recovery", "duplicate_replay")
        file = site.directory / "source.evidence.json"
        run("federation", "evidence", "--config", pair.source.root, "--out", file)
        finds(checks, "doctor: that nobody takes it only the peer knows", doctor(pair.receiver, "plant-a"),
              "the gate by which plant-a takes from us")
        checks.equal("doctor: and a file of the peer says it", doctor(pair.receiver, "plant-a", "--evidence", file),
                     (0, []))


@contextlib.contextmanager
def producing(nodes):
    over = threading.Event()
    failures = []

    def produce(node):
        connection = UnixConnection(node.socket, PATIENCE_SECONDS)
        number = 0
        try:
            while not over.is_set():
                number += 1
                body = json.dumps(fact(f"goes-on-{number}", zone=node.zone))
                connection.request("POST", APPEND, body, {"content-type": "application/json"})
                answer = connection.getresponse()
                if b"OUTCOME_APPENDED" not in answer.read():
                    failures.append(answer.status)
                    return
        finally:
            connection.close()

    threads = [threading.Thread(target=produce, args=(node,)) for node in nodes]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        over.set()
        for thread in threads:
            thread.join()


def working(checks):
    """Producers on both sides go on: nobody has to stop a plant for its acceptance."""
    with pulling_pair() as (site, pair):
        with producing([pair.ours, pair.theirs]) as failures:
            heads = pair.ours.head(), pair.theirs.head()
            for turn in range(2):
                code, criteria, _ = accept(
                    pair.ours, "plant-a", site.directory / f"working{turn}", "--peer-admin", pair.theirs.socket,
                    *pair.with_unlisted)
                checks.equal(f"working pair, {turn + 1}: accepted", (code, failed(criteria)), (0, {}))
                passes(checks, f"working pair, {turn + 1}", criteria, "cursor", "duplicate_replay", "replay_drill",
                       "partition_recovery")
            grown = pair.ours.head() - heads[0], pair.theirs.head() - heads[1]
        checks.check("working pair: both went on the whole time", not failures and min(grown) > 500, (failures, grown))


@contextlib.contextmanager
def putting(pair, node):
    """One artifact after the other, each with a fact that refers to it."""
    over, failures = threading.Event(), []

    def put():
        number = 0
        while not over.is_set():
            number += 1
            try:
                pair.append_with_artifact(node, f"goes-on-{number}")
            except Exception as error:  # whatever it is: shown at the end
                failures.append(str(error))
                return

    thread = threading.Thread(target=put)
    thread.start()
    try:
        yield failures
    finally:
        over.set()
        thread.join()


def working_artifacts(checks):
    """A source that goes on putting artifacts is accepted too: what was there is waited for, and no more."""
    with pulling_pair() as (site, pair):
        with putting(pair, pair.theirs) as failures:
            for turn in range(2):
                code, criteria, report = accept(
                    pair.ours, "plant-a", site.directory / f"putting{turn}", "--peer-admin", pair.theirs.socket,
                    *pair.with_unlisted)
                checks.check(f"artifacts go on, {turn + 1}: accepted", code == 0 and not failed(criteria),
                             {name: row for name, row in criteria.items() if row["verdict"] != "passed"})
                passes(checks, f"artifacts go on, {turn + 1}", criteria, "artifacts", "cursor")
                counts = {(each["zone"], each.get("peer")): each["count"]
                          for each in report["evidence"]["ours_after"]["stored_artifacts"]}
                checks.check(f"artifacts go on, {turn + 1}: they are the peer's that delivered them",
                             counts.get(("plant-a", "plant-a"), 0) > 2, counts)
        checks.equal("artifacts go on: to the end", failures, [])


def late(checks):
    """A pull that began far behind its source's beginning."""
    with Site() as site:
        pair = OneWay(site, endpoint=True, init_mode="start_now")
        pair.source.start()
        for number in range(30):
            append(pair.source, f"before {number}")
        pair.receiver.start()
        wait_until("it pulling", lambda: pair.receiver.pull_status("plant-a")["state"] == "pulling")
        unlisted = site.certificate("somebody-else")
        way = ("--peer-admin", pair.source.socket, "--unlisted-cert", f"{unlisted}.crt", "--unlisted-key",
               f"{unlisted}.key")
        for number in range(4):
            append(pair.source, f"after {number}")
        wait_until("it here", lambda: pair.receiver.head("plant-a") == 4)
        code, criteria, _ = accept(pair.receiver, "plant-a", site.directory / "late", *way)
        checks.equal("a late beginning: accepted", (code, failed(criteria)), (0, {}))
        checks.check("a late beginning: what came is what came again", criteria["duplicate_replay"]["sentence"]
                     .startswith("7 facts came again"), criteria["duplicate_replay"])


def nowhere_to_write(checks):
    with Site() as site:
        pair = OneWay(site, endpoint=True).start()
        (site.directory / "file").write_text("no directory")
        head = pair.source.head()
        code, output, errors = command(
            "federation", "accept", "--config", pair.receiver.root, "--peer", "plant-a", "--peer-admin",
            pair.source.socket, "--out", site.directory / "file" / "report", *SIGN_OFFS)
        checks.check("accept: a directory that cannot be written is said first",
                     code == 1 and "file" in errors and pair.source.head() == head, (code, errors))


PARTS = [
    not_reloaded, peers_gate, certificates, interrupted, contents, one_way, working, working_artifacts, late,
    nowhere_to_write]


def test(checks, only):
    for part in PARTS:
        if only in (None, part.__name__):
            with checks.guard(part.__name__):
                part(checks)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS])
    arguments = parser.parse_args()
    main(lambda checks: test(checks, arguments.only))

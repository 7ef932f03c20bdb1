#!/usr/bin/env python3
"""Requirements 81 to 88 and 91 of the specification: what the files may say, and where a first fetch begins. The
source's clock is stepped by a preloaded library. A check is named by the requirement that it is about
(docs/conformance.md).

    BSFG=path conformance_configuration.py
"""

import json
import subprocess

from replication_common import consumer_name, settle
from schedule.stepped_clock import SteppedClock, build, compiler
from support import BSFG, STREAM, Caller, Site, fact, identifiers, main, run, wait_until

OTHER_STREAM = "facts.audit"
MODES = ("bounded_backfill_24h", "bounded_backfill_7h", "start_now", "full_backfill", "explicit_timestamp")


def serve(node):
    """What a start of the node ends with, for files that it has to refuse."""
    try:
        done = subprocess.run(
            [BSFG, "serve", "--config", str(node.root)], capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return None, "it serves"
    return done.returncode, done.stderr


def files(checks, site):
    node = site.node("enterprise", name="files")
    node.other_streams = [{"name": OTHER_STREAM}]
    node.write()
    config = node.root / "config"
    peer = ("  - id: plant-a\n    identity: plant-a-bsfg\n    endpoint: 10.3.1.10:9443\n"
            "    authorized: true\n    streams: [facts.operational]\n    artifacts: [batch-files]\n")
    (config / "peers.yaml").write_text("peers:\n" + peer)
    shown = run("config", "show", "--config", node.root)
    checks.check(
        "spec 19.81: id, identity, endpoint, authorized, streams and artifacts of a peer are read",
        all(words in shown for words in (
            "peers.plant-a", "plant-a-bsfg", "10.3.1.10:9443", "authorized: true", STREAM,
            "batch-files")), shown)
    refused = []
    for spoiled, at in (
        (peer.replace("identity:", "identiti:"), "peers.yaml:3:5"),
        (peer.replace("true", "perhaps"), "peers.yaml:5:"),
        (peer.replace("10.3.1.10:9443", "10.3.1.10:port"), "peers.yaml:4:"),
        (peer.replace("id: plant-a", "id: Plant A"), "peers.yaml:2:"),
        (peer.replace("[facts.operational]", "[facts.operationl]"), "peers.yaml:6:"),
        (peer.replace("    identity: plant-a-bsfg\n", ""), "peers.yaml:2:"),
        (peer.replace("artifacts:", "artefacts:"), "peers.yaml:7:5"),
        (peer + peer, "peers.yaml:8:"),
    ):
        (config / "peers.yaml").write_text("peers:\n" + spoiled)
        code, errors = serve(node)
        refused.append((code, at in errors or errors))
    checks.equal(
        "spec 19.81: an unknown or malformed entry ends the start, with its place", refused,
        [(2, True)] * len(refused))

    (config / "peers.yaml").write_text("peers:\n" + peer)
    taken = {}
    for mode in MODES:
        stamp = ', init_timestamp: "2025-01-15T10:00:00Z"' if mode == "explicit_timestamp" else ""
        (config / "cursors.yaml").write_text(
            f"cursors: [{{peer: plant-a, stream: {STREAM}, init_mode: {mode}{stamp}}}]\n")
        taken[mode] = f"init_mode: {mode}" in run("config", "show", "--config", node.root)
    (config / "cursors.yaml").write_text(f"cursors: [{{peer: plant-a, stream: {STREAM}}}]\n")
    default = run("config", "show", "--config", node.root)
    checks.equal(
        "spec 19.83: the five modes are known, and without one it is bounded_backfill_24h",
        (taken, "init_mode: bounded_backfill_24h" in default), ({mode: True for mode in MODES}, True))
    refused = []
    for stamp in ("yesterday", "2025-13-01T00:00:00Z", "2025-01-15 10:00"):
        (config / "cursors.yaml").write_text(
            f"cursors: [{{peer: plant-a, stream: {STREAM}, init_mode: explicit_timestamp, "
            f'init_timestamp: "{stamp}"}}]\n')
        code, errors = serve(node)
        refused.append((code, "cursors.yaml:1:" in errors))
    checks.equal("spec 19.86: a timestamp that is none ends the start", refused, [(2, True)] * 3)
    (config / "cursors.yaml").write_text("cursors: []\n")

    strict = []
    main_file = json.loads((config / "bsfg.yaml").read_text())
    for key, value in (("when_full", "drop_oldest"), ("unconfirmed_ttl", "7d")):
        spoiled = json.loads(json.dumps(main_file))
        spoiled["streams"][0].update({"profile": "sil_strict", "terminal": True, key: value})
        (config / "bsfg.yaml").write_text(json.dumps(spoiled))
        code, errors = serve(node)
        strict.append((code, "bsfg.yaml:" in errors and ("sil_strict" in errors or "silStrict" in errors)
                       or errors))
    checks.equal(
        "spec 19.91: sil_strict with drop_oldest ends the start", strict[0], (2, True))
    checks.equal(
        "spec 19.92: sil_strict with an end for unconfirmed facts ends the start", strict[1], (2, True))


def offsets(receiver, stream=STREAM):
    return [found[2] for found in identifiers(receiver.peek("plant-a", stream=stream))]


def starts(checks, site):
    """Five facts now, five ten hours later, five thirty hours later, by the source's clock."""
    clock = SteppedClock(site.directory / "clock", build(site.directory))
    streams = (STREAM, OTHER_STREAM)
    source = site.node("plant-a")
    receivers = {}
    for zone in ("enterprise", "idmz"):
        receivers[zone] = receiver = site.node(zone)
        receiver.other_streams = [{"name": OTHER_STREAM}]
        source.grant(receiver, streams=streams)
        receiver.grant(source, streams=())
    source.other_streams = [{"name": OTHER_STREAM}]
    source.client("producer-1", streams=streams)
    source.start(wrapper=["env", *(f"{name}={value}" for name, value in clock.environment.items())])
    producer = Caller(source, site.certificate("producer-1"))
    for hours in (0, 10, 30):
        clock.step_to(hours * 3_600)
        for stream in streams:
            for number in range(5):
                message = fact(f"{stream}-{hours}-{number}")
                message["stream"] = stream
                assert producer.append(message).ok

    enterprise, idmz = receivers["enterprise"], receivers["idmz"]
    enterprise.write()

    def preview(mode):
        page = json.loads(run(
            "fetch", "--peer", "plant-a", "--stream", STREAM, "--cursor-init", mode, "--config",
            enterprise.root, "-o", "json"))
        return [int(entry.get("offset", 0)) for entry in page.get("entries", [])]

    checks.equal(
        "spec 19.84: bounded_backfill_Nh begins exactly N hours ago by the source's clock",
        {hours: preview(f"bounded_backfill_{hours}h") for hours in (1, 19, 21, 29, 31)},
        {1: list(range(10, 15)), 19: list(range(10, 15)), 21: list(range(5, 15)),
         29: list(range(5, 15)), 31: list(range(15))})

    # enterprise: an override for one stream, the default for the other. idmz: everything.
    enterprise.pull(source, init_mode="start_now", justification="the test wants what is new")
    enterprise.cursors.append({"peer": "plant-a", "stream": OTHER_STREAM})
    for stream in streams:
        idmz.pull(source, stream=stream)
    enterprise.start()
    idmz.start()
    settle(source, idmz)
    name = consumer_name(enterprise, source)
    wait_until("the cursor", lambda: source.cursor(name) is not None)
    assert producer.append(fact("new")).ok
    wait_until("the new fact", lambda: source.cursor(name) == source.head())
    wait_until("the other stream", lambda: len(offsets(enterprise, OTHER_STREAM)) == 10)
    settle(source, idmz)
    checks.equal(
        "spec 19.85: start_now delivers no earlier fact, full_backfill all of them",
        (offsets(enterprise), offsets(idmz)), ([15], list(range(16))))
    checks.equal(
        "spec 19.87: what a stream says wins over the default, which is 24 h for the others",
        (offsets(enterprise), offsets(enterprise, OTHER_STREAM)), ([15], list(range(5, 15))))

    enterprise.stop()
    enterprise.cursors[0]["init_mode"] = "full_backfill"
    enterprise.start()
    assert producer.append(fact("newer")).ok
    wait_until("the newer fact", lambda: enterprise.head("plant-a") == 2)
    wait_until("its confirm", lambda: source.cursor(name) == 17)
    checks.equal(
        "spec 19.88: another init_mode moves no cursor that exists", offsets(enterprise), [15, 16])


def test(checks):
    with Site() as site:
        with checks.guard("files"):
            files(checks, site)
        if not compiler():
            checks.skip("where a first fetch begins", "there is no C compiler for the clock")
            return
        with checks.guard("starts"):
            starts(checks, site)


if __name__ == "__main__":
    main(test)

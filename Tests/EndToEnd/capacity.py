#!/usr/bin/env python3
"""Logs at their limits, between real nodes: a full store log refuses and takes again, one that drops
leaves an exact gap that the receiver meets once, a full forward log pauses its pull, and a sil_strict
log that cannot write ends its node.

    BSFG=path capacity.py
"""

import json
import os
import shutil
import signal
import subprocess
import threading
import time

from replication_common import consumer_name, settle
from support import (
    BSFG, INGEST, PATIENCE, STREAM, Caller, Site, fact, main, wait_until)

SMALL = {"capacity": "8MiB", "segment": "1MiB"}
TEXT = "x" * 100_000


def message(number, zone="plant-a"):
    return fact(f"c-{number}", {"text": TEXT, "number": number}, zone=zone)


def append_until_refused(caller, start=0, most=400):
    """Facts one by one until one is refused; how many were taken, and the refusal."""
    for number in range(start, most):
        answer = caller.append(message(number))
        if not answer.ok:
            return number, answer
    return most, None


def bsfg(node, *arguments):
    """A command against a node's administration socket: exit code and both outputs."""
    done = subprocess.run(
        [BSFG, *arguments, "--config", str(node.root / "config")], capture_output=True, text=True,
        timeout=PATIENCE)
    return done.returncode, done.stdout, done.stderr


def events(node, name):
    """The lines of a node's own log with this event."""
    # The last one may be written just now.
    lines = [json.loads(line) for line in node.errors.read_text().splitlines() if line[:1] + line[-1:] == "{}"]
    return [line for line in lines if line.get("event") == name]


def numbers(entries):
    return [int(entry["message"]["envelope"]["messageId"].split("-")[1])
            for entry in entries if "message" in entry]


def gaps(entries):
    """(first, last, reasons) of gap entries."""
    return [
        (int(gap.get("first", {}).get("offset", 0)), int(gap["lastOffset"]), gap["reasons"])
        for gap in (entry["gap"] for entry in entries if "gap" in entry)]


def all_confirmed(source, receiver):
    """Everything reached the receiver; a gap is one record there, so heads differ."""
    name = consumer_name(receiver, source)
    wait_until("everything confirmed", lambda: source.cursor(name) == source.head())


def dropped_enough(node):
    """Waits until a log has dropped what it has to; its first offset then."""
    seen = []

    def rests():
        seen.append(int(node.stream_status().get("firstOffset", 0)))
        return len(seen) > 4 and len(set(seen[-5:])) == 1

    wait_until("the dropping ending", rests, every=1)
    return seen[-1]


def pair(site, source_options=None, forward=None):
    source, receiver = site.node("plant-a"), site.node("enterprise")
    source.stream_options = {**SMALL, **(source_options or {})}
    receiver.capacity, receiver.segment = "64MiB", "1MiB"
    if forward:
        receiver.stream_options = {"forward": forward}
    source.client("producer-1")
    source.grant(receiver)
    receiver.grant(source, streams=())
    receiver.client("reader-1", roles=["consumer"], origins=["plant-a"])
    receiver.pull(source)
    return source, receiver, Caller(source, site.certificate("producer-1"))


def full_store(checks):
    """The far side is away: the log fills, refuses, and takes again when the far side confirms."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.start()
        stored, refusal = append_until_refused(producer)
        checks.check(
            "spec 19.89: full: refused as backpressure, to be retried after a while",
            refusal is not None and refusal.status == 429 and refusal.reason == "backpressure"
            and refusal.detail.get("retryable") is True
            and int(refusal.detail.get("retryAfterMs", 0)) > 0
            and int(refusal.headers.get("retry-after", 0)) >= 1, refusal)
        checks.check(
            "spec 19.89: full: refused at the high watermark",
            refusal is not None and 0.8 <= float(refusal.detail.get("fill", 0)) < 1, refusal)
        again = producer.append(message(0))
        checks.check(
            "full: a fact that is there is still answered",
            again.ok and again.json["outcome"] == "OUTCOME_EXISTING", again)
        batch = producer.call(INGEST + "AppendFacts", {"stream": STREAM, "facts": [
            {key: found[key] for key in ("envelope", "fact")}
            for found in (message(1), message(10_000))]})
        checks.equal(
            "full: of a batch only what is new is refused",
            (batch.reason, int(batch.detail.get("acceptedCount", 0)),
             int(batch.detail.get("failedCount", 0))), ("backpressure", 1, 1))
        checks.equal("full: nothing of what was acknowledged is lost", numbers(source.peek()),
                     list(range(stored)))
        status = source.stream_status()
        checks.check(
            "full: status shows fill and closed gate",
            not status.get("accepts") and int(status["fillBytes"]) > 6 << 20
            and int(status["capacityBytes"]) == 8 << 20 and int(status["refusals"]) >= 2, status)
        code, output, _ = bsfg(source, "status")
        checks.check(
            "full: bsfg status says closed", code == 0 and "closed" in output, output)
        wait_until("the line", lambda: events(source, "backpressure_closed"))
        checks.check(
            "full: told once in the node's log, with its alert",
            [line.get("alert") for line in events(source, "backpressure_closed")]
            == ["StoreFillHigh"], events(source, "backpressure_closed"))

        receiver.start()
        settle(source, receiver)

        def taken():
            answer = producer.append(message(stored))
            return answer.ok and answer
        answer = wait_until("the source taking facts again", taken)
        checks.check(
            "spec 19.94: confirmed: taken again without a restart, at the next offset",
            answer.json["outcome"] in ("OUTCOME_APPENDED", "OUTCOME_EXISTING")
            and int(answer.json["offset"]) == stored, answer)
        settle(source, receiver)
        checks.equal(
            "confirmed: the receiver has every fact once, in order",
            numbers(receiver.peek("plant-a")), list(range(stored + 1)))
        wait_until("the line", lambda: events(source, "backpressure_opened"))
        checks.equal("confirmed: no gap anywhere", gaps(receiver.peek("plant-a")), [])


def dropping(checks):
    """drop_oldest while the peer is away: an exact gap, met once, materialised."""
    with Site() as site:
        source, receiver, producer = pair(
            site, {"when_full": "drop_oldest", "high_watermark": "60%"})
        source.start()
        receiver.start()
        for number in range(5):
            producer.append(message(number))
        settle(source, receiver)
        receiver.stop()
        taken, refusal = append_until_refused(producer, 5, 250)
        checks.check("dropping: nothing is refused", refusal is None, refusal)
        first = dropped_enough(source)
        checks.check("dropping: the oldest went", first > 5, first)
        declared = [
            (int(gap.get("firstOffset", 0)), int(gap["lastOffset"]), gap["reasons"])
            for gap in source.stream_status().get("gaps", [])]
        checks.equal(
            "spec 19.90: dropping: the loss is exactly what was not confirmed", declared,
            [(5, first - 1, ["dropped"])])
        wait_until("the last drop's line", lambda: events(source, "facts_dropped") and int(
            events(source, "facts_dropped")[-1]["last_offset"]) >= first - 1)
        checks.check(
            "spec 19.90: dropping: every drop is a line with its range and alert",
            events(source, "facts_dropped")
            and all(line["alert"] == "FactsDropped" for line in events(source, "facts_dropped"))
            and int(events(source, "facts_dropped")[-1]["last_offset"]) == first - 1,
            events(source, "facts_dropped"))
        code, output, _ = bsfg(source, "fact", "tail", "--from-offset", "0", "-n", "1")
        checks.check(
            "dropping: fact tail prints the gap", code == 0 and "(gap)" in output
            and "dropped" in output, output[:300])
        receiver.start()
        all_confirmed(source, receiver)
        entries = receiver.peek("plant-a")
        checks.equal(
            "dropping: the receiver materialised the gap once", gaps(entries),
            [(5, first - 1, ["dropped"])])
        checks.equal(
            "dropping: and every fact that there was, once and in order", numbers(entries),
            list(range(5)) + list(range(first, taken)))
        receiver.consumer("reader-1", "app", origin="plant-a")
        reader = Caller(receiver, site.certificate("reader-1"))
        page = reader.fetch("app", limit=10)
        checks.equal(
            "dropping: an application meets it typed", gaps(page.json["entries"])[:1],
            [(5, first - 1, ["dropped"])])
        before = len(entries)
        receiver.kill()
        receiver.start()
        producer.append(message(taken))
        all_confirmed(source, receiver)
        checks.equal(
            "dropping: a restart does not meet it again", len(receiver.peek("plant-a")), before + 1)


def late_peer(checks):
    """Two peers are granted a log and one of them has not come yet: what the other has confirmed stays."""
    with Site() as site:
        source, receiver, producer = pair(site, {"retention": "100ms"})
        late = site.node("plant-b")
        late.capacity, late.segment = "64MiB", "1MiB"
        source.grant(late)
        late.grant(source, streams=())
        late.pull(source)
        source.start()
        receiver.start()
        for number in range(40):
            producer.append(message(number))
        settle(source, receiver)
        # Long after everything that has to happen for a segment to go.
        time.sleep(2)
        taken = producer.append(message(40))
        settle(source, receiver)
        checks.equal(
            "spec 19.21: late: nothing goes while a declared peer has not come",
            int(source.stream_status().get("firstOffset", 0)), 0)
        _, told, _ = bsfg(source, "stream", "info", STREAM)
        checks.check(
            "late: stream info names who is waited for", "plant-b-bsfg has not come yet" in told
            and "enterprise-bsfg has not" not in told, told)
        checks.check("spec 19.27: late: who has not confirmed holds truncation, not appends", taken.ok, taken)
        late.start()
        settle(source, late)
        checks.equal(
            "late: it has every fact once, in order", numbers(late.peek("plant-a")), list(range(41)))

        def gone():
            # A segment that was written to is looked at again with the next fact.
            return int(source.stream_status().get("firstOffset", 0)) > 0

        wait_until("what both have confirmed going", gone)
        _, told, _ = bsfg(source, "stream", "info", STREAM)
        checks.check("late: and nobody once both have come", "awaited" not in told, told)
        checks.check("spec 19.21: late: what both have confirmed goes", True)


def full_forward(checks):
    """The receiver's own reader is slow: its forward log fills, the pull pauses and resumes."""
    with Site() as site:
        source, receiver, producer = pair(
            site, {"capacity": "64MiB"}, {"capacity": "8MiB", "segment": "1MiB"})
        source.start()
        receiver.start()
        receiver.consumer("reader-1", "app", origin="plant-a")
        for number in range(120):
            producer.append(message(number))

        def paused():
            status = receiver.pull_status("plant-a")
            return status["state"] == "blocked" and status.get("reason") == "forward_full"
        wait_until("the pull pausing", paused)
        # A pause adds no failure, however often it is tried again. What a slow machine fails now and then is not
        # its doing: of a few stretches of time one has to be without.
        for _ in range(5):
            before = receiver.pull_status("plant-a")
            time.sleep(3)
            after = receiver.pull_status("plant-a")
            if after.get("failures", 0) == before.get("failures", 0):
                break
        checks.check("forward full: it stays paused", paused(), after)
        checks.equal(
            "forward full: no failure is counted", after.get("failures", 0), before.get("failures", 0))
        shown = json.loads(bsfg(receiver, "status", "-o", "json")[1])
        checks.check(
            "forward full: no gate closes", shown["gates"][0]["inbound"]["mode"] != "autonomous",
            shown["gates"])
        received = receiver.head("plant-a")
        checks.check("forward full: not everything was taken", 0 < received < 120, received)
        checks.check(
            "forward full: the source still takes facts", producer.append(message(120)).ok)
        reader = Caller(receiver, site.certificate("reader-1"))

        def progressed():
            page = reader.fetch("app", limit=50)
            if page.ok and page.json.get("entries"):
                reader.confirm("app", int(page.json["nextOffset"]) - 1)
            return receiver.head("plant-a") == 121
        wait_until("the rest crossing", progressed)
        settle(source, receiver)
        checks.eventually(
            "forward full: it went on by itself",
            lambda: receiver.pull_status("plant-a")["state"] == "pulling")
        pauses = [line for line in events(receiver, "forward_full")]
        checks.check(
            "forward full: each pause is one line", 1 <= len(pauses) <= 12, len(pauses))
        name = consumer_name(receiver, source)
        checks.equal("forward full: everything is confirmed", source.cursor(name), 121)


def alarm(checks):
    """sil_strict: full once is an alarm until somebody acknowledges it."""
    with Site() as site:
        source, receiver, producer = pair(site)
        source.profile = receiver.profile = "sil_strict"
        receiver.cursors[0]["justification"] = "the test wants every fact"
        source.start()
        stored, refusal = append_until_refused(producer)
        checks.check("alarm: refused", refusal is not None, stored)
        code, output, _ = bsfg(source, "log", "alarm", "show")
        checks.check("spec 19.93: alarm: shown, exit status 1", code == 1 and STREAM in output, output)
        code, output, _ = bsfg(source, "status")
        checks.check("alarm: in bsfg status, exit status 1", code == 1 and "ALARM" in output, output)
        receiver.start()
        settle(source, receiver)
        wait_until("facts being taken again", lambda: producer.append(message(stored)).ok)
        source.stop()
        source.start()
        code, _, _ = bsfg(source, "log", "alarm", "show")
        checks.equal("alarm: it stays over a restart and although facts are taken", code, 1)
        code, _, error = bsfg(source, "log", "alarm", "ack", "--reason", "")
        checks.check("alarm: not without a reason", code != 0, error)
        code, output, _ = bsfg(source, "log", "alarm", "ack", "--reason", "reader was down")
        checks.check("alarm: acknowledged", code == 0 and "acknowledged" in output, output)
        code, output, _ = bsfg(source, "log", "alarm", "show")
        checks.check("alarm: gone", code == 0 and "no alarm" in output, output)
        wait_until("the line", lambda: events(source, "alarm_acknowledged"))
        checks.equal(
            "alarm: who and why are in the node's log",
            [(line["by"], line["reason"]) for line in events(source, "alarm_acknowledged")],
            [(f"uid:{os.getuid()}", "reader was down")])


def poison(checks):
    """A sync that fails ends a sil_strict node; a standard one stays and says that it is not ready."""
    if not shutil.which("strace"):
        checks.skip("poison", "there is no strace to inject errors with")
        return
    with Site() as site:
        for profile in ("sil_strict", "standard"):
            node = site.node("plant-a", name=profile)
            node.stream_options = dict(SMALL)
            node.profile = profile
            node.client("producer-1")
            node.start()
            certificate = site.certificate("producer-1", name=f"{profile}-client")
            producer = Caller(node, certificate)
            checks.check(f"poison, {profile}: a fact is taken", producer.append(message(0)).ok)
            tracer = subprocess.Popen(
                ["strace", "-f", "-o", "/dev/null", "-p", str(node.process.pid), "-e",
                 "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO"],
                stderr=subprocess.PIPE, text=True)
            if "attached" not in tracer.stderr.readline():
                tracer.kill()
                tracer.wait()
                checks.skip(f"poison, {profile}", "strace may not attach here")
                continue
            threading.Thread(target=tracer.stderr.read, daemon=True).start()
            try:
                refused = producer.append(message(1))
                checks.check(
                    f"spec 19.1: {profile}: what could not be synchronised is not acknowledged",
                    refused.reason == "outcome_unknown", refused)
            except OSError:
                # A sil_strict node may be gone before it could answer.
                checks.check(f"poison, {profile}: no answer", profile == "sil_strict")
            if profile == "sil_strict":
                wait_until("the node ending", lambda: node.process.poll() is not None)
                checks.check(
                    "poison, sil_strict: the exit status is not 0", node.process.returncode == 1,
                    node.process.returncode)
                checks.check(
                    "poison, sil_strict: it says which log",
                    "stopped writing" in node.errors.read_text(), node.errors.read_text()[-500:])
            else:
                def is_degraded():
                    health = producer.request("GET", "/health").json
                    return (health.get("status"), health.get("ready")) == ("degraded", False)

                checks.eventually("poison, standard: the node is there and not ready", is_degraded)
                checks.equal(
                    "poison, standard: what was taken is served", numbers(node.peek())[:1], [0])
            tracer.send_signal(signal.SIGINT)
            tracer.wait(PATIENCE)
            node.kill()


def test(checks):
    for name, part in (
        ("a full store log", full_store), ("drop_oldest", dropping), ("a late peer", late_peer),
        ("a full forward log", full_forward), ("the alarm", alarm), ("poison", poison),
    ):
        with checks.guard(name):
            part(checks)


if __name__ == "__main__":
    main(test)

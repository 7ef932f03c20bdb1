#!/usr/bin/env python3
"""Requirements 20 to 48 of the specification, reading and confirming: a source, its receiver and applications
on both. A check is named by the requirement that it is about (docs/conformance.md).

    BSFG=path conformance_reading.py
"""

import json
import time

from history_common import bsfg, bsfg_json, start_to_end
from replication_common import consumer_name, settle
from support import STREAM, Caller, Site, fact, identifiers, main, wait_until

OTHER_STREAM = "facts.audit"
COUNT = 40


def offsets(answer):
    return [int(entry["offset"]) for entry in answer.json.get("entries", [])]


def numbers(answer):
    return [json.loads(entry["message"]["fact"]["objectJson"])["number"]
            for entry in answer.json.get("entries", [])]


def replay(checks, source, reader):
    for name in ("a", "b", "restarted", "shared"):
        assert source.consumer("reader-1", name).ok
    pages = [offsets(reader.fetch("a", from_offset=str(start), limit=10_000))
             for start in range(COUNT + 1)]
    checks.equal(
        "spec 19.20: replay from any retained offset is in the order of offsets", pages,
        [list(range(start, COUNT)) for start in range(COUNT + 1)])
    pages = [offsets(reader.fetch("a", limit=limit)) for limit in (1, 3, COUNT, 1_000)]
    checks.equal(
        "spec 19.37: a page has at most as many facts as it was asked for", pages,
        [list(range(min(limit, COUNT))) for limit in (1, 3, COUNT, 1_000)])
    checks.equal(
        "spec 19.38: without a confirm the same facts are fetched again",
        [offsets(reader.fetch("a", limit=5)) for _ in range(3)], [list(range(5))] * 3)


def confirming(checks, site, source, reader):
    answer = reader.confirm("a", 6)
    checks.equal(
        "spec 19.39: after a confirm of 6 the next fetch begins at 7",
        (answer.json.get("cursorAdvancedTo"), offsets(reader.fetch("a", limit=3))),
        ("6", [7, 8, 9]))
    older = [reader.confirm("a", number) for number in (6, 2, 0)]
    checks.equal(
        "spec 19.43: confirming again or an older offset succeeds and rewinds nothing",
        ([answer.ok for answer in older], offsets(reader.fetch("a", limit=1)), source.cursor("a")),
        ([True] * 3, [7], 7))
    beyond = [reader.confirm("a", number) for number in (COUNT, COUNT + 100)]
    checks.equal(
        "spec 19.44: a confirm beyond what there is is refused and moves nothing",
        ([answer.reason for answer in beyond], source.cursor("a")), (["beyond_head"] * 2, 7))
    checks.equal(
        "spec 19.41: another consumer's progress is its own", offsets(reader.fetch("b", limit=2)), [0, 1])

    instances = [Caller(source, site.certificate("reader-1", name=f"instance-{number}"))
                 for number in range(2)]
    instances[0].confirm("shared", 9)
    seen = offsets(instances[1].fetch("shared", limit=1))
    instances[1].confirm("shared", 19)
    checks.equal(
        "spec 19.42: two instances of one consumer share its progress",
        (seen, offsets(instances[0].fetch("shared", limit=1))), ([10], [20]))

    # The third fact of five cannot be processed, so nothing is confirmed.
    processed = []
    page = reader.fetch("b", limit=5)
    for number in numbers(page):
        if number == 2:
            break
        processed.append(number)
    else:
        reader.confirm("b", offsets(page)[-1])
    checks.equal(
        "spec 19.45: a batch with an item that failed is fetched again as a whole",
        (processed, offsets(reader.fetch("b", limit=5)), source.cursor("b")),
        ([0, 1], list(range(5)), 0))

    found = []
    for _ in range(3):
        # A connection of its own for every page, ended by its caller.
        caller = Caller(source, reader.certificate)
        page = caller.fetch("restarted", limit=4)
        complete = "content-length" in page.headers or "transfer-encoding" in page.headers
        found.append((page.status, complete, offsets(page)))
        caller.confirm("restarted", offsets(page)[-1])
        caller.close()
    checks.equal(
        "spec 19.46: a fetch is one request and one answer, over a connection of its own each",
        found, [(200, True, list(range(start, start + 4))) for start in (0, 4, 8)])
    reader.close()
    source.kill()
    source.start()
    checks.equal(
        "spec 19.40: a consumer's progress survives a restart of client and server",
        offsets(Caller(source, reader.certificate).fetch("restarted", limit=1)), [12])
    checks.equal(
        "spec 19.24: the frontier after kill -9 is what was confirmed before",
        [source.cursor(name) for name in ("a", "b", "restarted", "shared")], [7, 0, 12, 20])
    checks.equal(
        "spec 19.23: no frontier goes back, whatever is confirmed",
        [(reader.confirm(name, 0).ok, source.cursor(name)) for name in ("a", "restarted", "shared")],
        [(True, 7), (True, 12), (True, 20)])
    checks.equal(
        "spec 19.47: fetching and confirming removes nothing",
        (len(source.peek()), int(source.stream_status().get("firstOffset", 0))), (COUNT, 0))


def forward(checks, site, source, receiver, producer):
    """The receiver's log, in which every fact is once."""
    settle(source, receiver)
    before = identifiers(receiver.peek("plant-a"))
    checks.equal(
        "spec 19.48: each stream comes in its own order",
        ([found[2] for found in before],
         [found[0] for found in identifiers(receiver.peek("plant-a", stream=OTHER_STREAM))]),
        (list(range(COUNT)), [f"audit-{number}" for number in range(COUNT)]))
    bsfg(receiver, "peer", "redeliver", "plant-a", "--count", str(COUNT))
    status = wait_until(
        "the second delivery", lambda: (
            lambda pull: pull if int(pull.get("redelivered", 0)) >= COUNT else None)(
                pull_of(receiver, STREAM)))
    checks.equal(
        "spec 19.29: a fact is put once, and told to be there after that",
        (int(status["materialised"]), int(status["redelivered"]) >= COUNT,
         identifiers(receiver.peek("plant-a"))), (COUNT, True, before))

    wanted = bsfg_json(receiver, "fact", "get", "--message-id", "fact-17", "--origin", "plant-a")
    times = [entry["appendedAtUnixMs"] for entry in receiver.peek("plant-a")]
    low, high = int(times[0]), int(times[-1])
    lines = bsfg(
        receiver, "fact", "query", "--from", text(low), "--to", text(high), "--origin", "plant-a",
        "-o", "json").splitlines()
    nothing = bsfg(
        receiver, "fact", "query", "--from", text(high + 1), "--origin", "plant-a", "-o", "json")
    checks.equal(
        "spec 19.33: a fact by its key, and all between two times, are what was inserted",
        (wanted["message"]["envelope"]["message_id"], wanted["message"]["fact"]["object"]["number"],
         [json.loads(line)["message"]["envelope"]["message_id"] for line in lines], nothing),
        ("fact-17", 17, [f"fact-{number}" for number in range(COUNT)], ""))


def pull_of(receiver, stream):
    return next(found for found in receiver.status()["pulls"] if found["stream"] == stream)


def text(milliseconds):
    return time.strftime(
        "%Y-%m-%dT%H:%M:%S", time.gmtime(milliseconds // 1000)) + f".{milliseconds % 1000:03d}Z"


def durable_first(checks, source, receiver, producer):
    """A receiver that ends with its page fetched and not committed: the cursor stood still."""
    name = consumer_name(receiver, source)
    before = source.cursor(name)
    receiver.stop()
    start_to_end(receiver, "received")
    producer.append(fact("fetched-only", {"number": COUNT}))
    wait_until("the end with the page in hand", lambda: receiver.process.poll() is not None)
    receiver.process = None
    checks.equal(
        "spec 19.28: the cursor does not move for what was only fetched", source.cursor(name), before)
    receiver.start()
    settle(source, receiver)
    checks.equal(
        "spec 19.111: what was fetched and not inserted is fetched again",
        [found[0] for found in identifiers(receiver.peek("plant-a"))][-1:], ["fetched-only"])


def test(checks):
    with Site() as site:
        source, receiver = site.node("plant-a"), site.node("enterprise")
        for node in (source, receiver):
            node.other_streams = [{"name": OTHER_STREAM}]
        streams = (STREAM, OTHER_STREAM)
        source.client("producer-1", roles=["producer"], streams=streams)
        source.client("reader-1", roles=["consumer"])
        source.grant(receiver, streams=streams)
        receiver.grant(source, streams=())
        for stream in streams:
            receiver.pull(source, stream=stream)
        source.start()
        producer = Caller(source, site.certificate("producer-1"))
        for number in range(COUNT):
            assert producer.append(fact(f"fact-{number}", {"number": number})).ok
            message = fact(f"audit-{number}", {"number": number})
            message["stream"] = OTHER_STREAM
            assert producer.append(message).ok
        reader = Caller(source, site.certificate("reader-1"))
        with checks.guard("replay"):
            replay(checks, source, reader)
        with checks.guard("confirming"):
            confirming(checks, site, source, reader)
        producer.close()
        receiver.start()
        with checks.guard("forward"):
            forward(checks, site, source, receiver, producer)
        with checks.guard("durable first"):
            durable_first(checks, source, receiver, producer)


if __name__ == "__main__":
    main(test)

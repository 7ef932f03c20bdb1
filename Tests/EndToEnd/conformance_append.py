#!/usr/bin/env python3
"""Requirements 1 to 19 of the specification, appending: one real node whose only peer is never there.
A check is named by the requirement that it is about (docs/conformance.md).

    BSFG=path conformance_append.py
"""

import json
import threading

from support import (
    BOUNDARY, STREAM, Caller, Site, content_digest, fact, identifiers, main, run)

CONTENT_STREAM = "facts.documents"


def entries(node):
    return identifiers(node.peek())


def durability(checks, node, producer):
    answers = [producer.append(fact(f"first-{number}", {"number": number})) for number in range(20)]
    checks.check(
        "spec 19.2: facts are taken while every peer is unreachable",
        all(answer.ok for answer in answers), answers[0])
    offsets = [int(answer.json.get("offset", -1)) for answer in answers if answer.ok]
    checks.check(
        "spec 19.3: every answer has an offset, and they rise",
        len(offsets) == 20 and all(low < high for low, high in zip(offsets, offsets[1:])), offsets)
    checks.check(
        "spec 19.19: an acknowledgement says nothing of delivery: nobody has read",
        node.status().get("consumers", []) == []
        and set(answers[0].json) <= {"offset", "epoch", "outcome", "fill", "contentDigest"}
        and answers[0].json["outcome"] == "OUTCOME_APPENDED", answers[0])
    last = producer.append(fact("killed-after", {"value": "the last one"}))
    node.kill()
    producer.close()
    node.start()
    checks.check(
        "spec 19.4: an acknowledged fact is there after kill -9",
        last.ok and [found[0] for found in entries(node)]
        == [f"first-{number}" for number in range(20)] + ["killed-after"], entries(node)[-2:])


def identity(checks, node, producer):
    first = producer.append(fact("same", {"a": 1, "b": [1.5, "x"]}))
    before = entries(node)
    again = producer.append(fact("same", {"a": 1, "b": [1.5, "x"]}))
    checks.equal(
        "spec 19.5: a retry is answered with the first offset and writes nothing",
        (again.json.get("outcome"), again.json.get("offset"), entries(node)),
        ("OUTCOME_EXISTING", first.json["offset"], before))
    other = producer.append(fact("same", {"a": 2, "b": [1.5, "x"]}))
    checks.equal(
        "spec 19.6: the same id with other content is a conflicting_duplicate and changes nothing",
        (other.code, other.reason, entries(node)),
        ("already_exists", "conflicting_duplicate", before))
    spelled = json.dumps(fact("same", "HERE")).replace(
        '"HERE"', '{ "b" : [ 15e-1, "\\u0078" ],\n "a" : 1.0 }')
    answer = producer.call(BOUNDARY + "AppendFact", spelled.encode(), raw=True)
    checks.equal(
        "spec 19.7: key order, white space and the spelling of numbers are no other content",
        ((answer.json or {}).get("outcome"), entries(node)), ("OUTCOME_EXISTING", before))
    with_artifact = fact("same", {"a": 1, "b": [1.5, "x"]})
    with_artifact["fact"]["artifacts"] = [{
        "zone": "plant-a", "bucket": "batch-files", "key": "k", "digest": "sha256:" + "0" * 64,
        "size": "1", "media_type": "text/plain"}]
    answer = producer.append(with_artifact)
    checks.equal(
        "spec 19.8: a reference to an artifact is content", (answer.reason, entries(node)),
        ("conflicting_duplicate", before))


def at_once(checks, node, certificate):
    """Twelve callers append under one id at the same time."""

    def race(messages):
        answers, barrier = [None] * len(messages), threading.Barrier(len(messages), timeout=300)
        # One after the other: of one address eight may be on their way in at once.
        callers = [Caller(node, certificate) for _ in messages]
        for caller in callers:
            caller.request("GET", "/health")

        def work(index):
            barrier.wait()
            answers[index] = callers[index].append(messages[index])
            callers[index].close()

        threads = [threading.Thread(target=work, args=(index,)) for index in range(len(messages))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    head = node.head()
    answers = race([fact("raced", {"value": 1})] * 12)
    outcomes = sorted((answer.json or {}).get("outcome", answer.text) for answer in answers)
    checks.equal(
        "spec 19.9: identical facts at the same time are one entry",
        (outcomes, len({answer.json["offset"] for answer in answers}), node.head()),
        (["OUTCOME_APPENDED"] + ["OUTCOME_EXISTING"] * 11, 1, head + 1))
    answers = race([fact("fought", {"value": number}) for number in range(12)])
    winners = [number for number, answer in enumerate(answers) if answer.ok]
    kept = [json.loads(entry["message"]["fact"]["objectJson"]) for entry in node.peek()
            if entry["message"]["envelope"]["messageId"] == "fought"]
    checks.check(
        "spec 19.30: of different facts under one key at the same time exactly one wins",
        len(winners) == 1 and kept == [{"value": winners[0]}]
        and all(answer.reason == "conflicting_duplicate"
                for number, answer in enumerate(answers) if number not in winners),
        (winners, kept))


def immutable(checks, node, producer):
    before = entries(node)
    refused = [
        producer.call(BOUNDARY + method, fact("same", {"a": 9})).status for method in (
            "UpdateFact", "DeleteFact", "ReplaceFact", "TruncateFacts", "PurgeFacts")]
    verbs = [
        producer.request(verb, BOUNDARY + "AppendFact", json.dumps(fact("same")).encode(),
                         {"content-type": "application/json"}).status
        for verb in ("PUT", "PATCH", "DELETE")]
    checks.equal(
        "spec 19.10: nothing in the API changes or deletes a fact", (refused, verbs, entries(node)),
        ([404] * 5, [405] * 3, before))


def grammar(checks, node, producer):
    refused = {}
    for field in ("message_id", "from_zone", "to_zone", "produced_at_unix_ms"):
        message = fact("incomplete")
        del message["envelope"][field]
        answer = producer.append(message)
        refused[field] = (answer.code, answer.detail.get("field"))
    checks.equal(
        "spec 19.11: an envelope without a required field is refused, naming it", refused,
        {field: ("invalid_argument", f"envelope.{field}") for field in refused})

    def outcome(name, **changes):
        message = fact(f"grammar-{name}")
        message["fact"].update(changes)
        answer = producer.append(message)
        return "taken" if answer.ok else answer.reason

    subjects = ["batch:B1042", "batch:PlantA/B1042"]
    bad_subjects = ["batch", ":B1042", "batch:", "Batch:B1042", "batch:a/b/c", "batch B1042", ""]
    checks.equal(
        "spec 19.12: a subject is kind:id or kind:scope/id, anything else is refused",
        [outcome(text, subject=text) for text in subjects]
        + [outcome(text, subject=text) for text in bad_subjects if text],
        ["taken"] * 2 + ["invalid_subject"] * (len(bad_subjects) - 1))
    predicates = ["step_completed", "measured"]
    bad_predicates = ["StepCompleted", "step-completed", "step completed", "step.completed", "_step", "Step"]
    checks.equal(
        "spec 19.13: a predicate is lower_snake_case, anything else is refused",
        [outcome(text, predicate=text) for text in predicates + bad_predicates],
        ["taken"] * 2 + ["invalid_predicate"] * len(bad_predicates))


def carried(checks, site, node, producer):
    """What the boundary carries without looking at it, read again by a consumer."""
    schema = "urn:bsfg:schema:batch.step_completed:v1"
    message = fact("carried", [1, "not what the schema says"])
    message["envelope"].update({
        "object_schema": "urn:nobody:knows:this:v9", "object_media_type": "application/json",
        "correlation_id": "order 4711 \u00e4", "causation_id": "cause-1",
        "labels": {"priority": "high", "silo": "A", "\u00e9": "e\u0301"}})
    invalid = fact("schema-invalid", 42)
    invalid["envelope"]["object_schema"] = schema
    answers = [producer.append(message), producer.append(invalid)]
    node.consumer("reader-1", "carried")
    reader = Caller(node, site.certificate("reader-1"))
    found = {
        entry["message"]["envelope"]["messageId"]: entry["message"]
        for entry in reader.fetch("carried", limit=10_000).json["entries"]}
    envelope = found.get("carried", {"envelope": {}})["envelope"]
    checks.equal(
        "spec 19.14: an unknown object_schema is taken and carried unchanged",
        (answers[0].ok, envelope.get("objectSchema")), (True, "urn:nobody:knows:this:v9"))
    checks.equal(
        "spec 19.15: an object that is not what its schema says is taken",
        (answers[1].ok, found["schema-invalid"]["envelope"]["objectSchema"],
         found["schema-invalid"]["fact"]["objectJson"]), (True, schema, "42"))
    checks.equal(
        "spec 19.16: correlation, causation and labels come back unchanged",
        (envelope.get("correlationId"), envelope.get("causationId"), envelope.get("labels")),
        tuple(message["envelope"][name] for name in ("correlation_id", "causation_id", "labels")))


def zones(checks, node, producer):
    before = entries(node)
    checks.equal(
        "spec 19.17: a producer may not speak for another zone",
        [producer.append(fact("foreign", zone=zone, to_zone="plant-a")).reason
         for zone in ("enterprise", "idmz")], ["from_zone_not_allowed"] * 2)
    checks.equal(
        "spec 19.18: zones that are not configured are refused, known ones are taken",
        ([producer.append(fact("nowhere", to_zone="mars")).reason,
          producer.append(fact("from-nowhere", zone="mars", to_zone="plant-a")).reason,
          entries(node) == before],
         [producer.append(fact(f"to-{zone}", to_zone=zone)).ok for zone in ("enterprise", "idmz")]),
        (["unknown_zone", "from_zone_not_allowed", True], [True, True]))


def strategies(checks, node, producer):
    """The key is the id, or the content: canonical JSON, or bytes as they are."""
    def append(identifier, stream, **body):
        message = fact(identifier)
        message["stream"] = stream
        message["fact"] = {"subject": "document:D1", "predicate": "released", **body}
        if "object_bytes" in body:
            message["envelope"]["object_media_type"] = "application/octet-stream"
        return (producer.append(message).json or {}).get("outcome")

    checks.equal(
        "spec 19.35: the key is the message id, the canonical content, or the bytes, as the stream says",
        [append("k-1", STREAM, object={"a": 1}), append("k-2", STREAM, object={"a": 1}),
         append("k-1", CONTENT_STREAM, object_json='{"a":1,"b":2}'),
         append("k-2", CONTENT_STREAM, object_json='{ "b":2.0, "a":1 }'),
         append("k-3", CONTENT_STREAM, object_bytes="AAEC"),
         append("k-4", CONTENT_STREAM, object_bytes="AAEC"),
         append("k-5", CONTENT_STREAM, object_bytes="AAED")],
        ["OUTCOME_APPENDED", "OUTCOME_APPENDED", "OUTCOME_APPENDED", "OUTCOME_EXISTING",
         "OUTCOME_APPENDED", "OUTCOME_EXISTING", "OUTCOME_APPENDED"])


def deduplication(checks, node, producer):
    """Recognised at once, by what is on disk: no later work, no window of time."""
    message = fact("once", {"value": "x"})
    head = node.head()
    outcomes = [producer.append(message).json["outcome"] for _ in range(5)]
    node.kill()
    producer.close()
    # Before any process has the log open again, as it was left.
    run("log", "verify", "--dir", node.data / "store" / STREAM)
    node.start()
    stored = [found[0] for found in entries(node)].count("once")
    checks.equal(
        "spec 19.32: a duplicate is recognised in its own call; killed at once, the log has it once",
        (outcomes, stored), (["OUTCOME_APPENDED"] + ["OUTCOME_EXISTING"] * 4, 1))
    again = producer.append(message)
    checks.equal(
        "spec 19.34: a retry is recognised after a crash and a restart",
        (again.json.get("outcome"), int(again.json.get("offset", -1)), node.head()),
        ("OUTCOME_EXISTING", head, head + 1))


def hashes(checks, producer):
    message = fact("hashed", {"b": 1, "a": [True, None, "\u00e4"]})
    answer = producer.append(message)
    checks.equal(
        "spec 19.36: the content digest is SHA-256", answer.json.get("contentDigest"),
        content_digest(message))


def test(checks):
    with Site() as site:
        node, absent = site.node("plant-a"), site.node("enterprise")
        node.zones = ["idmz"]
        node.grant(absent)
        node.pull(absent)
        node.client("producer-1", streams=(STREAM, CONTENT_STREAM))
        node.client("reader-1", roles=["consumer"])
        node.other_streams = [{"name": CONTENT_STREAM, "idempotency": "content"}]
        node.start()
        certificate = site.certificate("producer-1")
        producer = Caller(node, certificate)
        for name, part in (
            ("durability", lambda: durability(checks, node, producer)),
            ("identity", lambda: identity(checks, node, producer)),
            ("at once", lambda: at_once(checks, node, certificate)),
            ("immutable", lambda: immutable(checks, node, producer)),
            ("grammar", lambda: grammar(checks, node, producer)),
            ("carried", lambda: carried(checks, site, node, producer)),
            ("zones", lambda: zones(checks, node, producer)),
            ("strategies", lambda: strategies(checks, node, producer)),
            ("deduplication", lambda: deduplication(checks, node, producer)),
            ("hashes", lambda: hashes(checks, producer)),
        ):
            with checks.guard(name):
                part()
        checks.equal("the node ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)

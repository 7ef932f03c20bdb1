"""Whether the oracle notices: logs as they should be, then each with one thing wrong in it."""

import random

from schedule.oracle import Oracle
from schedule.plan import Plan
from schedule.production import PREDICATE, SUBJECT, make
from schedule.records import Record

RECEIVER, ORIGIN = "enterprise", "plant-a"
HISTORY = ("00" * 16, 1)


class Answered:
    """What a producer was told, without a producer."""

    def __init__(self, facts):
        self.facts = facts
        self.acknowledged = dict(enumerate(facts))
        self.wrong = []


def text(number, value):
    data = value if isinstance(value, bytes) else value.encode()
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value):
    done = b""
    while value > 127:
        done += bytes([value & 127 | 128])
        value >>= 7
    return done + bytes([value])


def message(fact, zone, canonical=None):
    """As a node encodes it, as far as the oracle reads it."""
    body = canonical or fact.canonical
    envelope = text(1, fact.identifier) + text(2, zone)
    return text(1, envelope) + text(2, text(1, SUBJECT) + text(2, PREDICATE) + text(3, body))


def log(facts, is_store=False):
    return [
        Record(offset, "message", message(fact, ORIGIN), None if is_store else (*HISTORY, offset))
        for offset, fact in enumerate(facts)]


def changed(records, offset, **fields):
    found = list(records)
    old = found[offset]
    found[offset] = Record(
        offset, fields.get("kind", old.kind), fields.get("item", old.item),
        fields.get("origin", old.origin))
    return found


def oracle_notices(checks):
    seed = next(
        seed for seed in range(1_000) if len((plan := Plan(seed)).zone_names) == 2
        and not any(zone.poison for zone in plan.zones.values()))
    plan = Plan(seed)
    facts = make(ORIGIN, 40, (5, 9), 0, random.Random(1))
    whole = log(facts)

    def found(records, is_own=False):
        oracle = Oracle(plan, {}, {ORIGIN: Answered(facts), RECEIVER: Answered([])})
        oracle.look_at_records(ORIGIN if is_own else RECEIVER, ORIGIN, records)
        return oracle.found

    checks.equal("oracle: a log as it should be", found(whole), [])
    checks.equal(
        "oracle: a truncated store log as it should be", found(log(facts, True)[7:], is_own=True), [])
    for name, records in (
        ("a fact is missing at the end", whole[:-1]),
        ("the beginning is missing", whole[1:]),
        ("a fact is missing in between", whole[:9] + whole[10:]),
        ("a fact is there twice", changed(whole, 9, item=whole[8].item)),
        ("one fact too many", [*whole, Record(40, "message", whole[0].item, (*HISTORY, 40))]),
        ("two facts have changed places", changed(
            changed(whole, 9, item=whole[10].item), 10, item=whole[9].item)),
        ("other content", changed(
            whole, 9, item=message(facts[9], ORIGIN, canonical='{"number":9,"text":""}'))),
        ("another zone's fact", changed(whole, 9, item=message(facts[9], RECEIVER))),
        ("another place at the origin", changed(whole, 9, origin=(*HISTORY, 8))),
        ("another history", changed(whole, 9, origin=("11" * 16, 1, 9))),
        ("a notice", changed(whole, 9, kind="quarantined")),
        ("a gap", changed(whole, 9, kind="gap")),
        ("it came from nowhere", log(facts, True)),
    ):
        checks.check(f"oracle: it notices: {name}", found(records) != [])
    checks.check("oracle: it notices: a node's own fact came back", found(whole, is_own=True) != [])

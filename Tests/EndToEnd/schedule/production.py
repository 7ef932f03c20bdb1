"""The facts of one zone in one schedule, and the producer that has each of them acknowledged in the end."""

import json
import threading
import time

from schedule.records import content_digest
from schedule.zones import ZoneCaller
from support import INGEST, STREAM

# Below what fits into a commit of a log with the smallest segments.
BATCH_BYTES = 300_000

SUBJECT, PREDICATE = "turbine:R80711", "power_measured"


class Made:
    """One fact as it was made."""

    def __init__(self, identifier, text, number, zone):
        self.identifier = identifier
        # Canonical as it stands: names in order, nothing to escape, a small integer.
        self.canonical = canonical = f'{{"number":{number},"text":"{text}"}}'
        self.digest = content_digest(SUBJECT.encode(), PREDICATE.encode(), canonical.encode())
        self.body = (
            f'{{"envelope":{{"message_id":"{identifier}","from_zone":"{zone}","to_zone":"{zone}",'
            f'"produced_at_unix_ms":1700000000000}},"fact":{{"subject":"{SUBJECT}",'
            f'"predicate":"{PREDICATE}","object":{canonical}}}}}')
        # Its id is there already with other content: a fact that no receiver can materialise.
        self.is_poison = False


def make(zone, count, bytes_range, poison, chance):
    """Facts of a zone. Poison ones repeat the id of an earlier one with other content."""
    noise = "".join(chance.choice("0123456789abcdef") for _ in range(16_000))
    made = []
    for number in range(count):
        size, start = chance.randint(*bytes_range), chance.randrange(8_000)
        made.append(Made(f"{zone}-{number}", noise[start:start + size], number, zone))
    for index in sorted(chance.sample(range(count // 4, count), poison)):
        earlier = chance.randrange(index // 2)
        made[index] = Made(f"{zone}-{earlier}", noise[:20], index, zone)
        made[index].is_poison = True
    return made


class Production:
    """Sends the batches of one zone one after the other. A batch that was not answered is sent again, whole
    and with the same ids, until it is; some that were answered are sent again too."""

    def __init__(self, node, certificate, facts, batch_range, pause_seconds, chance):
        self.node = node
        self.caller = ZoneCaller(node, certificate, timeout=5)
        self.facts = facts
        self.batches = []
        self.pause_seconds = pause_seconds
        self.chance = chance
        start = 0
        while start < len(facts):
            batch, room = [], BATCH_BYTES
            for fact in facts[start:start + chance.randint(*batch_range)]:
                room -= len(fact.body)
                if room < 0 and batch:
                    break
                batch.append(fact)
            self.batches.append((start, batch))
            start += len(batch)
        # Offset to fact, as acknowledged.
        self.acknowledged = {}
        self.offsets = {}
        self.wrong = []
        self.unanswered = 0
        self.last_failure = None
        self.repeated = 0
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)

    def __str__(self):
        return (
            f"has {len(self.offsets)} of {len(self.facts)} facts acknowledged, {self.unanswered} batches were "
            f"sent again, last after {self.last_failure}")

    @property
    def share(self):
        return len(self.offsets) / len(self.facts)

    def start(self):
        self.thread.start()

    def stop(self):
        self.stopping.set()
        self.thread.join(60)
        self.caller.close()

    @property
    def is_done(self):
        return not self.thread.is_alive()

    def _work(self):
        for start, batch in self.batches:
            self._until_answered(start, batch)
            if self.chance.random() < 0.05:
                self.repeated += 1
                self._until_answered(start, batch)
            if self.stopping.is_set():
                return
            time.sleep(self.chance.uniform(0, 2 * self.pause_seconds))

    def _until_answered(self, start, batch):
        body = (f'{{"stream":"{STREAM}","facts":[' + ",".join(fact.body for fact in batch) + "]}").encode()
        while not self.stopping.is_set():
            try:
                answer = self.caller.call(INGEST + "AppendFacts", body, raw=True)
            except Exception as error:  # the node is away, or its answer is lost
                answer, self.last_failure = None, f"{type(error).__name__}: {error}"
            if answer is not None and answer.ok:
                return self._take(start, batch, answer.json["outcomes"])
            if answer is not None and not (
                    answer.status in (503, 504) or answer.reason == "backpressure"):
                self.wrong.append(f"{answer!r}")
                return None
            if answer is not None:
                self.last_failure = repr(answer)
            self.unanswered += 1
            time.sleep(0.05)
        return None

    def _take(self, start, batch, outcomes):
        for index, (fact, outcome) in enumerate(zip(batch, outcomes, strict=True), start):
            if outcome["outcome"] not in ("OUTCOME_APPENDED", "OUTCOME_EXISTING"):
                self.wrong.append(f"{fact.identifier}: {json.dumps(outcome)}")
                continue
            offset = int(outcome.get("offset", 0))
            if self.offsets.setdefault(index, offset) != offset:
                self.wrong.append(
                    f"{fact.identifier} was at {self.offsets[index]} and is at {offset}")
            if self.acknowledged.setdefault(offset, fact) is not fact:
                self.wrong.append(
                    f"{fact.identifier} and {self.acknowledged[offset].identifier} are both at {offset}")

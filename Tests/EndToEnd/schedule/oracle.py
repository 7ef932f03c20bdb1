"""What has to be true once everything is healed: each acknowledged fact on each far side exactly once, content and
order kept, nothing back at its origin, and in quarantine nothing but the poison of the schedule."""

from schedule.records import Messages, dumped, origins, place
from support import Answer, UnixConnection

from protobuf_fields import fields  # of Tests/Interop, where support leads


class Oracle:
    """Collects what is wrong; nothing wrong is an empty list."""

    def __init__(self, plan, nodes, productions):
        self.plan = plan
        # Zone to node, zone to production.
        self.nodes = nodes
        self.productions = productions
        # (receiver, origin) to the zone that it is pulled from.
        self.routes = plan.routes
        self.messages = Messages()
        self.found = []
        self.compared = 0

    def wrong(self, sentence):
        self.found.append(sentence)

    def look_at_answers(self):
        """Before any log is read: what the producers were told fits together."""
        for zone, production in self.productions.items():
            for sentence in production.wrong[:3]:
                self.wrong(f"answers at {zone}: {sentence}")
            count = len(production.facts)
            if sorted(production.acknowledged) != list(range(count)):
                self.wrong(
                    f"answers at {zone}: {len(production.acknowledged)} offsets for {count} facts")

    def look_at_quarantines(self, listed):
        """`listed`: zone to the entries of its quarantine."""
        for zone, entries in listed.items():
            expected = sorted(
                (origin, offset) for receiver, origin in self.routes
                if receiver == zone and self.plan.turned_by(origin, zone) == zone
                for offset, fact in self.productions[origin].acknowledged.items() if fact.is_poison)
            found = sorted(
                (entry["origin"], int(entry["id"].split(".")[2])) for entry in entries)
            if found != expected:
                self.wrong(f"quarantine of {zone}: {found}, expected {expected}")
            for entry in entries:
                if entry["reason"] != "conflict":
                    self.wrong(f"quarantine of {zone}: {entry}")

    def look_at_logs(self):
        for zone, node in self.nodes.items():
            expected = sorted(origin for receiver, origin in self.routes if receiver == zone)
            if origins(node) != (True, expected):
                self.wrong(f"logs of {zone}: {origins(node)}, expected forward logs of {expected}")
                continue
            for origin in (zone, *expected):
                self.look_at_records(zone, origin, dumped(node, origin))

    def look_at_records(self, zone, origin, records):
        """Every offset that the log still has holds what was acknowledged at that offset of the origin. A log that
        nobody truncates is whole; others have a tail of it."""
        name = f"{zone}'s log of {origin}"
        acknowledged = self.productions[origin].acknowledged
        first = records[0].offset if records else None
        is_whole = not self.may_truncate(zone, origin)
        if first is None or (is_whole and first != 0):
            return self.wrong(f"{name}: begins at {first}")
        if [record.offset for record in records] != list(range(first, len(acknowledged))):
            return self.wrong(
                f"{name}: holds {len(records)} records from {first} to {records[-1].offset}, "
                f"{len(acknowledged)} were acknowledged")
        histories = set()
        for record in records:
            fact = acknowledged[record.offset]
            problem = self._compare(record, fact, zone, origin, histories)
            if problem:
                return self.wrong(f"{name}: offset {record.offset}: {problem}")
        if len(histories) > 1:
            self.wrong(f"{name}: facts of {len(histories)} histories")
        self.compared += len(records)
        return None

    def _compare(self, record, fact, zone, origin, histories):
        """Why a record is not what was acknowledged there; None where it is."""
        if (record.origin is None) != (zone == origin):
            return f"says that it comes from {record.origin}"
        is_turned = (
            fact.is_poison and zone != origin and self.plan.turned_by(origin, zone) is not None)
        if record.kind == "quarantined":
            if not is_turned:
                return f"a notice instead of {fact.identifier}"
            # Where it was at its origin stands beside the notice, which names the log that it came from.
            histories.add(record.origin[:2])
            where = (record.origin[2], place(dict(fields(record.item))[1])[2])
            return None if where == (record.offset, record.offset) else f"a notice about {where}"
        if record.kind != "message":
            return f"is a notice of kind {record.kind}"
        if is_turned:
            return f"the poison {fact.identifier} was materialised"
        if record.origin is not None:
            histories.add(record.origin[:2])
            if record.origin[2] != record.offset:
                return f"was at {record.origin[2]} at its origin"
        found = self.messages.read(record.item)
        expected = (origin, fact.identifier, fact.digest)
        return None if found == expected else f"holds {found}, acknowledged was {expected}"

    def may_truncate(self, zone, origin):
        """Whether readers' confirmations may have removed the beginning."""
        return any(
            source == zone and of == origin for (_, of), source in self.routes.items())


def quarantine_of(node):
    connection = UnixConnection(node.socket, 30)
    try:
        connection.request(
            "POST", "/bsfg.admin.v1.QuarantineService/ListQuarantine", b'{"limit": 1000}',
            {"content-type": "application/json"})
        answer = Answer(connection.getresponse())
    finally:
        connection.close()
    if not answer.ok:
        raise RuntimeError(f"quarantine of {node.zone}: {answer!r}")
    return answer.json.get("entries", [])

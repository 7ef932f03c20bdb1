#!/usr/bin/env python3
"""`bsfg cursor query`: fetched, durable here, confirmed to the source and awaited by our readers, as a table for people
and as JSON for programs, which both say the same.

    BSFG=path cursor_query.py
"""

import json

from support import Caller, Site, fact, main, run, wait_until

FACTS = 5


def test(checks):
    with Site() as site:
        source, receiver = site.node("plant-a"), site.node("enterprise")
        source.client("producer-1")
        receiver.client("reader-1", origins=["plant-a"])
        source.grant(receiver)
        receiver.grant(source, streams=[])
        receiver.pull(source)
        source.start()
        receiver.start()
        producer = Caller(source, site.certificate("producer-1"))
        for number in range(FACTS):
            producer.append(fact(f"cursor-{number}"))
        wait_until("every fact here", lambda: receiver.head("plant-a") == FACTS)
        wait_until(
            "every fact confirmed",
            lambda: int(receiver.pull_status("plant-a").get("confirmedOffset", -1)) == FACTS - 1)

        def query(*more):
            return run("cursor", "query", "--peer", "plant-a", "--config", receiver.root, *more)

        [found] = json.loads(query("-o", "json"))
        checks.equal("nobody reads here yet", (found.get("here_offset"), found.get("readers_offset", "absent")),
                     (FACTS, None))
        for name, through in (("slow", 1), ("quick", 3)):
            made = receiver.consumer("reader-1", name, origin="plant-a", init_mode="full_backfill")
            checks.check(f"the consumer {name} is made", made.ok, made)
            reader = Caller(receiver, site.certificate("reader-1", name=name))
            confirmed = reader.confirm(name, through)
            checks.check(f"{name} confirms", confirmed.ok, confirmed)
        [found] = json.loads(query("-o", "json"))
        names = ("source_head_offset", "next_offset", "confirmed_offset", "here_offset", "readers_offset")
        values = tuple(found.get(name) for name in names)
        checks.equal("the JSON has what the table has", values, (FACTS, FACTS, FACTS - 1, FACTS, 2))
        head, row = query().splitlines()[:2]
        checks.equal(
            "the table has it too", (head.split()[-2:], row.split()[-5:]),
            (["HERE", "READERS"], [str(value) for value in values]))
        for node in (source, receiver):
            checks.equal(f"{node.zone} ends with", node.stop(), 0)


if __name__ == "__main__":
    main(test)

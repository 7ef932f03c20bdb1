#!/usr/bin/env python3
"""Requirements 92 and 95 to 97 of the specification: what goes, what stays, and what is told. The rest of that part
is in capacity.py. A check is named by the requirement that it is about (docs/conformance.md).

    BSFG=path conformance_retention.py
"""

from capacity import append_until_refused, gaps, message, numbers
from history_common import events
from schedule.stepped_clock import SteppedClock, build, compiler
from support import STREAM, Caller, Site, main, wait_until

OTHER_STREAM = "facts.audit"
SMALL = {"capacity": "16MiB", "segment": "1MiB"}


def append(producer, numbers, stream=STREAM):
    for number in numbers:
        answer = producer.append({**message(number), "stream": stream})
        assert answer.ok, answer


def first_offset(node, stream=STREAM):
    return int(node.stream_status(stream=stream).get("firstOffset", 0))


def expiring(checks, site):
    """Nobody confirms, and unconfirmed facts may stay for some seconds."""
    node, absent = site.node("plant-a", name="expiring"), site.node("enterprise")
    node.stream_options = {**SMALL, "unconfirmed_ttl": "12s"}
    node.client("producer-1")
    node.client("reader-1", roles=["consumer"])
    node.grant(absent)
    node.start()
    producer = Caller(node, site.certificate("producer-1", name="expiring"))
    append(producer, range(30))
    if not checks.eventually(
            "spec 19.95: what will expire unconfirmed is announced",
            lambda: events(node, "unconfirmed_near_ttl")):
        return
    announced, before = events(node, "unconfirmed_near_ttl")[0], numbers(node.peek())
    # On a slow machine they may have gone between the alert and this look: then the lines tell the order.
    text = node.errors.read_text()
    were_there = before == list(range(30)) or (
        0 <= text.find('"unconfirmed_near_ttl"') < text.find('"facts_expired"'))
    checks.check(
        "spec 19.95: facts that will expire unconfirmed are an alert, while they are there",
        announced.get("alert") == "UnconfirmedNearTtl" and announced["first_offset"] == "0"
        and were_there, (announced, before))
    number = 30

    def expired():
        # A segment that is written to is looked at again with the next fact.
        nonlocal number
        append(producer, [number])
        number += 1
        return events(node, "facts_expired")

    wait_until("the expiry", expired, every=0.5)
    wait_until("the segments going", lambda: first_offset(node) > 0)
    node.consumer("reader-1", "late")
    reader = Caller(node, site.certificate("reader-1"))

    def told():
        # The next segment may go between the fetch and the look at what is left.
        entries = reader.fetch("late", from_offset="0", limit=10).json["entries"]
        return ([gap[0] for gap in gaps(entries)] == [0] and "expired" in gaps(entries)[0][2]
                and numbers(node.peek())[0] == gaps(entries)[0][1] + 1
                and numbers(entries)[0] == gaps(entries)[0][1] + 1)

    checks.eventually("spec 19.97: expired facts are gone, and a fetch at their place says so", told)
    node.stop()


def classes(checks, site):
    """Two streams, confirmed alike, kept for different times."""
    node = site.node("plant-a", name="classes")
    streams = (STREAM, OTHER_STREAM)
    node.stream_options = {**SMALL, "retention": "1s"}
    node.other_streams = [{"name": OTHER_STREAM, **SMALL, "retention": "1h"}]
    node.client("mes", streams=streams)
    node.start()
    producer = Caller(node, site.certificate("mes"))
    for stream in streams:
        assert node.consumer("mes", f"all-of-{stream}", stream=stream).ok
        append(producer, range(40), stream)
        assert producer.confirm(f"all-of-{stream}", 39).ok
    number = 40

    def short_one_gone():
        nonlocal number
        append(producer, [number])
        number += 1
        return first_offset(node) > 0

    checks.eventually("spec 19.96: what was confirmed goes after its stream's time", short_one_gone)
    checks.equal(
        "spec 19.96: each stream is kept for its own time, and what was confirmed is there until then",
        (numbers(node.peek(stream=OTHER_STREAM)), numbers(node.peek())[0] > 0), (list(range(40)), True))
    node.stop()


def strict(checks, site):
    """A sil_strict log that is full, and a clock that is a year ahead."""
    clock = SteppedClock(site.directory / "clock", build(site.directory))
    wrapper = ["env", *(f"{name}={value}" for name, value in clock.environment.items())]
    node, absent = site.node("plant-a", name="strict"), site.node("idmz")
    node.profile = absent.profile = "sil_strict"
    node.stream_options = {"capacity": "8MiB", "segment": "1MiB"}
    node.client("producer-1")
    node.grant(absent)
    node.start(wrapper)
    producer = Caller(node, site.certificate("producer-1", name="strict"))
    stored, refusal = append_until_refused(producer)
    node.stop()
    producer.close()
    clock.step_to(300 * 86_400)
    node.start(wrapper)
    again = producer.append(message(stored + 1))
    checks.equal(
        "spec 19.92: in sil_strict nothing unconfirmed goes, by size or by age",
        (refusal is not None, again.reason, numbers(node.peek()),
         node.stream_status().get("gaps", [])), (True, "backpressure", list(range(stored)), []))
    wait_until("the line", lambda: events(node, "alarm_raised"))
    checks.equal(
        "spec 19.93: and that it is full is an alert",
        {line.get("alert") for line in events(node, "alarm_raised")}, {"StoreFillHigh"})
    node.stop()


def test(checks):
    with Site() as site:
        for name, part in (("expiring", expiring), ("classes", classes)):
            with checks.guard(name):
                part(checks, site)
        if not compiler():
            checks.skip("sil_strict by age", "there is no C compiler for the clock")
            return
        with checks.guard("strict"):
            strict(checks, site)


if __name__ == "__main__":
    main(test)

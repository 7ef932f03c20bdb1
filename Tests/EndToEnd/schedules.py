#!/usr/bin/env python3
"""Random schedules over two and three real nodes in network namespaces: all of them produce on one stream while cables,
connections, clocks and processes fail; then everything is healed and the logs are compared fact by fact.

    BSFG=path schedules.py                       a few fixed seeds and one random one
    BSFG=path schedules.py --schedules 200       as many, with random seeds (--first-seed N: N, N+1, ...)
    BSFG=path schedules.py --seed N              one again; --plan only says what it would do
    BSFG=path schedules.py --hard ...            logs that fill up, longer faults, more of them, more kills
    BSFG=path schedules.py --state FILE ...      adds to what earlier runs of the file found

Needs root for namespaces, and a C compiler for the library that steps a node's clock.
"""

import argparse
import random
import signal
import sys
import time
from email.utils import parsedate_to_datetime

from schedule import namespaces, stepped_clock
from schedule.bites import faults_bite
from schedule.field import Field
from schedule.oracle_check import oracle_notices
from schedule.plan import Plan
from schedule.run import ScheduleRun
from schedule.tally import HITS_MINIMUM, Tally
from schedule.zones import ZoneCaller
from support import fact, main

# Between them two and three nodes, every step and every kind of fault.
SHORT = (485, 440, 184)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--schedules", type=int, help="how many, with random seeds")
    parser.add_argument("--first-seed", type=int, help="the seeds from this one on instead")
    parser.add_argument("--seed", type=int, help="one schedule again")
    parser.add_argument("--hard", action="store_true", help="logs that fill up, longer faults, more kills")
    parser.add_argument("--plan", action="store_true", help="only print what would be done")
    parser.add_argument("--state", help="a file that several runs add up in")
    return parser.parse_args()


def seeds(options):
    if options.seed is not None:
        return [options.seed]
    chance = random.SystemRandom()
    if options.schedules is None:
        return [*SHORT, chance.randrange(1 << 32)]
    if options.first_seed is not None:
        return list(range(options.first_seed, options.first_seed + options.schedules))
    return [chance.randrange(1 << 32) for _ in range(options.schedules)]


def clock_bites(checks, field):
    """The preloaded library reaches a node: what it appends after a step carries the stepped time."""
    node = field.nodes["plant-a"]
    field.calm()
    node.clear()
    node.client(field.identity, roles=("producer",))
    node.launch()
    caller = ZoneCaller(node, field.certificate)
    for number, hours in enumerate((0, -7, 5)):
        node.clock.step_to(hours * 3_600)
        answer = caller.append(fact(f"clock-{number}", zone=node.zone))
        if not answer.ok:
            raise RuntimeError(f"{answer!r}")
        told = parsedate_to_datetime(answer.headers["date"]).timestamp()
        checks.check(
            f"clock: a step of {hours} h is what the node sees",
            abs(told - time.time() - hours * 3_600) < 600, answer.headers["date"])
    # Times of appending never go back, but forwards they follow.
    appended = int(node.peek()[-1]["appendedAtUnixMs"]) / 1_000
    checks.check(
        "clock: a fact is appended at the stepped time",
        abs(appended - time.time() - 5 * 3_600) < 600, appended)
    caller.close()


def one(checks, plan, field, tally):
    print(plan, flush=True)
    result = ScheduleRun(plan, field).run()
    tally.add(result)
    print(
        f"  ended at {', '.join(result.steps) or 'no step'}; {result.kills} kills, "
        f"{result.unanswered} batches again; {result.compared} records compared; {result.seconds:.1f} s",
        flush=True)
    checks.check(f"schedule {plan.seed}", not result.wrong, "; ".join(result.wrong))


def test(checks):
    options = arguments()
    chosen = seeds(options)
    if options.plan:
        for seed in chosen:
            print(Plan(seed, options.hard))
        return checks.check("the plans are printed", True)
    oracle_notices(checks)
    reason = namespaces.why_not() or (None if stepped_clock.compiler() else "there is no C compiler")
    if reason:
        return checks.skip("random schedules over real nodes", reason)
    # Whoever ends the run has its nodes and namespaces removed too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tally = Tally(options.state)
    with Field(chosen[0]) as field:
        with checks.guard("clock"):
            clock_bites(checks, field)
        with checks.guard("faults"):
            faults_bite(checks, field)
        for seed in chosen:
            with checks.guard(f"schedule {seed}"):
                one(checks, Plan(seed, options.hard), field, tally)
    print(tally.table(), flush=True)
    for step in tally.missed():
        checks.check(f"{step} was met {HITS_MINIMUM} times", False, tally.steps[step])
    return None


if __name__ == "__main__":
    main(test)

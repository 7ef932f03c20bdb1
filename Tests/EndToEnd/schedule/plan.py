"""A schedule as its seed decides it: who is there, what is produced, what goes wrong and when. Nothing here touches
a node, so that a seed can be printed and read without running it."""

import random

STEPS = (
    "served", "received", "quarantined", "committed", "confirm_sent", "cursor_durable", "truncated")
THREE = ("plant-a", "idmz", "enterprise")
TWO = ("plant-a", "enterprise")
FACTS_MINIMUM = 10_000
FAULTS_MINIMUM = 3
HOUR = 3_600


class Fault:
    """One thing that goes wrong when a share of the facts is acknowledged, and is undone after some seconds."""

    def __init__(self, kind, at, seconds, **details):
        self.kind = kind
        self.at = at
        self.seconds = seconds
        self.details = details

    def __str__(self):
        details = " ".join(str(value) for value in self.details.values())
        return f"{self.kind} {details} {self.seconds:.1f}s@{self.at:.0%}"


class ZonePlan:
    def __init__(self, zone):
        self.zone = zone
        self.facts = 0
        self.bytes_range = (0, 0)
        self.batch_range = (0, 0)
        self.poison = 0
        # The steps that the node is started with, one life after the other: (step, number).
        self.fault_points = []
        self.truncates_forward = False


class Plan:
    """
    `is_hard`: more and larger facts than the logs have room for while a peer is away, longer faults, connections that
    are forgotten on the way, nodes that end again and again.
    """

    def __init__(self, seed, is_hard=False):
        self.seed = seed
        self.is_hard = is_hard
        chance = random.Random(f"schedule {seed}")
        self.zone_names = THREE if chance.random() < 0.75 else TWO
        self.notifies = chance.random() < 0.5
        self.compresses = chance.random() < 0.3
        # How long producing takes, so that what goes wrong meets it.
        self.production_seconds = chance.uniform(2.0, 3.5)
        self.zones = {zone: ZonePlan(zone) for zone in self.zone_names}
        self._produce(chance)
        self._choose_fault_points(chance)
        self.faults = self._faults(chance)

    @property
    def cables(self):
        names = self.zone_names
        return [(names[index], names[index + 1]) for index in range(len(names) - 1)]

    @property
    def routes(self):
        """(receiver, origin) to the zone that it is pulled from: the next one on the way."""
        names = self.zone_names
        return {
            (receiver, origin): names[at + (1 if names.index(origin) > at else -1)]
            for at, receiver in enumerate(names) for origin in names if origin != receiver}

    def tells_apart_by_content(self, zone):
        """A second fact of one id is poison to those only who tell facts apart by their id, and somebody has to take
        it from its producer."""
        return self.zones[zone].poison > 0

    def turned_by(self, origin, receiver):
        """Who on the way turns a poison fact of `origin` into a notice; None where it arrives as it is."""
        names = self.zone_names
        first, last = names.index(origin), names.index(receiver)
        step = 1 if last > first else -1
        return next(
            (names[at] for at in range(first + step, last + step, step)
             if not self.tells_apart_by_content(names[at])), None)

    @property
    def facts(self):
        return sum(zone.facts for zone in self.zones.values())

    def _produce(self, chance):
        total = FACTS_MINIMUM + chance.randint(0, 1_000)
        weights = [chance.uniform(1, 3) for _ in self.zones]
        for zone, weight in zip(self.zones.values(), weights):
            zone.facts = int(total * weight / sum(weights)) + 1
            low = chance.randint(20, 200)
            zone.bytes_range = (low, low + chance.randint(0, 600))
            if self.is_hard:
                zone.bytes_range = (1_800, 2_600)
            size = chance.choice((60, 150, 300))
            zone.batch_range = (1, 2 * size)
        if len(self.zones) == 3 and chance.random() < 0.4:
            self.zones["idmz"].truncates_forward = True
        for name in self.zone_names:
            if chance.random() < 0.4:
                self.zones[name].poison = chance.randint(1, 3)

    def _choose_fault_points(self, chance):
        for zone in self.zones.values():
            meets_poison = any(
                self.zones[origin].poison and self.turned_by(origin, zone.zone) == zone.zone
                for origin in self.zone_names if origin != zone.zone)
            for _ in range(chance.choice((1, 2, 3) if self.is_hard else (0, 1, 1, 1, 2))):
                # Steps that few schedules can meet are taken more often where they can.
                weights = {step: 1.0 for step in STEPS}
                weights["quarantined"] = 4.0 if meets_poison else 0.0
                weights["truncated"] = 2.0
                step = chance.choices(list(weights), list(weights.values()))[0]
                number = 1 if step in ("quarantined", "truncated") else chance.randint(1, 8)
                zone.fault_points.append((step, number))
                if step == "truncated" and not self.is_hard:
                    # Several segments of the least size.
                    zone.bytes_range = (1_200, 1_800)

    def _faults(self, chance):
        kinds = (
            self._link_down, self._blackhole, self._one_way, self._rate, self._delay, self._loss,
            self._reset, self._half_close, self._hold, self._clock, self._kill, self._drill)
        if self.is_hard:
            kinds += (self._forgotten,)
        count = chance.choice((5, 6, 7) if self.is_hard else (FAULTS_MINIMUM, FAULTS_MINIMUM, 4, 5, 6))
        faults = [
            kind(chance, chance.uniform(0.03, 0.95), self._seconds(chance))
            for kind in chance.sample(kinds, count)]
        return sorted(faults, key=lambda fault: fault.at)

    def _seconds(self, chance):
        """Mostly short; some are long enough for gates to close and breakers to wait."""
        if self.is_hard:
            return chance.uniform(0.5, 7)
        return chance.uniform(0.2, 1.2) if chance.random() < 0.85 else chance.uniform(1.5, 4.0)

    # Each of a cable is of a random one, in a random direction.

    def _way(self, chance):
        left, right = chance.choice(self.cables)
        return {"near": left, "far": right} if chance.random() < 0.5 else {"near": right, "far": left}

    def _link_down(self, chance, at, seconds):
        return Fault("link down", at, seconds, **self._way(chance))

    def _blackhole(self, chance, at, seconds):
        return Fault("blackhole both ways", at, seconds, **self._way(chance))

    def _one_way(self, chance, at, seconds):
        return Fault("blackhole one way", at, seconds, **self._way(chance))

    def _rate(self, chance, at, seconds):
        return Fault("rate", at, seconds, **self._way(chance), kilobits=chance.choice((256, 1_000, 4_000)))

    def _delay(self, chance, at, seconds):
        return Fault("delay", at, seconds, **self._way(chance), delay=chance.choice((0.02, 0.1, 0.3)))

    def _loss(self, chance, at, seconds):
        return Fault("loss", at, seconds, **self._way(chance), loss=chance.choice((0.02, 0.1, 0.4)))

    def _reset(self, chance, at, seconds):
        return Fault("reset", at, seconds, **self._way(chance), times=chance.randint(1, 4))

    def _half_close(self, chance, at, seconds):
        return Fault("half close", at, seconds, **self._way(chance), half_close=chance.choice(("up", "down")))

    def _hold(self, chance, at, seconds):
        return Fault("hold", at, seconds, **self._way(chance))

    def _forgotten(self, chance, at, seconds):
        return Fault("forgotten connections", at, seconds, **self._way(chance))

    def _clock(self, chance, at, seconds):
        hours = chance.choice((-20, -2, -0.01, 0.01, 1, 12, 23))
        return Fault(
            "clock step", at, seconds, zone=chance.choice(self.zone_names), hours=hours,
            end=chance.choice(("stays", "back")))

    def _kill(self, chance, at, seconds):
        return Fault("kill -9", at, seconds, zone=chance.choice(self.zone_names))

    def _drill(self, chance, at, seconds):
        (receiver, origin), source = chance.choice(sorted(self.routes.items()))
        return Fault("redelivery", at, 0, zone=receiver, peer=source, origin=origin, count=chance.randint(1, 5_000))

    def __str__(self):
        lines = [
            f"seed {self.seed}{' (hard)' if self.is_hard else ''}: {' - '.join(self.zone_names)}, {self.facts} facts in "
            f"{self.production_seconds:.1f} s"
            + (", notices" if self.notifies else "") + (", lz4" if self.compresses else "")]
        for zone in self.zones.values():
            lines.append(
                f"  {zone.zone}: {zone.facts} facts, {zone.poison} poison"
                + (", relayed facts go when confirmed" if zone.truncates_forward else "")
                + ("".join(f", to end at {step}:{number}" for step, number in zone.fault_points)))
        lines.append("  " + ", ".join(map(str, self.faults)))
        return "\n".join(lines)

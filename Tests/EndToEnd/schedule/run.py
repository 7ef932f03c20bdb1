"""One schedule, from empty logs to the judgement about them."""

import random
import time

from schedule.faults import Faults
from schedule.oracle import Oracle, quarantine_of
from schedule.production import Production, make
from support import PATIENCE, STREAM

TICK_SECONDS = 0.03


class Result:
    def __init__(self, seed):
        self.seed = seed
        self.wrong = []
        # Names of the steps at which a node ended, once for each.
        self.steps = []
        self.faults = []
        self.kills = 0
        self.facts = 0
        self.compared = 0
        self.repeated = 0
        self.unanswered = 0
        self.poison = 0
        self.seconds = 0.0


class ScheduleRun:
    """Nodes, cables and relays belong to the whole run; logs and faults to this schedule."""

    def __init__(self, plan, field):
        self.plan = plan
        self.field = field
        self.chance = random.Random(f"run {plan.seed}")
        self.nodes = {zone: field.nodes[zone] for zone in self.plan.zone_names}
        self.faults = Faults(field.network, field.relays, self.nodes)
        self.productions = {}
        self.result = Result(plan.seed)
        # Zone to the fault points that its next lives end at.
        self.fault_points = {
            zone: list(plan.fault_points) for zone, plan in self.plan.zones.items()}
        # Zone to when it is started again.
        self.restarts = {}

    def run(self):
        began = time.monotonic()
        self.field.calm()
        try:
            self._configure()
            for node in self.nodes.values():
                self._launch(node)
            self._produce()
            self._play()
            self._settle()
            self._judge()
        except (RuntimeError, TimeoutError, OSError) as error:
            self.result.wrong.append(f"{type(error).__name__}: {error}")
        finally:
            for production in self.productions.values():
                production.stop()
            if self.result.wrong:
                self.field.keep(self.plan.seed)
            self.field.calm()
        self.result.seconds = time.monotonic() - began
        return self.result

    # Preparing

    def _configure(self):
        plan = self.plan
        others = {"notify": plan.notifies}
        if plan.compresses:
            others["compression"] = "lz4"
        for zone, node in self.nodes.items():
            node.clear()
            zone_plan = plan.zones[zone]
            node.capacity, node.segment = "8MiB" if plan.is_hard else "64MiB", "1MiB"
            # What is confirmed goes soon; what nobody reads on stays.
            forward = {"retention": "200ms" if zone_plan.truncates_forward else "3650d"}
            if plan.is_hard and not zone_plan.truncates_forward:
                forward["capacity"] = "64MiB"
            node.stream_options = {
                "retention": "200ms",
                "forward": forward,
                # The poison is a second fact of one id, which a log that tells facts apart by their content takes.
                "idempotency": "content" if plan.tells_apart_by_content(zone) else "message_id",
            }
            node.client(self.field.identity, roles=("producer",))
            node.zones = [other for other in plan.zone_names if other != zone]
            for other in self._neighbours(zone):
                granted = [
                    origin for (receiver, origin), source in plan.routes.items()
                    if receiver == other and source == zone]
                node.grant(
                    self.nodes[other], origins=granted,
                    address=self.field.network.addresses[other, zone],
                    port=self.field.relays.port(zone, other), **others)
                node.zones.remove(other)
            for (receiver, origin), source in plan.routes.items():
                if receiver == zone:
                    node.pull(self.nodes[source], origin=origin)

    def _neighbours(self, zone):
        return [
            end for cable in self.plan.cables if zone in cable for end in cable if end != zone]

    def _launch(self, node):
        points = self.fault_points[node.zone]
        node.launch(points.pop(0) if points else None)

    def _produce(self):
        for zone, plan in self.plan.zones.items():
            chance = random.Random(f"facts {self.plan.seed} {zone}")
            facts = make(zone, plan.facts, plan.bytes_range, plan.poison, chance)
            production = Production(
                self.nodes[zone], self.field.certificate, facts, plan.batch_range, 0.0, chance)
            production.pause_seconds = self.plan.production_seconds / len(production.batches)
            self.productions[zone] = production
            self.result.facts += len(facts)
            self.result.poison += plan.poison
        for production in self.productions.values():
            production.start()

    # What goes wrong

    def _play(self):
        """Until everything is acknowledged and every fault was begun and undone."""
        waiting, under_way = list(self.plan.faults), []
        deadline = time.monotonic() + 4 * PATIENCE
        while waiting or under_way or not all(found.is_done for found in self.productions.values()):
            now = time.monotonic()
            if now > deadline:
                raise TimeoutError(
                    "the producers did not come to an end: " + ", ".join(
                        f"{zone} {found}" for zone, found in self.productions.items()))
            for zone, production in self.productions.items():
                if production.wrong:
                    raise RuntimeError(f"answers at {zone}: {production.wrong[0]}")
            share = min(found.share for found in self.productions.values())
            while waiting and waiting[0].at <= share:
                fault = waiting.pop(0)
                self.faults.begin(fault, self._kill)
                self.result.faults.append(fault.kind)
                under_way.append((now + fault.seconds, fault))
            for entry in [entry for entry in under_way if entry[0] <= now]:
                under_way.remove(entry)
                self.faults.end(entry[1])
            self._tend()
            time.sleep(TICK_SECONDS)

    def _kill(self, zone, seconds):
        """SIGKILL from outside, unless the node ended at its step just now."""
        node = self.nodes[zone]
        if zone in self.restarts or self._noticed_end(node):
            return
        node.kill()
        self.result.kills += 1
        self.restarts[zone] = time.monotonic() + seconds

    def _noticed_end(self, node):
        point = node.fault_point
        if not node.take_end():
            return False
        self.result.steps.append(point[0])
        self.restarts[node.zone] = time.monotonic() + self.chance.uniform(0, 0.3)
        return True

    def _tend(self):
        """Nodes that ended at their step, or were killed, come back."""
        for zone, node in self.nodes.items():
            if zone not in self.restarts:
                self._noticed_end(node)
            elif time.monotonic() >= self.restarts[zone]:
                del self.restarts[zone]
                self._launch(node)

    # The end

    def _settle(self):
        """Everything healed; a node that did not come to its step meanwhile is killed and goes on without one."""
        self.field.heal()
        self._wait_until_settled()
        for zone, node in self.nodes.items():
            self.fault_points[zone] = []
            if zone in self.restarts or self._noticed_end(node):
                del self.restarts[zone]
                self._launch(node)
            elif node.fault_point is not None:
                self._kill(zone, 0)
                del self.restarts[zone]
                self._launch(node)
        self._wait_until_settled()

    def _wait_until_settled(self):
        deadline = time.monotonic() + 2 * PATIENCE
        while True:
            self._tend()
            state = self._state()
            if state is None:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not settled: {state}")
            time.sleep(0.05)

    def _state(self):
        """Why not everybody has everything, confirmed to its source; None when they have."""
        if self.restarts:
            return f"{sorted(self.restarts)} about to be started"
        try:
            statuses = {zone: node.status() for zone, node in self.nodes.items()}
        except (OSError, RuntimeError) as error:
            return str(error)
        heads = {
            (zone, found["origin"]): int(found.get("headOffset", 0))
            for zone, status in statuses.items() for found in status["streams"]}
        cursors = {
            (zone, found["name"]): int(found.get("nextOffset", 0))
            for zone, status in statuses.items() for found in status.get("consumers", [])}
        for (receiver, origin), source in self.plan.routes.items():
            head = len(self.productions[origin].facts)
            reached = heads.get((receiver, origin))
            confirmed = cursors.get((source, f"{receiver}/{STREAM}/{origin}"))
            if (reached, confirmed) != (head, head):
                pull = [
                    found for found in statuses[receiver].get("pulls", [])
                    if found["origin"] == origin]
                return (
                    f"{receiver} has {reached} of the {head} facts of {origin} and {source} knows of "
                    f"{confirmed}; {pull}")
        return None

    def _judge(self):
        oracle = Oracle(self.plan, self.nodes, self.productions)
        oracle.look_at_answers()
        oracle.look_at_quarantines({zone: quarantine_of(node) for zone, node in self.nodes.items()})
        for zone, node in self.nodes.items():
            # Most are gone from one moment to the next, some are asked to end.
            if self.chance.random() < 0.2:
                code = node.stop()
                if code != 0:
                    self.result.wrong.append(f"{zone} was asked to end and did with {code}")
            node.kill()
        oracle.look_at_logs()
        result = self.result
        result.wrong += oracle.found
        result.compared = oracle.compared
        result.repeated = sum(found.repeated for found in self.productions.values())
        result.unanswered = sum(found.unanswered for found in self.productions.values())

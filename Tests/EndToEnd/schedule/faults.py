"""Does what a plan says to the network, the clocks and the processes, and undoes it."""


class Faults:
    def __init__(self, network, relays, nodes):
        self.network = network
        self.relays = relays
        self.nodes = nodes

    def begin(self, fault, kill):
        """`kill(zone, seconds)` ends a node for a while."""
        details = fault.details
        near, far = details.get("near"), details.get("far")
        match fault.kind:
            case "link down":
                self.network.pull_out(near, far, True)
            case "blackhole both ways":
                self.network.swallow(near, far, True)
                self.network.swallow(far, near, True)
            case "blackhole one way":
                self.network.swallow(near, far, True)
            case "rate":
                self.network.slow(near, far, details["kilobits"])
            case "delay" | "loss" | "half close":
                name = fault.kind.replace(" ", "_")
                self.relays.tell(near, far, **{name: details[name]})
            case "reset":
                for _ in range(details["times"]):
                    self.relays.tell(near, far, reset=True)
            case "hold":
                self.relays.tell(near, far, holds=True)
            case "forgotten connections":
                self.relays.tell(near, far, forgets=True)
            case "clock step":
                clock = self.nodes[details["zone"]].clock
                clock.step_to(clock.seconds + details["hours"] * 3_600)
            case "kill -9":
                kill(details["zone"], fault.seconds)
            case "redelivery":
                self._redeliver(details)
            case other:
                raise ValueError(f"there is no fault {other}")

    def end(self, fault):
        details = fault.details
        near, far = details.get("near"), details.get("far")
        match fault.kind:
            case "link down":
                self.network.pull_out(near, far, False)
            case "blackhole both ways" | "blackhole one way":
                self.network.swallow(near, far, False)
                self.network.swallow(far, near, False)
            case "rate":
                self.network.slow(near, far, None)
            case "delay" | "loss" | "half close" | "hold":
                self.relays.tell(near, far, heal=True)
            case "clock step" if details["end"] == "back":
                clock = self.nodes[details["zone"]].clock
                clock.step_to(clock.seconds - details["hours"] * 3_600)

    def _redeliver(self, details):
        """The duplicate drill; refused where the pull does not run just then."""
        node = self.nodes[details["zone"]]
        try:
            node.admin("Redeliver", {
                "peer": details["peer"], "origin": details["origin"], "count": str(details["count"])})
        except OSError:
            pass  # the node is down at this moment

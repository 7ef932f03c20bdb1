/// Artifacts, and what has to be seen and written down.
extension HandoffCriteria {
    var artifacts: Criterion {
        let name = "artifacts"
        let isEnabled = evidence.plan.grants.contains { !$0.artifacts.isEmpty }
        guard isEnabled || !evidence.isPeerSeen else {
            return .notChecked(
                name, Self.section, "neither side grants artifacts to the other", required: false)
        }
        let pairs = [(evidence.latestOurs, evidence.peer)]
            + (evidence.latestTheirs.map { [($0, evidence.ours.zone)] } ?? [])
        let foreign = pairs.flatMap { holder, zone in
            holder.artifacts.filter { $0.zone.utf8.elementsEqual(zone.utf8) }
        }
        if let lost = foreign.first(where: { $0.state == "missing" || $0.state == "not_granted" }) {
            return failed(
                name, "\(lost.zone)/\(lost.name), to which a received fact refers, is \(lost.state)",
                "bsfg artifact pending")
        }
        if let waiting = foreign.first(where: { $0.state != "stored" }) {
            return open(
                name, "\(waiting.zone)/\(waiting.name) is \(waiting.state)", "bsfg artifact pending")
        }
        if let (holder, _) = pairs.first(where: { !$0.0.hasWhole(.artifacts) }) {
            return open(
                name, "\(holder.zone) has more artifacts than were looked at; nothing says that all are here",
                "bsfg artifact pending, on \(holder.zone)")
        }
        let storedCount = pairs.reduce(UInt64(0)) { sum, pair in sum &+ pair.0.storedCount(of: pair.1) }
        guard storedCount > 0 else {
            return .notChecked(
                name, Self.section, "no received fact refers to an artifact", required: isEnabled)
        }
        return passed(
            name, "\(storedCount) artifacts that facts refer to are here, with the digests of the facts")
    }

    var visibility: Criterion {
        if let staleness = evidence.staleness { return stale("visibility", staleness) }
        guard evidence.theirs != nil else {
            return open(
                "visibility", "lag, backlog and refusals are shown by our node; the peer's were not seen",
                "--peer-admin SOCKET, or --evidence FILE")
        }
        return passed(
            "visibility", "both nodes show replication lag, backlog and refused callers (bsfg status)")
    }

    var initDocumented: Criterion {
        let name = "init_documented"
        if let flow = evidence.plan.unjustified.first {
            return failed(
                name,
                "\(flow.stream) of \(flow.origin) to \(flow.receiver) begins with \(flow.initMode) and does "
                    + "not say why",
                "add justification to its entry in cursors.yaml of \(flow.receiver)")
        }
        if let staleness = evidence.staleness { return stale(name, staleness) }
        guard evidence.plan.isPeerKnown else {
            return open(
                name, "what the peer pulls was not seen", "--peer-admin SOCKET, or --evidence FILE")
        }
        return passed(
            name,
            evidence.plan.flows.map { "\($0.stream) of \($0.origin) to \($0.receiver): \($0.initMode)" }
                .joined(separator: "; "))
    }

    var matrixDocumented: Criterion {
        if let staleness = evidence.staleness { return stale("matrix_documented", staleness) }
        guard evidence.plan.isPeerKnown else {
            return open(
                "matrix_documented", "what the peer grants was not seen",
                "--peer-admin SOCKET, or --evidence FILE")
        }
        return passed("matrix_documented", "both sides' grants are in this report")
    }
}

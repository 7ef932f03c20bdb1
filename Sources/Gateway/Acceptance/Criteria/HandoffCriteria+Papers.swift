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
        let name = "visibility"
        if let staleness = evidence.staleness { return stale(name, staleness) }
        guard let theirs = evidence.latestTheirs else {
            return open(
                name, "lag, backlog and refusals of \(evidence.peer) were not seen",
                "--peer-admin SOCKET, or --evidence FILE")
        }
        guard !evidence.flows.isEmpty else {
            return open(name, "neither side pulls from the other: no lag and no backlog is there to be shown")
        }
        for flow in evidence.flows {
            guard flow.pull.sourceHeadOffset != nil else {
                return open(
                    name, "\(flow.receiver.zone) does not show how far \(flow.name) is behind its source",
                    "bsfg status, on \(flow.receiver.zone)")
            }
            let (stream, origin) = (flow.pull.stream, flow.pull.origin)
            guard let source = flow.source,
                source.reader(zone: flow.receiver.zone, stream: stream, origin: origin) != nil,
                source.log(stream: stream, origin: origin) != nil
            else {
                return open(
                    name, "\(flow.source?.zone ?? evidence.peer) does not show the backlog of \(flow.name)",
                    "bsfg status, on \(flow.source?.zone ?? evidence.peer)")
            }
        }
        if let node = [evidence.latestOurs, theirs].first(where: { $0.refusals == nil }) {
            return open(
                name, "\(node.zone) does not say whom it refused", "bsfg status, on \(node.zone)")
        }
        let shown = "both nodes show how far each pull is behind and what each reader has still to take; "
        guard let before = evidence.theirs, let after = evidence.theirsAfter else {
            guard theirs.refusedCount > 0 else {
                return open(
                    name, "the evidence of \(evidence.peer) was written before anybody was refused there",
                    "bsfg peer deny-test \(evidence.peer), then export the evidence again")
            }
            return passed(name, shown + "\(evidence.peer) shows \(theirs.refusedCount) refused callers")
        }
        let caused = evidence.denials.count { $0.verdict == .refused && $0.isOfCaller }
        guard caused > 0 else {
            return open(
                name, "nobody was refused in this run, so that no refusal could be seen",
                "bsfg peer deny-test \(evidence.peer)")
        }
        let counted = after.refusedCount - min(after.refusedCount, before.refusedCount)
        guard counted >= UInt64(caused) else {
            return open(
                name,
                "\(caused) callers were refused, and \(evidence.peer) shows \(counted) of them: either who "
                    + "refused is not the node of --peer-admin, or it does not count them",
                "bsfg status, on \(evidence.peer)")
        }
        return passed(
            name, shown + "\(evidence.peer) counted the \(caused) callers who were refused in this run")
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

/// Where positions and cursors stand: they rise, and both sides say the same of them.
extension HandoffCriteria {
    var cursor: Criterion {
        let name = "cursor"
        for flow in evidence.flows {
            if flow.isBlocked(by: Self.historyReasons) {
                guard flow.isOfNow else { return then(name, flow) }
                return failed(
                    name, "\(flow.name), \(flow.pull.reason): \(flow.pull.sentence)",
                    "bsfg peer accept-history, once it is known which side went back")
            }
            if let problem = wentBack(flow) ?? beyond(flow) ?? disagreement(flow) ?? stands(flow) {
                return failed(name, problem)
            }
        }
        guard evidence.theirsAfter != nil else {
            return open(
                name,
                evidence.latestTheirs == nil
                    ? "where the cursors at \(evidence.peer) stand was not seen"
                    : "no cursor was compared: a file of \(evidence.peer) is of another moment than what our "
                        + "node says", "--peer-admin SOCKET")
        }
        if let flow = evidence.flows.first(where: { $0.pull.nextOffset == nil || $0.storedCount == 0 }) {
            return open(
                name, "nothing of \(flow.name) was stored and confirmed yet", "append a fact there and accept again")
        }
        // Within what came meanwhile a cursor may lag, but only where both then agreed on what there was before.
        if let unsettled = evidence.unsettledAtEnd {
            return open(
                name, "the two did not agree when they were looked at last: \(unsettled)",
                "bsfg cursor query --peer \(evidence.peer), then accept again")
        }
        if let flow = evidence.flows.first(where: { !isComparable($0) }) {
            return open(
                name, "the cursor of \(flow.name) was not compared: its source still has something to tell",
                "accept again when both are at rest")
        }
        let risen = evidence.flows.filter { drilledCount($0) > 0 }
        guard evidence.flows.contains(where: beginsAtSource) else {
            return open(
                name, "all that crosses here began elsewhere, so that the drill moves no position: watch one rise, and "
                    + "answer for it", "--waive cursor=REASON")
        }
        guard !risen.isEmpty else {
            return open(
                name, "no position was seen to rise: the drill appended nothing that one takes from the other",
                "bsfg federation drill --peer \(evidence.peer) --peer-admin SOCKET")
        }
        return passed(
            name,
            "\(risen.map(\.name).joined(separator: ", ")) rose by what the drill appended, no position went "
                + "back, and each source's cursor stands where the receiver's log does")
    }

    /// Whether the pull's facts are its source's own, as those of a drill are.
    private func beginsAtSource(_ flow: AcceptanceEvidence.Flow) -> Bool {
        let isOurs = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
        return flow.pull.origin.utf8.elementsEqual((isOurs ? evidence.peer : evidence.ours.zone).utf8)
    }

    /// Facts of the drill that a pull has to bring.
    private func drilledCount(_ flow: AcceptanceEvidence.Flow) -> UInt64 {
        let isOurs = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
        let source = isOurs ? evidence.peer : evidence.ours.zone
        let appends = isOurs ? evidence.partition?.peerAppends : evidence.partition?.ownAppends
        guard let appends, flow.pull.origin.utf8.elementsEqual(source.utf8),
            flow.pull.stream.utf8.elementsEqual(appends.stream.utf8)
        else { return 0 }
        return UInt64(max(0, appends.count))
    }

    /// A position that the drill had to move, and that is where it was. Where the two do not agree again it is
    /// the recovery that failed.
    private func stands(_ flow: AcceptanceEvidence.Flow) -> String? {
        let count = drilledCount(flow)
        guard count > 0, let record = evidence.partition, record.isSettledAfter else { return nil }
        let isOurs = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
        let source = isOurs ? evidence.peer : evidence.ours.zone
        let before = (isOurs ? record.before : record.peerBefore)?
            .pull(peer: source, stream: flow.pull.stream, origin: flow.pull.origin)
        // A file does not say where the peer stood afterwards.
        guard isOurs || evidence.theirsAfter != nil, let before, let now = flow.pull.nextOffset else {
            return nil
        }
        let was = before.nextOffset ?? 0
        guard now - min(now, was) < count else { return nil }
        return "\(flow.name) stood at \(was) before \(count) facts were appended at \(source), and is at "
            + "\(now) now"
    }

    /// What the source had confirmed when we began, the receiver has to have by now.
    private func beyond(_ flow: AcceptanceEvidence.Flow) -> String? {
        let isOurs = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
        // Since a file was written its node went on.
        guard isOurs || evidence.theirsAfter != nil else { return nil }
        let earlier = isOurs ? evidence.seenTheirs : evidence.ours
        let reader = earlier?.reader(
            zone: flow.receiver.zone, stream: flow.pull.stream, origin: flow.pull.origin)
        guard let earlier, let reader, let next = flow.pull.nextOffset, reader.nextOffset > next else {
            return nil
        }
        return "\(earlier.zone) believes \(flow.name) confirmed up to \(reader.nextOffset), the receiver "
            + "has \(next)"
    }

    private func wentBack(_ flow: AcceptanceEvidence.Flow) -> String? {
        let isOurs = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
        let earlier = isOurs ? evidence.ours : evidence.seenTheirs
        let source = isOurs ? evidence.peer : evidence.ours.zone
        guard
            let before = earlier?.pull(
                peer: source, stream: flow.pull.stream, origin: flow.pull.origin),
            let was = before.nextOffset, let now = flow.pull.nextOffset
        else { return nil }
        return now < was ? "\(flow.name) went back from \(was) to \(now)" : nil
    }

    private func disagreement(_ flow: AcceptanceEvidence.Flow) -> String? {
        // A file says where its node stood at another moment.
        guard evidence.theirsAfter != nil else { return nil }
        guard let next = flow.pull.nextOffset, next > 0, let source = flow.source else { return nil }
        guard
            let reader = source.reader(
                zone: flow.receiver.zone, stream: flow.pull.stream, origin: flow.pull.origin)
        else { return "\(source.zone) keeps no cursor for \(flow.name)" }
        guard reader.detached.isEmpty else {
            return "the cursor of \(flow.name) at \(source.zone) is detached: \(reader.detached)"
        }
        guard isComparable(flow), reader.nextOffset != next else { return nil }
        // Producers go on, and the two were looked at one after the other: what the receiver had when the drill was
        // over its source knows by now, and nobody confirms what is not there.
        if let had = hadAfterDrill(flow) {
            // The peer is looked at after us.
            let isReceiverFirst = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
            let head = source.log(stream: flow.pull.stream, origin: flow.pull.origin)?.headOffset ?? 0
            let end = isReceiverFirst ? max(next, head) : next
            guard reader.nextOffset < had || reader.nextOffset > end else { return nil }
        }
        return "\(source.zone) believes \(flow.name) confirmed up to \(reader.nextOffset), the receiver has "
            + "\(next)"
    }

    /// Where a pull stood when both had agreed again after the partition; nil where they did not.
    private func hadAfterDrill(_ flow: AcceptanceEvidence.Flow) -> UInt64? {
        guard let record = evidence.partition, record.isSettledAfter else { return nil }
        let isOurs = flow.receiver.zone.utf8.elementsEqual(evidence.ours.zone.utf8)
        return (isOurs ? record.after : record.peerAfter)?
            .pull(
                peer: isOurs ? evidence.peer : evidence.ours.zone, stream: flow.pull.stream,
                origin: flow.pull.origin)?.nextOffset
    }

    /// A look at two nodes that still have something to tell is of two moments. These two were given their time: a
    /// receiver that has everything has told its source so.
    private func isComparable(_ flow: AcceptanceEvidence.Flow) -> Bool {
        evidence.partition?.isSettledAfter == true
            || flow.source?.log(stream: flow.pull.stream, origin: flow.pull.origin)?.headOffset
                == flow.pull.nextOffset
    }
}

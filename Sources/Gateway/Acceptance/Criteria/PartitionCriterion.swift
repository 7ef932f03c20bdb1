/// Section 8 of the bring-up runbook over what was seen: both sides went on alone, nothing crossed, and
/// afterwards everything did, into the same logs.
struct PartitionCriterion {
    let peer: String
    let record: PartitionRecord

    private static let name = "partition_recovery"
    private static let section = "8"

    func judge() -> Criterion {
        if let problem = before ?? alone ?? crossed ?? recovered ?? continued {
            return .failed(
                Self.name, Self.section, problem, command: "bsfg doctor peer \(peer)")
        }
        let own = record.ownAppends?.count ?? 0
        let other = record.peerAppends.map { ", \($0.count) there" } ?? ""
        let during = "\(own) facts were appended and read here\(other) while the gate was closed, none crossed"
        guard ownReader != nil || record.peerAppends != nil else {
            return .notChecked(
                Self.name, Self.section,
                "\(during); that any did afterwards was not seen: \(peer) takes no stream of ours, and nothing was "
                    + "appended there",
                command: "bsfg federation drill --peer \(peer) --peer-admin SOCKET")
        }
        let afterwards =
            switch (ownReader != nil, record.peerAppends != nil) {
            case (true, true): "all did afterwards, into the same logs"
            case (true, false):
                "\(peer) confirmed all of them afterwards; that it goes on alone as well was not looked at"
            case (false, _): "those from there did afterwards, into the same logs; \(peer) takes none of ours"
            }
        return .passed(Self.name, Self.section, "\(during), and \(afterwards)")
    }

    /// By which the peer takes what was appended here.
    private var ownReader: NodeEvidence.Reader? {
        guard let appends = record.ownAppends, let closed = record.closed else { return nil }
        return Settlement.reader(of: peer, stream: appends.stream, in: closed)
    }

    private var before: String? {
        guard !record.isSettledBefore else { return nil }
        let open = Settlement.unsettled(
            ours: record.before, theirs: record.peerBefore, peer: peer)
        return "the two never agreed before the partition: \(open ?? "one of them is behind")"
    }

    // MARK: - 8.1 to 8.3

    private var alone: String? {
        guard record.closed?.gate(to: peer)?.isClosedByOperator == true else {
            return "the gate to \(peer) did not close"
        }
        guard let own = record.ownAppends else { return "there is no stream to append to here" }
        for (zone, appends) in [(record.before.zone, own)] + (record.peerAppends.map { [(peer, $0)] } ?? []) {
            guard appends.count == FederationDrill.factCount else {
                return "\(zone) took \(appends.count) of \(FederationDrill.factCount) facts in "
                    + "\(appends.stream) without the other side: \(appends.problem ?? "")"
            }
            guard appends.readCount == appends.count else {
                return "\(zone) gave \(appends.readCount) of the \(appends.count) facts that it took in "
                    + "\(appends.stream) to a reader of its own without the other side: \(appends.problem ?? "")"
            }
        }
        return nil
    }

    private var crossed: String? {
        guard let closed = record.closed, let during = record.during else {
            return "the nodes were not looked at while the gate was closed"
        }
        // Ours is exact: the gate said that it closed when no page was on its way.
        for pull in closed.pulls(from: peer) {
            let was = closed.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0
            let now = during.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0
            guard now == was else {
                return "\(now - min(now, was)) facts of \(pull.stream) of \(pull.origin) came to "
                    + "\(closed.zone) through the closed gate"
            }
        }
        // The peer may still have been storing what it got before.
        for pull in record.peerDuring?.pulls(from: closed.zone) ?? [] {
            let end = closed.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0
            guard pull.nextOffset ?? 0 <= end else {
                return "\(pull.stream) of \(pull.origin) went to \(peer) through the closed gate"
            }
        }
        for reader in closed.readers where reader.name.utf8.starts(with: "\(peer)/".utf8) {
            let now = during.readers.first { $0.name.utf8.elementsEqual(reader.name.utf8) }
            guard now?.nextOffset == reader.nextOffset else {
                return "the cursor \(reader.name) moved while the gate was closed"
            }
        }
        return nil
    }

    // MARK: - 8.4 to 8.7

    private var recovered: String? {
        guard let after = record.after else { return "the nodes were not looked at afterwards" }
        guard record.isSettledAfter else {
            let open = Settlement.unsettled(ours: after, theirs: record.peerAfter, peer: peer)
            return "the two did not agree again within the time given: \(open ?? "one of them is behind")"
        }
        if let problem = untaken(after) { return problem }
        guard let appends = record.peerAppends else { return nil }
        let was = record.closed?.log(stream: appends.stream, origin: peer)?.headOffset ?? 0
        let now = after.log(stream: appends.stream, origin: peer)?.headOffset ?? 0
        return now - min(now, was) >= UInt64(appends.count)
            ? nil
            : "\(appends.count) facts were appended at \(peer), \(now - min(now, was)) came"
    }

    /// What was appended here has to be confirmed by whoever takes it, in our own books.
    private func untaken(_ after: NodeEvidence) -> String? {
        guard let reader = ownReader else { return nil }
        let head = record.during?.log(stream: reader.stream, origin: reader.origin)?.headOffset ?? 0
        let now = Settlement.reader(of: peer, stream: reader.stream, in: after)?.nextOffset ?? 0
        guard now < head else { return nil }
        return "\(record.ownAppends?.count ?? 0) facts were appended here, and \(peer) has confirmed \(now) of "
            + "\(head) facts of \(reader.stream) within the time given"
    }

    private var continued: String? {
        let pairs = [(record.before, record.after)]
            + (record.peerBefore.map { [($0, record.peerAfter)] } ?? [])
        for (before, after) in pairs {
            for log in before.logs {
                let name = "\(log.stream) of \(log.origin) in \(before.zone)"
                guard let now = after?.log(stream: log.stream, origin: log.origin) else {
                    return "the log \(name) is gone"
                }
                guard now.identifier.utf8.elementsEqual(log.identifier.utf8), now.epoch == log.epoch
                else { return "the log \(name) is another one than before" }
                guard now.headOffset >= log.headOffset else {
                    return "the log \(name) went back from \(log.headOffset) to \(now.headOffset)"
                }
                guard now.gapCount <= log.gapCount else { return "the log \(name) has a new gap" }
            }
        }
        return nil
    }
}

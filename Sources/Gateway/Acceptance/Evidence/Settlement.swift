/// Whether two nodes have nothing left to tell each other of what they had when they were first looked at.
enum Settlement {
    /// Where each pull between two nodes has to come to: the heads of a first look. What producers append afterwards
    /// is not waited for, or a pair that works would never agree.
    struct Heads {
        private var heads: [[String]: UInt64] = [:]

        init() {}

        /// Those of one look.
        init(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) {
            take(ours: ours, theirs: theirs, peer: peer)
        }

        /// What is known already stays.
        mutating func take(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) {
            for pull in ours.pulls(from: peer) {
                let log = theirs?.log(stream: pull.stream, origin: pull.origin)
                keep(ours.zone, pull.stream, pull.origin, log?.headOffset ?? pull.sourceHeadOffset)
            }
            for pull in theirs?.pulls(from: ours.zone) ?? [] {
                let log = ours.log(stream: pull.stream, origin: pull.origin)
                keep(peer, pull.stream, pull.origin, log?.headOffset ?? pull.sourceHeadOffset)
            }
            for reader in ours.readers where reader.name.utf8.starts(with: "\(peer)/".utf8) {
                let log = ours.log(stream: reader.stream, origin: reader.origin)
                keep(peer, reader.stream, reader.origin, log?.headOffset)
            }
        }

        private mutating func keep(_ receiver: String, _ stream: String, _ origin: String, _ head: UInt64?) {
            guard let head, heads[[receiver, stream, origin]] == nil else { return }
            heads[[receiver, stream, origin]] = head
        }

        func of(_ receiver: String, _ stream: String, _ origin: String) -> UInt64? {
            heads[[receiver, stream, origin]]
        }
    }

    static func isSettled(
        ours: NodeEvidence, theirs: NodeEvidence?, peer: String, upTo heads: Heads? = nil
    ) -> Bool {
        unsettled(ours: ours, theirs: theirs, peer: peer, upTo: heads) == nil
    }

    /// Settled, or a pull or a gate waits for somebody: then waiting longer changes nothing.
    static func isDecided(
        ours: NodeEvidence, theirs: NodeEvidence?, peer: String, upTo heads: Heads? = nil
    ) -> Bool {
        let pulls = ours.pulls(from: peer) + (theirs?.pulls(from: ours.zone) ?? [])
        return pulls.contains { $0.state == "blocked" || $0.state == "manual" }
            || ours.closure(of: peer) != nil || theirs?.closure(of: ours.zone) != nil
            || isSettled(ours: ours, theirs: theirs, peer: peer, upTo: heads)
    }

    /// What is on its way from one of the two to the other, and not here yet.
    static let pendingStates: Set<String> = ["waiting", "fetching"]

    /// What one of the two is to have from the other and is in one of some states.
    static func artifacts(
        in states: Set<String>, ours: NodeEvidence, theirs: NodeEvidence?, peer: String
    ) -> Set<AwaitedArtifact> {
        func found(_ node: NodeEvidence, _ source: String) -> [AwaitedArtifact] {
            node.artifacts.filter {
                states.contains($0.state) && node.isFetched($0, from: source)
            }.map { AwaitedArtifact(receiver: node.zone, zone: $0.zone, name: $0.name) }
        }
        return Set(found(ours, peer) + (theirs.map { found($0, ours.zone) } ?? []))
    }

    /// What is still open, in words.
    /// - Parameter heads: nil: all that there is by this look.
    static func unsettled(
        ours: NodeEvidence, theirs: NodeEvidence?, peer: String, upTo heads: Heads? = nil
    ) -> String? {
        let heads = heads ?? Heads(ours: ours, theirs: theirs, peer: peer)
        if let problem = behind(ours, peer, theirs, heads) { return problem }
        if let theirs {
            if let problem = behind(theirs, ours.zone, ours, heads) { return problem }
        } else if let problem = untaken(ours, by: peer, heads) {
            return problem
        }
        if let gate = ours.gate(to: peer), !isNormal(gate, isRead: ours.isRead(by: peer)) {
            return "the gate of \(ours.zone) to \(peer) is \(gate.mode)"
        }
        if let theirs, let gate = theirs.gate(to: ours.zone), !isNormal(gate, isRead: theirs.isRead(by: ours.zone)) {
            return "the gate of \(peer) to \(ours.zone) is \(gate.mode)"
        }
        return nil
    }

    /// The cursor by which a peer takes a node's own stream; nil where it takes none, or was given up.
    static func reader(of peer: String, stream: String, in evidence: NodeEvidence) -> NodeEvidence.Reader? {
        let reader = evidence.reader(zone: peer, stream: stream, origin: evidence.zone)
        return reader.flatMap { $0.detached.isEmpty ? $0 : nil }
    }

    /// What a peer that is seen from here alone has not confirmed of what it takes.
    private static func untaken(_ ours: NodeEvidence, by peer: String, _ heads: Heads) -> String? {
        for reader in ours.readers
        where reader.detached.isEmpty && reader.name.utf8.starts(with: "\(peer)/".utf8) {
            let head = heads.of(peer, reader.stream, reader.origin) ?? 0
            if reader.nextOffset < head {
                return "\(peer) has confirmed \(reader.nextOffset) of \(head) facts of \(reader.stream) of "
                    + reader.origin
            }
        }
        return nil
    }

    /// A stream that is granted and that nobody takes leaves its direction waiting for a first call for ever.
    private static func isNormal(_ gate: NodeEvidence.Gate, isRead: Bool) -> Bool {
        guard !gate.isNormal, !gate.isClosedByOperator, !isRead, let outbound = gate.outbound else {
            return gate.isNormal
        }
        return !outbound.isNormal && gate.inbound?.isNormal ?? true
    }

    /// A pull of `receiver` that has not all that its source had, or whose source does not know it.
    private static func behind(
        _ receiver: NodeEvidence, _ source: String, _ sourceEvidence: NodeEvidence?, _ heads: Heads
    ) -> String? {
        for pull in receiver.pulls(from: source) {
            let name = "\(pull.stream) of \(pull.origin) from \(source) to \(receiver.zone)"
            let head = heads.of(receiver.zone, pull.stream, pull.origin)
            guard let next = pull.nextOffset, pull.sourceHeadOffset != nil, let head, next >= head else {
                return "\(name) is \(pull.state) and not at the source's head"
                    + (head.map { ", which is \($0)" } ?? "")
            }
            guard let sourceEvidence else { continue }
            let reader = sourceEvidence.reader(
                zone: receiver.zone, stream: pull.stream, origin: pull.origin)
            guard let reader, reader.nextOffset >= head else {
                return "\(name) is at \(next), its cursor at the source "
                    + (reader.map { "at \($0.nextOffset)" } ?? "is not there")
            }
        }
        return nil
    }
}

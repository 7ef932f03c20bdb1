/// Whether two nodes have nothing left to tell each other.
enum Settlement {
    static func isSettled(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) -> Bool {
        unsettled(ours: ours, theirs: theirs, peer: peer) == nil
    }

    /// Settled, or a pull or a gate waits for somebody: then waiting longer changes nothing.
    static func isDecided(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) -> Bool {
        let pulls = ours.pulls(from: peer) + (theirs?.pulls(from: ours.zone) ?? [])
        return pulls.contains { $0.state == "blocked" || $0.state == "manual" }
            || ours.closure(of: peer) != nil || theirs?.closure(of: ours.zone) != nil
            || isSettled(ours: ours, theirs: theirs, peer: peer)
    }

    /// No artifact is on its way any more: each is here, or known to be missing.
    static func hasArtifacts(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) -> Bool {
        let all = ours.artifacts + (theirs?.artifacts ?? [])
        return !all.contains { $0.state == "waiting" || $0.state == "fetching" }
    }

    /// What is still open, in words.
    static func unsettled(ours: NodeEvidence, theirs: NodeEvidence?, peer: String) -> String? {
        if let problem = behind(ours, peer, theirs) { return problem }
        if let theirs {
            if let problem = behind(theirs, ours.zone, ours) { return problem }
        } else if let problem = untaken(ours, by: peer) {
            return problem
        }
        if let gate = ours.gate(to: peer), !isNormal(gate) {
            return "the gate of \(ours.zone) to \(peer) is \(gate.mode)"
        }
        if let gate = theirs?.gate(to: ours.zone), !isNormal(gate) {
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
    private static func untaken(_ ours: NodeEvidence, by peer: String) -> String? {
        for reader in ours.readers
        where reader.detached.isEmpty && reader.name.utf8.starts(with: "\(peer)/".utf8) {
            let head = ours.log(stream: reader.stream, origin: reader.origin)?.headOffset ?? 0
            if reader.nextOffset < head {
                return "\(peer) has confirmed \(reader.nextOffset) of \(head) facts of \(reader.stream) of "
                    + reader.origin
            }
        }
        return nil
    }

    private static func isNormal(_ gate: NodeEvidence.Gate) -> Bool {
        gate.mode.utf8.elementsEqual("normal".utf8)
    }

    /// A pull of `receiver` that has not all that its source has, or whose source does not know it.
    private static func behind(
        _ receiver: NodeEvidence, _ source: String, _ sourceEvidence: NodeEvidence?
    ) -> String? {
        for pull in receiver.pulls(from: source) {
            let name = "\(pull.stream) of \(pull.origin) from \(source) to \(receiver.zone)"
            guard let next = pull.nextOffset, let head = pull.sourceHeadOffset, next >= head else {
                return "\(name) is \(pull.state) and not at the source's head"
            }
            guard let sourceEvidence else { continue }
            if let log = sourceEvidence.log(stream: pull.stream, origin: pull.origin),
                next < log.headOffset
            {
                return "\(name) is at \(next), the source's log ends before \(log.headOffset)"
            }
            let reader = sourceEvidence.reader(
                zone: receiver.zone, stream: pull.stream, origin: pull.origin)
            guard let reader, reader.nextOffset == next else {
                return "\(name) is at \(next), its cursor at the source "
                    + (reader.map { "at \($0.nextOffset)" } ?? "is not there")
            }
        }
        return nil
    }
}

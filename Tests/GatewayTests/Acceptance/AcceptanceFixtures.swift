@testable import Gateway

/// Two zones that pull from each other, as evidence: every test spoils one thing.
enum AcceptanceFixtures {
    static let stream = "facts.operational"

    static func lines(_ zone: String, _ peer: String, justification: String? = nil) -> [NodeEvidence.Line] {
        var pairs = [
            ("zone", zone), ("identity", "\(zone)-bsfg"), ("streams.\(stream).profile", "standard"),
            ("streams.\(stream).capacity", "1GiB"), ("peers.\(peer).identity", "\(peer)-bsfg"),
            ("peers.\(peer).endpoint", "\(peer).example:9443"), ("peers.\(peer).authorized", "true"),
            ("peers.\(peer).streams", "[\(stream)]"), ("peers.\(peer).origins", "[\(zone)]"),
            ("peers.\(peer).artifacts", "[]"), ("cursors.\(stream)/\(peer).peer", peer),
            ("cursors.\(stream)/\(peer).init_mode", "bounded_backfill_24h"),
        ]
        if let justification { pairs.append(("cursors.\(stream)/\(peer).justification", justification)) }
        return pairs.map { NodeEvidence.Line(key: $0.0, value: $0.1) }
    }

    /// `own` facts of the zone itself, `received` of the peer.
    static func node(_ zone: String, _ peer: String, own: UInt64, received: UInt64) -> NodeEvidence {
        NodeEvidence(
            takenAtUnixMs: 1_700_000_000_000, zone: zone, identity: "\(zone)-bsfg", release: "0.2",
            configuration: lines(zone, peer),
            logs: [
                log(zone, "store", own, "\(zone)-own"), log(peer, "forward", received, "\(zone)-of-\(peer)"),
            ],
            pulls: [pull(peer, next: received)], readers: [reader(peer, of: zone, at: own)],
            gates: [gate(peer)], artifacts: [], quarantined: [], refusals: [], refusedCount: 0)
    }

    static func log(_ origin: String, _ role: String, _ head: UInt64, _ identifier: String)
        -> NodeEvidence.Log
    {
        NodeEvidence.Log(
            stream: stream, origin: origin, role: role, identifier: identifier, epoch: 1, firstOffset: 0,
            headOffset: head, gapCount: 0, state: "writing", isAlarmed: false)
    }

    static func pull(_ peer: String, next: UInt64) -> NodeEvidence.Pull {
        NodeEvidence.Pull(
            peer: peer, stream: stream, origin: peer, state: "pulling", reason: "", sentence: "",
            nextOffset: next, confirmedOffset: next > 0 ? next - 1 : nil, sourceHeadOffset: next,
            materialisedCount: next, redeliveredCount: 0)
    }

    static func reader(_ receiver: String, of zone: String, at offset: UInt64) -> NodeEvidence.Reader {
        NodeEvidence.Reader(
            owner: "\(receiver)-bsfg", name: "\(receiver)/\(stream)/\(zone)", stream: stream, origin: zone,
            nextOffset: offset, detached: "")
    }

    static func gate(_ peer: String, mode: String = "normal", isClosed: Bool = false) -> NodeEvidence.Gate {
        NodeEvidence.Gate(peer: peer, mode: mode, isClosedByOperator: isClosed, reason: "")
    }

    /// From whom showed a certificate with this name, or none.
    static func refusal(
        _ reason: String, of name: String?, place: String = "certificate"
    ) -> NodeRefusal {
        NodeRefusal(
            number: 1, atUnixMs: 1_700_000_000_000, place: place, reason: reason, sentence: "nobody",
            identity: "", names: name.map { [$0] } ?? [], fingerprint: name == nil ? "" : "ab",
            address: "192.0.2.1", path: "")
    }

    static var reach: PeerReach {
        var reach = PeerReach(
            steps: ["dns", "tcp", "tls", "identity", "health"].map {
                PeerReach.Step(name: $0, isGood: true, sentence: "good")
            })
        reach.zone = "plant-a"
        reach.identity = "plant-a-bsfg"
        reach.state = "ok"
        reach.certificateNotAfter = 1_730_000_000
        reach.roles = ["peer"]
        reach.clockMilliseconds = 12
        return reach
    }

    static var partition: PartitionRecord {
        let (ours, theirs) = (
            node("enterprise", "plant-a", own: 10, received: 5),
            node("plant-a", "enterprise", own: 5, received: 10)
        )
        var record = PartitionRecord(before: ours, peerBefore: theirs, isSettledBefore: true)
        var closed = ours
        closed.gates = [gate("plant-a", mode: "autonomous", isClosed: true)]
        record.closed = closed
        record.peerClosed = theirs
        let count = FederationDrill.factCount
        record.ownAppends = PartitionRecord.Appends(stream: stream, count: count, readCount: count)
        record.peerAppends = record.ownAppends
        closed.logs[0].headOffset = 13
        record.during = closed
        var working = theirs
        working.logs[0].headOffset = 8
        record.peerDuring = working
        record.after = node("enterprise", "plant-a", own: 13, received: 8)
        record.peerAfter = node("plant-a", "enterprise", own: 8, received: 13)
        record.isSettledAfter = true
        return record
    }

    static var replay: ReplayRecord {
        var record = ReplayRecord(
            stream: stream, origin: "plant-a", before: pull("plant-a", next: 8), headBefore: 8)
        record.fromOffset = 0
        var after = record.before
        after.redeliveredCount = 8
        after.recognisedCount = 8
        record.after = after
        record.headAfter = 8
        return record
    }

    /// Everything as it should be.
    static var good: AcceptanceEvidence {
        let (ours, theirs) = (
            node("enterprise", "plant-a", own: 10, received: 5),
            node("plant-a", "enterprise", own: 5, received: 10)
        )
        var evidence = AcceptanceEvidence(
            peer: "plant-a",
            plan: FederationPlan(
                ours: FederationSide(ours), theirs: FederationSide(theirs), peer: "plant-a"),
            ours: ours, theirs: theirs, reach: reach)
        evidence.denials = (Denial.grantCases(isPulling: true) + Denial.callerCases).map {
            Denial(name: $0, verdict: .refused, reason: "refused", sentence: "not granted")
        }
        evidence.partition = partition
        evidence.replays = [replay]
        evidence.oursAfter = partition.after
        evidence.theirsAfter = partition.peerAfter
        evidence.theirs?.refusedCount = 2
        evidence.theirsAfter?.refusedCount = 2 + UInt64(Denial.callerCases.count)
        return evidence
    }
}

internal import Facts
package import RPC

/// The controlled partition and the duplicate replay, on the live nodes. It notes what it saw; whether that
/// is right is judged by `HandoffCriteria`.
package struct FederationDrill: Sendable {
    /// A node's evidence and its way in.
    package struct Side: Sendable {
        let admin: AdminClient
        let boundary: BoundaryClient

        package init(socketPath: String) {
            admin = AdminClient(socketPath: socketPath)
            boundary = BoundaryClient(RPCClient(unixSocket: socketPath))
        }

        /// - Parameter withRefusals: also whom it refused last.
        package func evidence(withRefusals: Bool = false) async throws(RPCClientError) -> NodeEvidence {
            try await NodeEvidence.gather(
                admin, atUnixMilliseconds: PeerLink.nowMilliseconds(), withRefusals: withRefusals)
        }
    }

    /// Facts that each side appends while the gate is closed.
    package static let factCount = 3
    /// Offsets below the position that are fetched once more.
    package static let replayCount: UInt64 = 100
    /// The partition ends by itself, should this program not live to end it.
    private static let partitionMilliseconds: Int64 = 600_000
    /// How long what must not move is watched.
    private static let watchMilliseconds = 1_000

    let peer: String
    let ours: Side
    let theirs: Side?
    let patienceMilliseconds: Int64
    let closure: DrillClosure

    package init(
        peer: String, ours: Side, theirs: Side?, patienceSeconds: Int, closure: DrillClosure = DrillClosure()
    ) {
        self.peer = peer
        self.ours = ours
        self.theirs = theirs
        patienceMilliseconds = Int64(patienceSeconds) * 1_000
        self.closure = closure
    }

    // MARK: - Waiting

    /// Looks until both sides are as `isDone` wants them; what was seen last where time runs out.
    func look(
        until isDone: (NodeEvidence, NodeEvidence?) -> Bool
    ) async throws(RPCClientError) -> (ours: NodeEvidence, theirs: NodeEvidence?, isDone: Bool) {
        let deadline = PeerLink.nowMilliseconds() + patienceMilliseconds
        while true {
            let seen = (try await ours.evidence(), try await theirs?.evidence())
            if isDone(seen.0, seen.1) { return (seen.0, seen.1, true) }
            guard PeerLink.nowMilliseconds() < deadline else { return (seen.0, seen.1, false) }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Both have everything that the other granted and has, both know it, and both gates say so.
    package func settle() async throws(RPCClientError)
        -> (ours: NodeEvidence, theirs: NodeEvidence?, isDone: Bool)
    {
        try await look { ours, theirs in
            Settlement.isSettled(ours: ours, theirs: theirs, peer: peer)
        }
    }

    // MARK: - Duplicate replay

    package func replay() async throws(RPCClientError) -> [ReplayRecord] {
        var records: [ReplayRecord] = []
        let before = try await ours.evidence()
        for pull in before.pulls(from: peer) {
            records.append(try await replay(pull, before))
        }
        return records
    }

    private func replay(_ pull: NodeEvidence.Pull, _ before: NodeEvidence)
        async throws(RPCClientError) -> ReplayRecord
    {
        var record = ReplayRecord(
            stream: pull.stream, origin: pull.origin, before: pull,
            headBefore: before.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0)
        guard let position = pull.nextOffset, position > 0 else { return record }
        var request = Bsfg_Admin_V1_RedeliverRequest()
        request.peer = pull.peer
        request.stream = pull.stream
        request.origin = pull.origin
        request.count = min(Self.replayCount, position)
        do throws(RPCClientError) {
            record.fromOffset = try await ours.admin.redeliver(request).fromOffset
        } catch {
            record.problem = error.description
            return record
        }
        let start = record
        let seen = try await look { ours, _ in
            guard let now = ours.pull(peer: peer, stream: pull.stream, origin: pull.origin),
                let log = ours.log(stream: pull.stream, origin: pull.origin)
            else { return false }
            var copy = start
            copy.after = now
            copy.headAfter = log.headOffset
            // An altered fact is never made good by waiting.
            return copy.isComplete || copy.alteredCount > 0
        }
        record.after = seen.ours.pull(peer: peer, stream: pull.stream, origin: pull.origin)
        record.headAfter =
            seen.ours.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0
        return record
    }

    // MARK: - Partition

    /// Closes the gate, has both sides work, opens it again, and waits until both agree. What this closed is
    /// open again however it ends. Nothing is closed where an operator keeps the gate closed, or the two do not
    /// agree beforehand.
    package func partition() async throws(RPCClientError) -> PartitionRecord {
        let settled = try await look { ours, theirs in
            ours.closure(of: peer) != nil
                || Settlement.isSettled(ours: ours, theirs: theirs, peer: peer)
        }
        var record = PartitionRecord(
            before: settled.ours, peerBefore: settled.theirs, isSettledBefore: settled.isDone)
        record.obstacle = settled.ours.closure(of: peer)
        guard record.obstacle == nil, settled.isDone else { return record }
        var request = Bsfg_Admin_V1_PartitionRequest()
        request.peer = peer
        // Of this run alone, so that it ends its own closure and no other.
        request.reason = "federation drill \(String(UInt64.random(in: 0...UInt64.max), radix: 16))"
        request.forMs = Self.partitionMilliseconds
        request.onlyOpen = true
        guard closure.begin(request, ours.admin) else {
            throw .transport(kind: .cancelled, sentence: "the drill is being ended, and closes nothing any more")
        }
        defer { closure.end() }
        do throws(RPCClientError) {
            _ = try await ours.admin.partition(request)
        } catch {
            // Closed since we looked.
            if error.failure?.reason == ErrorReason.gateClosed.rawValue {
                record.obstacle = error.description
                return record
            }
            // It may have closed all the same.
            _ = try? await ours.admin.reconcile(DrillClosure.reopening(request))
            throw error
        }
        do throws(RPCClientError) {
            try await work(&record)
        } catch {
            _ = try await ours.admin.reconcile(DrillClosure.reopening(request))
            throw error
        }
        _ = try await ours.admin.reconcile(DrillClosure.reopening(request))
        closure.end()
        let after = try await settle()
        record.after = after.ours
        record.peerAfter = after.theirs
        record.isSettledAfter = after.isDone
        return record
    }

    private func work(_ record: inout PartitionRecord) async throws(RPCClientError) {
        record.closed = try await ours.evidence()
        record.peerClosed = try await theirs?.evidence()
        let side = FederationSide(record.before)
        let run = String(UInt64.random(in: 0...UInt64.max), radix: 16)
        // What the peer takes from us, else any stream: that it goes on is what is shown.
        let granted = side.peer(peer)?.streams ?? []
        let own =
            granted.first { Settlement.reader(of: peer, stream: $0, in: record.before) != nil }
            ?? granted.first ?? side.profiles.first?.stream
        if let own { record.ownAppends = await append(ours, side.zone, own, run) }
        if let theirs {
            let pulled = side.pulls(from: peer).first {
                $0.origin.utf8.elementsEqual(peer.utf8)
            }
            if let pulled { record.peerAppends = await append(theirs, peer, pulled.stream, run) }
        }
        try? await Task.sleep(for: .milliseconds(Self.watchMilliseconds))
        record.during = try await ours.evidence()
        record.peerDuring = try await theirs?.evidence()
    }

    private func append(_ side: Side, _ zone: String, _ stream: String, _ run: String) async
        -> PartitionRecord.Appends
    {
        var appends = PartitionRecord.Appends(stream: stream)
        var appended: [(fact: EncodedFact, offset: UInt64)] = []
        for number in 1...Self.factCount {
            do {
                let encoded = try FactEncoder().encode(Self.fact(zone: zone, run: run, number: number))
                let answer = try await side.boundary.appendFact(
                    AppendRequestWriter.appendFact(stream: stream, encoded))
                appends.count += 1
                appended.append((encoded, answer.offset))
            } catch let error as FactError {
                appends.problem = error.sentence
            } catch {
                appends.problem = "\(error)"
            }
        }
        // Who reads on its own side is served through a partition as well.
        for (fact, offset) in appended {
            do {
                if try await isRead(side, zone, stream, offset, fact) {
    /// A fact of one run. Its content too is of this run alone: a stream may tell facts apart by that.
    static func fact(zone: String, run: String, number: Int) -> FactSubmission {
        var fact = FactSubmission()
        fact.messageID = "federation-drill/\(run)/\(zone)/\(number)"
        fact.fromZone = zone
        fact.toZone = zone
        fact.producedAtUnixMilliseconds = PeerLink.nowMilliseconds()
        fact.subject = "federation:\(zone)"
        fact.predicate = "drill_appended"
        fact.body = .objectJSON(Array("{\"number\":\(number),\"run\":\"\(run)\"}".utf8))
        return fact
    }

                    appends.readCount += 1
                } else {
                    appends.problem = "offset \(offset) is not the fact that was appended there"
                }
            } catch {
                appends.problem = "\(error)"
            }
        }
        return appends
    }

    private func isRead(
        _ side: Side, _ zone: String, _ stream: String, _ offset: UInt64, _ fact: EncodedFact
    ) async throws -> Bool {
        var request = Bsfg_Admin_V1_PeekRequest()
        request.stream = stream
        request.origin = zone
        request.fromOffset = offset
                guard answer.outcome == .appended else {
                    appends.problem = "fact \(number) was not appended: the node took it for one that it has"
                    continue
                }
        request.limit = 1
        let entry = try ReceivedPage(await side.admin.peek(request)).entries.first
        return entry?.offset == offset && entry?.verdict == .intact && entry?.key == fact.key
            && entry?.contentDigest == fact.contentDigest
    }
}

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
    /// - Parameter isDone: is given the heads of the first look too.
    func look(
        until isDone: (NodeEvidence, NodeEvidence?, Settlement.Heads) -> Bool
    ) async throws(RPCClientError) -> (ours: NodeEvidence, theirs: NodeEvidence?, isDone: Bool) {
        let deadline = PeerLink.nowMilliseconds() + patienceMilliseconds
        var heads = Settlement.Heads()
        while true {
            let seen = (try await ours.evidence(), try await theirs?.evidence())
            heads.take(ours: seen.0, theirs: seen.1, peer: peer)
            if isDone(seen.0, seen.1, heads) { return (seen.0, seen.1, true) }
            guard PeerLink.nowMilliseconds() < deadline else { return (seen.0, seen.1, false) }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    /// Both have everything that the other granted and had at first, both know it, and both gates say so.
    package func settle() async throws(RPCClientError)
        -> (ours: NodeEvidence, theirs: NodeEvidence?, isDone: Bool)
    {
        try await look { ours, theirs, heads in
            Settlement.isSettled(ours: ours, theirs: theirs, peer: peer, upTo: heads)
        }
    }

    // MARK: - Duplicate replay

    /// Of all that one takes from the other, where its node can be asked.
    package func replay() async throws(RPCClientError) -> [ReplayRecord] {
        let zone = try await ours.evidence().zone
        var records = try await replay(ours, at: zone, from: peer)
        if let theirs { records += try await replay(theirs, at: peer, from: zone) }
        return records
    }

    private func replay(_ side: Side, at receiver: String, from source: String)
        async throws(RPCClientError) -> [ReplayRecord]
    {
        var records: [ReplayRecord] = []
        // What is pulled meanwhile is new between these two, whichever of its numbers was read first.
        let earlier = try await side.evidence()
        let before = try await side.evidence()
        for pull in before.pulls(from: source) {
            var record = ReplayRecord(
                stream: pull.stream, origin: pull.origin, before: pull,
                headBefore: before.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0)
            record.receiver = receiver
            record.earlierMaterialisedCount =
                earlier.pull(peer: source, stream: pull.stream, origin: pull.origin)?.materialisedCount
            records.append(try await replay(side, record))
        }
        return records
    }

    /// How many offsets to ask for: of a pull that began late in its source's history no more than came.
    static func replayCount(position: UInt64, storedCount: UInt64) -> UInt64 {
        min(replayCount, position, storedCount)
    }

    private func replay(_ side: Side, _ start: ReplayRecord) async throws(RPCClientError) -> ReplayRecord {
        var record = start
        let pull = start.before
        let count = Self.replayCount(position: pull.nextOffset ?? 0, storedCount: start.headBefore)
        guard count > 0 else { return record }
        var request = Bsfg_Admin_V1_RedeliverRequest()
        request.peer = pull.peer
        request.stream = pull.stream
        request.origin = pull.origin
        request.count = count
        do throws(RPCClientError) {
            record.fromOffset = try await side.admin.redeliver(request).fromOffset
            record.requestedCount = count
        } catch {
            record.problem = error.description
            return record
        }
        let deadline = PeerLink.nowMilliseconds() + patienceMilliseconds
        while true {
            let seen = try await side.evidence()
            record.after = seen.pull(peer: pull.peer, stream: pull.stream, origin: pull.origin)
            record.headAfter = seen.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0
            // An altered fact is never made good by waiting.
            guard !record.isComplete, record.alteredCount == 0, PeerLink.nowMilliseconds() < deadline else {
                return record
            }
            try? await Task.sleep(for: .milliseconds(100))
        }
    }

    // MARK: - Partition

    /// Closes the gate, has both sides work, opens it again, and waits until both agree. What this closed is
    /// open again however it ends. Nothing is closed where an operator keeps the gate closed, or the two do not
    /// agree beforehand.
    package func partition() async throws(RPCClientError) -> PartitionRecord {
        func obstacle(_ ours: NodeEvidence, _ theirs: NodeEvidence?) -> String? {
            ours.closure(of: peer) ?? theirs?.closure(of: ours.zone)
        }
        let settled = try await look { ours, theirs, heads in
            obstacle(ours, theirs) != nil
                || Settlement.isSettled(ours: ours, theirs: theirs, peer: peer, upTo: heads)
        }
        var record = PartitionRecord(
            before: settled.ours, peerBefore: settled.theirs, isSettledBefore: settled.isDone)
        record.obstacle = obstacle(settled.ours, settled.theirs)
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
                guard answer.outcome == .appended else {
                    appends.problem = "fact \(number) was not appended: the node took it for one that it has"
                    continue
                }
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
        request.limit = 1
        let entry = try ReceivedPage(await side.admin.peek(request)).entries.first
        return entry?.offset == offset && entry?.verdict == .intact && entry?.key == fact.key
            && entry?.contentDigest == fact.contentDigest
    }
}

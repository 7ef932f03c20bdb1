/// Gathers what the handoff criteria are decided from: calls the peer, has it refuse, and runs the drills.
package struct AcceptanceGathering: Sendable {
    let configuration: NodeConfiguration
    let peer: String
    let theirs: NodeEvidence?
    let theirSide: FederationDrill.Side?
    let patienceSeconds: Int
    let unlisted: DenialProbe.Certificate?
    /// Criteria for which somebody answers: what they stand in the way of is done all the same.
    let waived: Set<String>
    let closure: DrillClosure

    /// How old our own note of a peer may be that does not get through.
    private static let noteMillisecondsMaximum: Int64 = 600_000

    package init(
        configuration: NodeConfiguration, peer: String, theirs: NodeEvidence?,
        theirSide: FederationDrill.Side?, patienceSeconds: Int,
        unlisted: DenialProbe.Certificate? = nil, waived: Set<String> = [],
        closure: DrillClosure = DrillClosure()
    ) {
        self.configuration = configuration
        self.peer = peer
        self.theirs = theirs
        self.theirSide = theirSide
        self.patienceSeconds = patienceSeconds
        self.unlisted = unlisted
        self.waived = waived
        self.closure = closure
    }

    /// - Throws: `RPCClientError` when a node stops to answer its administration socket, `CertificateError` and
    ///   `ConfigurationError` for files.
    package func run() async throws -> AcceptanceEvidence {
        guard let entry = configuration.peer(id: peer) else {
            preconditionFailure("the peer was looked up before")
        }
        let refuser = Refuser(theirSide, or: theirs)
        let ourSide = FederationDrill.Side(socketPath: configuration.adminSocketPath)
        let drill = FederationDrill(
            peer: peer, ours: ourSide, theirs: theirSide, patienceSeconds: patienceSeconds, closure: closure)
        // A peer that only pulls from us need not be called.
        let link = entry.endpoint == nil
            ? nil : try PeerLink(peer: entry, credentials: try NodeCredentials.load(configuration))
        let reach = await link?.visit(refuser).reach
            ?? PeerReach(notCalled: "\(peer) has no endpoint in peers.yaml and is not called from here")
        let ours = try await ourSide.evidence()
        // By what runs, which need not be what the files say.
        let plan = FederationPlan(ours: ours, theirs: theirs, peer: peer)
        var evidence = AcceptanceEvidence(peer: peer, plan: plan, ours: ours, theirs: theirs, reach: reach)
        guard reach.failedStep == nil || waived.contains("authentication") else {
            // Whom we do not let in when it calls is the one whom we refuse when we call.
            if PeerReach.identitySteps.contains(where: { $0 == reach.failedStep?.name }) {
                let note = try await ourSide.evidence(withRefusals: true)
                    .lastRefusal(of: entry.identity)
                // What was noted long ago was of something else.
                let earliest = PeerLink.nowMilliseconds() - Self.noteMillisecondsMaximum
                evidence.refusedHere = note.flatMap { $0.atUnixMs >= earliest ? $0 : nil }
            }
            return evidence
        }
        if let link {
            evidence.denials = await DenialProbe(
                link: link, configuration: configuration, unlisted: unlisted, refuser: refuser,
                theirs: evidence.seenTheirs, isLive: theirSide != nil
            ).run()
        }
        // Pulls that were just allowed, or a gate that was just opened, need a moment; what never comes to
        // agree is judged by its own state.
        let settled = try await drill.look { ours, theirs, heads in
            Settlement.isDecided(ours: ours, theirs: theirs, peer: peer, upTo: heads)
        }
        (evidence.oursAfter, evidence.theirsAfter) = (settled.ours, settled.theirs)
        if evidence.peerIsLost != nil {
            evidence.refusedHere = try await ourSide.evidence(withRefusals: true)
                .lastRefusal(of: entry.identity)
        }
        guard !isStuck(evidence) else { return evidence }
        let partition = try await drill.partition()
        evidence.partition = partition
        // Through a gate that stays closed nothing would come again either.
        guard partition.obstacle == nil else { return evidence }
        evidence.replays = try await drill.replay()
        var last = LastLook()
        let final = try await drill.look { ours, theirs, heads in
            last.isDone(ours: ours, theirs: theirs, peer: peer, upTo: heads)
        }
        (evidence.oursAfter, evidence.theirsAfter) = (final.ours, final.theirs)
        evidence.unsettledAtEnd = last.unsettled
        evidence.awaitedArtifacts = last.awaited?.sorted {
            [$0.receiver, $0.zone, $0.name].lexicographicallyPrecedes([$1.receiver, $1.zone, $1.name])
        }
        return evidence
    }

    /// A drill on a pull that is blocked, or a peer that does not write, shows nothing but that. What somebody
    /// answers for holds nothing up, and a file says nothing of what goes on now.
    private func isStuck(_ evidence: AcceptanceEvidence) -> Bool {
        var open: [String] = []
        if !evidence.plan.problems.isEmpty { open.append("authorization") }
        if evidence.reach.healthProblem(atSeconds: PeerLink.nowMilliseconds() / 1_000) != nil
            || evidence.latestTheirs?.logProblem != nil
        {
            open.append("peer_health")
        }
        for flow in evidence.flows
        where flow.isOfNow && (flow.pull.state != "pulling" || flow.pull.nextOffset == nil) {
            let isHistory = flow.isBlocked(by: HandoffCriteria.historyReasons)
            let isGrant = flow.isBlocked(by: HandoffCriteria.grantReasons)
            open.append(isHistory ? "cursor" : isGrant ? "authorization" : "replay")
        }
        return open.contains { !waived.contains($0) }
    }
}

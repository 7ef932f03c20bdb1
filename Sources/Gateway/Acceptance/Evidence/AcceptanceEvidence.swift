internal import RPC

/// Everything that an acceptance was decided from; it goes into the report as it is.
package struct AcceptanceEvidence: Sendable, Codable, Equatable {
    package var peer: String
    package var plan: FederationPlan
    package var ours: NodeEvidence
    /// From the other side's administration socket, or from a file of it.
    package var theirs: NodeEvidence?
    package var reach: PeerReach
    /// Our own last note of the peer, where it does not get through to us or we refuse it when we call.
    package var refusedHere: NodeRefusal?
    package var denials: [Denial] = []
    package var replays: [ReplayRecord] = []
    package var partition: PartitionRecord?
    /// After all drills.
    package var oursAfter: NodeEvidence?
    package var theirsAfter: NodeEvidence?
    /// What was open between the two in the last look, artifacts aside, in words; nil where nothing was.
    package var unsettledAtEnd: String?
    /// What was not here yet when the facts of that look's beginning had come; nil where it did not come to that.
    package var awaitedArtifacts: [AwaitedArtifact]?

    package init(
        peer: String, plan: FederationPlan, ours: NodeEvidence, theirs: NodeEvidence?,
        reach: PeerReach
    ) {
        self.peer = peer
        self.plan = plan
        self.ours = ours
        self.theirs = theirs
        self.reach = reach
    }

    var latestOurs: NodeEvidence { oursAfter ?? ours }
    var latestTheirs: NodeEvidence? { theirsAfter ?? seenTheirs }

    /// Theirs as far as it says something of now.
    var seenTheirs: NodeEvidence? { staleness == nil ? theirs : nil }

    /// Whether the peer's configuration was seen, and is that of now.
    var isPeerSeen: Bool { plan.isPeerKnown && staleness == nil }

    /// Why the other side's evidence says nothing of now; nil where it does, or there is none.
    var staleness: String? {
        guard let theirs else { return nil }
        let (then, now) = (theirs.takenAtUnixMs, ours.takenAtUnixMs)
        let taken = "the evidence of \(peer) is of \(UTCText.text(then / 1_000))"
        if then < now - HandoffCriteria.evidenceMillisecondsMaximum {
            return "\(taken), more than 24 hours ago: what it says need not hold any more"
        }
        if then > now + HandoffCriteria.clockMillisecondsMaximum {
            return "\(taken), which has not come yet by this clock: when it was taken is not known"
        }
        return nil
    }

    /// Every pull of either side from the other, with what its source says where that is known.
    struct Flow {
        var receiver: NodeEvidence
        var source: NodeEvidence?
        var pull: NodeEvidence.Pull
        /// Whether the receiver said so in this run, and not in a file of another moment.
        var isOfNow = true

        var name: String { "\(pull.stream) of \(pull.origin) to \(receiver.zone)" }

        /// A reason among those given keeps it from going on.
        func isBlocked(by reasons: Set<String>) -> Bool {
            pull.state == "blocked" && reasons.contains(pull.reason)
        }

        /// Facts of the source, or losses of it, that the receiver stored. A position says nothing of that: it may
        /// begin anywhere.
        var storedCount: UInt64 {
            receiver.log(stream: pull.stream, origin: pull.origin)?.headOffset ?? 0
        }
    }

    /// That an operator of either side keeps the gate between the two closed, in words; nil where none does.
    var closure: String? {
        latestOurs.closure(of: peer) ?? theirsAfter?.closure(of: ours.zone)
    }

    /// A pull of the peer that does not reach us: its way to us is as good as its pulls are. What does not pass a
    /// closed gate shows nothing of the way.
    var peerIsLost: Flow? {
        guard closure == nil else { return nil }
        return flows.first {
            !$0.receiver.zone.utf8.elementsEqual(ours.zone.utf8) && $0.pull.state == "unavailable" && $0.isOfNow
        }
    }

    var flows: [Flow] {
        var flows = latestOurs.pulls(from: peer).map {
            Flow(receiver: latestOurs, source: latestTheirs, pull: $0)
        }
        if let theirs = latestTheirs {
            flows += theirs.pulls(from: ours.zone).map {
                Flow(receiver: theirs, source: latestOurs, pull: $0, isOfNow: theirsAfter != nil)
            }
        }
        return flows
    }
}

extension NodeEvidence {
    /// Whether it says something of now, by this machine's clock.
    package func isOfNow(atMilliseconds now: Int64 = PeerLink.nowMilliseconds()) -> Bool {
        takenAtUnixMs >= now - HandoffCriteria.evidenceMillisecondsMaximum
            && takenAtUnixMs <= now + HandoffCriteria.clockMillisecondsMaximum
    }
}

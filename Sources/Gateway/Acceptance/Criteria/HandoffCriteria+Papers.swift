/// Artifacts, and what has to be seen and written down.
extension HandoffCriteria {
    var artifacts: Criterion {
        let name = "artifacts"
        let isEnabled = evidence.plan.grants.contains { !$0.artifacts.isEmpty }
        guard isEnabled || !evidence.isPeerSeen else {
            return .notChecked(
                name, Self.section, "neither side grants artifacts to the other", required: false)
        }
        let all = foreignArtifacts
        let (foreign, earlier) = (all.filter(\.isOfNow), all.filter { !$0.isOfNow })
        if let lost = foreign.first(where: \.isLost) {
            return failed(
                name, "\(lost.name), to which a received fact refers, is \(lost.artifact.state)",
                "bsfg artifact pending")
        }
        if let relayed = foreign.first(where: { $0.artifact.state == "missing" }) {
            return open(
                name, "\(relayed.name) is missing; \(relayed.source) relays the facts that refer to it, and was not "
                    + "seen to hold it", "bsfg artifact pending, on \(relayed.source)")
        }
        if let withheld = foreign.first(where: { $0.artifact.state == "not_granted" && $0.isGranted == nil }) {
            return open(
                name, "\(withheld.name) is not_granted; whether \(withheld.source) means to keep it was not seen",
                "--peer-admin SOCKET, or --evidence FILE")
        }
        let wanted = foreign.filter { $0.artifact.state != "not_granted" }
        if let waiting = wanted.first(where: { $0.artifact.state != "stored" && $0.isAwaited }) {
            return open(
                name, "\(waiting.name) is \(waiting.artifact.state)", "bsfg artifact pending")
        }
        if let absent = earlier.first(where: { $0.artifact.state != "stored" && !$0.isKept }) {
            return open(
                name, "\(absent.name) was \(absent.artifact.state) when the file of \(evidence.peer) was written",
                "--peer-admin SOCKET, or a newer --evidence FILE")
        }
        if let holding = holdings.first(where: { !$0.holder.hasWhole(.artifacts) }) {
            return open(
                name,
                "\(holding.holder.zone) has more artifacts than were looked at; nothing says that all are here",
                "bsfg artifact pending, on \(holding.holder.zone)")
        }
        let storedCount = holdings.filter(\.isOfNow).reduce(UInt64(0)) {
            $0 &+ $1.holder.storedCount(from: $1.source)
        }
        let withheldCount = foreign.count - wanted.count
        let withheld =
            withheldCount > 0 ? "; \(withheldCount) more are of buckets that their source does not grant" : ""
        guard storedCount > 0 else {
            return .notChecked(
                name, Self.section, "no received fact was seen to refer to an artifact that is granted\(withheld)"
                    + (earlier.isEmpty ? "" : "; what a file of \(evidence.peer) says was so when it was written"),
                required: isEnabled)
        }
        return passed(
            name,
            "\(storedCount) artifacts that facts refer to are here, with the digests of the facts\(withheld)")
    }

    /// An artifact to which received facts refer.
    private struct ForeignArtifact {
        var artifact: NodeEvidence.Artifact
        var source: String
        /// Whether its source grants the bucket and the zone of it; nil where the grants were not seen.
        var isGranted: Bool?
        /// Whether its receiver said so in this run.
        var isOfNow: Bool
        /// Whether its source has it, as far as the source was seen now; its own it has to have.
        var isAtSource: Bool
        /// Whether it is among what was waited for; producers go on.
        var isAwaited: Bool

        var name: String { "\(artifact.zone)/\(artifact.name)" }

        /// What a source does not grant it keeps on purpose.
        var isKept: Bool { artifact.state == "not_granted" && isGranted == false }

        /// A relay that does not hold what it relays facts of has lost nothing.
        var isLost: Bool {
            artifact.state == "missing" && isAtSource || artifact.state == "not_granted" && isGranted == true
        }
    }

    /// Who has received facts of whom.
    private struct Holding {
        var holder: NodeEvidence
        var source: String
        /// The source by itself, where it was asked in this run.
        var sourceNode: NodeEvidence?
        /// Whether the holder said so in this run, and not in a file of another moment.
        var isOfNow = true
    }

    private var holdings: [Holding] {
        let ours = Holding(
            holder: evidence.latestOurs, source: evidence.peer, sourceNode: evidence.theirsAfter)
        guard let theirs = evidence.latestTheirs else { return [ours] }
        return [
            ours,
            Holding(
                holder: theirs, source: evidence.ours.zone, sourceNode: evidence.latestOurs,
                isOfNow: evidence.theirsAfter != nil),
        ]
    }

    private var foreignArtifacts: [ForeignArtifact] {
        let awaited = evidence.awaitedArtifacts.map { Set($0) }
        return holdings.flatMap { holding in
            let (holder, source) = (holding.holder, holding.source)
            let grant = evidence.plan.grants.first {
                $0.from.utf8.elementsEqual(source.utf8) && $0.to.utf8.elementsEqual(holder.zone.utf8)
            }
            return holder.artifacts.filter { holder.isFetched($0, from: source) }.map { artifact in
                let bucket = artifact.name.utf8.prefix { $0 != UInt8(ascii: "/") }
                let name = AwaitedArtifact(receiver: holder.zone, zone: artifact.zone, name: artifact.name)
                return ForeignArtifact(
                    artifact: artifact, source: source,
                    isGranted: grant.map { grant in
                        grant.isAuthorised && grant.artifacts.contains { $0.utf8.elementsEqual(bucket) }
                            && grant.origins.contains { $0.utf8.elementsEqual(artifact.zone.utf8) }
                    }, isOfNow: holding.isOfNow,
                    isAtSource: artifact.zone.utf8.elementsEqual(source.utf8)
                        || artifact.state == "missing" && holding.sourceNode?.holds(artifact) == true,
                    isAwaited: awaited?.contains(name) ?? true)
            }
        }
    }

    /// Section 7.4: what is not there is asked for again and shown, and facts go on. Nothing makes one go missing here.
    var missingArtifact: Criterion {
        let (name, section) = ("missing_artifact", "7.4")
        let command = "bsfg artifact pending, after a fact that refers to one that is not there"
        let missing = foreignArtifacts.filter { $0.isOfNow && $0.artifact.state == "missing" }
        guard !missing.isEmpty, evidence.flows.allSatisfy({ $0.pull.state == "pulling" }) else {
            return .notChecked(
                name, section, "no artifact was missing, so that nothing was seen of what happens then",
                command: command, required: false)
        }
        guard let again = missing.first(where: { $0.artifact.failureCount ?? 0 > 1 }) else {
            return .notChecked(
                name, section,
                "\(missing[0].name) is missing and shown so; that it is asked for again was not seen yet",
                command: command, required: false)
        }
        let count = again.artifact.failureCount ?? 0
        return .passed(
            name, section,
            "\(again.name) is missing and shown so, it was asked for \(count) times, and every pull goes on",
            required: false)
    }

    /// Section 6.6: facts come without notices too, a little later.
    var notices: Criterion {
        let (name, section) = ("notices", "6.6")
        let senders = holdings.filter { holding in
            holding.holder.configuration.contains {
                $0.key.utf8.elementsEqual("peers.\(holding.source).notify".utf8) && $0.value == "true"
            }
        }.map(\.holder.zone)
        guard !senders.isEmpty else {
            return .notChecked(
                name, section,
                evidence.latestTheirs == nil
                    ? "we send \(evidence.peer) no notices, and whether it sends us any was not seen"
                    : "neither side sends the other notices", required: false)
        }
        return .notChecked(
            name, section,
            "\(senders.joined(separator: " and ")) sends notices; that one was received and hastened a fetch was not "
                + "looked at", required: false)
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

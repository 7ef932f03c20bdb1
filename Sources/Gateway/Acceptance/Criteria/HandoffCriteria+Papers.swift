/// Artifacts, and what has to be seen and written down.
extension HandoffCriteria {
    var artifacts: Criterion {
        let name = "artifacts"
        let isEnabled = evidence.plan.grants.contains { !$0.artifacts.isEmpty }
        guard isEnabled || !evidence.isPeerSeen else {
            return .notChecked(
                name, Self.section, "neither side grants artifacts to the other", required: false)
        }
        let foreign = foreignArtifacts
        let lost = foreign.first { $0.artifact.state == "missing" || $0.isWithheldAgainstGrant }
        if let lost {
            return failed(
                name, "\(lost.name), to which a received fact refers, is \(lost.artifact.state)",
                "bsfg artifact pending")
        }
        if let withheld = foreign.first(where: { $0.artifact.state == "not_granted" && $0.isGranted == nil }) {
            return open(
                name, "\(withheld.name) is not_granted; whether \(withheld.source) means to keep it was not seen",
                "--peer-admin SOCKET, or --evidence FILE")
        }
        let wanted = foreign.filter { $0.artifact.state != "not_granted" }
        if let waiting = wanted.first(where: { $0.artifact.state != "stored" }) {
            return open(
                name, "\(waiting.name) is \(waiting.artifact.state)", "bsfg artifact pending")
        }
        if let (holder, _) = holders.first(where: { !$0.holder.hasWhole(.artifacts) }) {
            return open(
                name, "\(holder.zone) has more artifacts than were looked at; nothing says that all are here",
                "bsfg artifact pending, on \(holder.zone)")
        }
        let storedCount = holders.reduce(UInt64(0)) { sum, pair in
            origins(pair.holder, pair.source).reduce(sum) { $0 &+ pair.holder.storedCount(of: $1) }
        }
        let withheldCount = foreign.count - wanted.count
        let withheld =
            withheldCount > 0 ? "; \(withheldCount) more are of buckets that their source does not grant" : ""
        guard storedCount > 0 else {
            return .notChecked(
                name, Self.section, "no received fact refers to an artifact that is granted\(withheld)",
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

        var name: String { "\(artifact.zone)/\(artifact.name)" }

        /// What a source does not grant it keeps on purpose.
        var isWithheldAgainstGrant: Bool { artifact.state == "not_granted" && isGranted == true }
    }

    /// Who has received facts of whom.
    private var holders: [(holder: NodeEvidence, source: String)] {
        [(evidence.latestOurs, evidence.peer)] + (evidence.latestTheirs.map { [($0, evidence.ours.zone)] } ?? [])
    }

    /// The zones whose facts come from a source, its own and those that it relays: so do their artifacts.
    private func origins(_ holder: NodeEvidence, _ source: String) -> [String] {
        Set(holder.pulls(from: source).map(\.origin)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private var foreignArtifacts: [ForeignArtifact] {
        holders.flatMap { holder, source in
            let zones = origins(holder, source)
            let grant = evidence.plan.grants.first {
                $0.from.utf8.elementsEqual(source.utf8) && $0.to.utf8.elementsEqual(holder.zone.utf8)
            }
            return holder.artifacts.filter { artifact in
                zones.contains { $0.utf8.elementsEqual(artifact.zone.utf8) }
            }.map { artifact in
                let bucket = artifact.name.utf8.prefix { $0 != UInt8(ascii: "/") }
                return ForeignArtifact(
                    artifact: artifact, source: source,
                    isGranted: grant.map { grant in
                        grant.isAuthorised && grant.artifacts.contains { $0.utf8.elementsEqual(bucket) }
                            && grant.origins.contains { $0.utf8.elementsEqual(artifact.zone.utf8) }
                    })
            }
        }
    }

    /// Section 7.4: what is not there is asked for again and shown, and facts go on. Nothing makes one go missing here.
    var missingArtifact: Criterion {
        let (name, section) = ("missing_artifact", "7.4")
        let missing = foreignArtifacts.first { $0.artifact.state == "missing" }
        guard let missing, evidence.flows.allSatisfy({ $0.pull.state == "pulling" }) else {
            return .notChecked(
                name, section, "no artifact was missing, so that nothing was seen of what happens then",
                command: "bsfg artifact pending, after a fact that refers to one that is not there", required: false)
        }
        return .passed(
            name, section, "\(missing.name) is missing and shown so, it is asked for again, and every pull goes on",
            required: false)
    }

    /// Section 6.6: facts come without notices too, a little later.
    var notices: Criterion {
        let (name, section) = ("notices", "6.6")
        let senders = holders.filter { holder, other in
            holder.configuration.contains {
                $0.key.utf8.elementsEqual("peers.\(other).notify".utf8) && $0.value == "true"
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

internal import Facts

/// The handoff criteria of the bring-up runbook (section 9) over what was gathered. No I/O: the same evidence
/// gives the same verdicts.
package struct HandoffCriteria {
    static let section = "9"
    static let clockMillisecondsMaximum: Int64 = 30_000
    /// How old the other side's evidence may be.
    static let evidenceMillisecondsMaximum: Int64 = 86_400_000

    /// What a source refuses for want of a grant.
    static let grantReasons: Set<String> = [
        ErrorReason.streamNotGranted.rawValue, ErrorReason.originNotGranted.rawValue,
        ErrorReason.identityNotAuthorised.rawValue,
    ]
    /// What says that the two sides do not share a history.
    static let historyReasons: Set<String> = [
        ErrorReason.historyMismatch.rawValue, ErrorReason.consumerBound.rawValue,
        ErrorReason.cursorDetached.rawValue,
    ]

    /// In the order of the runbook. What presumes a criterion that is not met is not checked, so that a report
    /// names the first thing that is wrong and not everything that follows from it.
    package static let names = [
        "authentication", "clocks", "peer_health", "authorization", "denials", "replay", "cursor",
        "duplicate_replay", "partition_recovery", "artifacts", "missing_artifact", "notices", "visibility", "alerts",
        "init_documented", "matrix_documented", "replay_drill",
    ]

    let evidence: AcceptanceEvidence

    /// - Parameter waived: criteria for which somebody answers; what presumes one of them is judged all the same.
    package static func judge(_ evidence: AcceptanceEvidence, waived: Set<String> = []) -> [Criterion] {
        let judge = HandoffCriteria(evidence: evidence)
        var found = [judge.authentication, judge.clocks]
        let presumed = presumed.subtracting(waived)
        func after(_ name: String, _ make: () -> Criterion) {
            if let open = found.first(where: { $0.verdict == .failed && presumed.contains($0.name) }) {
                found.append(
                    .notChecked(name, section, "\(open.name) failed, and this presumes it"))
            } else {
                found.append(make())
            }
        }
        after("peer_health") { judge.peerHealth }
        after("authorization") { judge.authorization }
        after("denials") { judge.denials }
        after("replay") { judge.replay }
        after("cursor") { judge.cursor }
        after("duplicate_replay") { judge.duplicateReplay }
        after("partition_recovery") { judge.partitionRecovery }
        after("artifacts") { judge.artifacts }
        found.append(judge.missingArtifact)
        found.append(judge.notices)
        found.append(judge.visibility)
        found.append(
            .notChecked(
                "alerts", section,
                "this release serves no metrics for alerts; watch what 'bsfg status' shows, and say how",
                command: "--waive alerts=REASON"))
        found.append(judge.initDocumented)
        found.append(judge.matrixDocumented)
        after("replay_drill") { judge.replayDrill }
        return found
    }

    /// Whose failure makes what follows meaningless.
    private static let presumed: Set<String> = [
        "authentication", "peer_health", "authorization", "replay", "cursor",
    ]

    func passed(_ name: String, _ sentence: String) -> Criterion {
        .passed(name, Self.section, sentence)
    }

    func failed(_ name: String, _ sentence: String, _ command: String? = nil) -> Criterion {
        .failed(name, Self.section, sentence, command: command)
    }

    func open(_ name: String, _ sentence: String, _ command: String? = nil) -> Criterion {
        .notChecked(name, Self.section, sentence, command: command)
    }

    func stale(_ name: String, _ sentence: String) -> Criterion {
        open(
            name, sentence,
            "bsfg federation evidence --out FILE, on \(evidence.peer), then --evidence FILE here")
    }

    // MARK: - Who the two are

    private var authentication: Criterion {
        let name = "authentication"
        let reach = evidence.reach
        let probe = "bsfg peer probe \(evidence.peer)"
        if let reason = reach.notCalled {
            return evidence.peerIsLost.map { lost(name, $0) }
                ?? open(
                    name, "\(reason): who it is was not looked at",
                    "bsfg federation accept --peer \(evidence.ours.zone), on \(evidence.peer)")
        }
        if let obstacle = reach.obstacle {
            guard !reach.isBusy else {
                return open(name, "\(evidence.peer) had no room for the call: \(obstacle)", "accept again")
            }
            return failed(
                name, obstacle + (evidence.refusedHere.map { "; we noted \($0.text)" } ?? ""), probe)
        }
        guard reach.zone.utf8.elementsEqual(evidence.peer.utf8) else {
            return failed(
                name, "the node there is of the zone \(reach.zone), peers.yaml says \(evidence.peer)",
                "correct the endpoint or the id in peers.yaml")
        }
        guard reach.roles.contains(where: { $0.utf8.elementsEqual("peer".utf8) }) else {
            return failed(
                name, "we are no peer of \(evidence.peer)",
                "add \(evidence.ours.zone) to peers.yaml of \(evidence.peer) with authorized: true")
        }
        if let flow = evidence.peerIsLost { return lost(name, flow) }
        return passed(
            name,
            "mutual TLS 1.3; the certificate of \(reach.identity) is anchored and named as peers.yaml "
                + "says, and we are a peer there")
    }

    private func lost(_ name: String, _ flow: AcceptanceEvidence.Flow) -> Criterion {
        failed(
            name,
            "\(evidence.peer) does not get through to us: \(flow.pull.sentence)"
                + (evidence.refusedHere.map { "; we noted \($0.text)" } ?? ""),
            "bsfg doctor peer \(evidence.ours.zone), on \(evidence.peer)")
    }

    private var clocks: Criterion {
        guard let difference = evidence.reach.clockMilliseconds else {
            return .notChecked(
                "clocks", "3.3", "the clock of \(evidence.peer) is not known", required: false)
        }
        guard difference.magnitude <= UInt64(Self.clockMillisecondsMaximum) else {
            return .failed(
                "clocks", "3.3",
                "the clock of \(evidence.peer) is \(difference.magnitude / 1_000) s "
                    + "\(difference > 0 ? "ahead of" : "behind") ours: certificates expire and facts age by it",
                command: "timedatectl status, on both machines")
        }
        return .passed("clocks", "3.3", "the clocks differ by \(difference.magnitude) ms")
    }

    // MARK: - What may cross

    private var authorization: Criterion {
        let name = "authorization"
        if let problem = evidence.plan.problems.first {
            return failed(name, problem.sentence, problem.remedy)
        }
        let refused = evidence.flows.filter { $0.isBlocked(by: Self.grantReasons) }
        if let flow = refused.first(where: \.isOfNow) {
            return failed(
                name, "\(flow.name) is refused, \(flow.pull.reason): \(flow.pull.sentence)",
                "bsfg federation plan --peer \(evidence.peer)")
        }
        if let flow = refused.first { return then(name, flow) }
        if let allowed = evidence.denials.first(where: { $0.verdict == .allowed && !$0.isOfCaller }) {
            return failed(
                name, "\(evidence.peer) did not refuse \(allowed.name): \(allowed.sentence)",
                "bsfg peer deny-test \(evidence.peer)")
        }
        let isPulling = !evidence.latestOurs.pulls(from: evidence.peer).isEmpty
        if let open = evidence.denials.notRefused(Denial.grantCases(isPulling: isPulling)) {
            return self.open(
                name, "\(evidence.peer) was not seen to refuse \(open)",
                "bsfg peer deny-test \(evidence.peer)")
        }
        let denied = evidence.denials.filter { $0.verdict == .refused && !$0.isOfCaller }.map(\.name)
        return passed(
            name,
            "what is granted is given; \(evidence.peer) refused \(denied.joined(separator: ", "))")
    }

    /// What a file says of a pull was so when the file was written: it neither passes nor fails anything now.
    func then(_ name: String, _ flow: AcceptanceEvidence.Flow) -> Criterion {
        open(
            name,
            "\(flow.name) was \(flow.pull.state) when the file of \(evidence.peer) was written: "
                + (flow.pull.reason.isEmpty ? flow.pull.sentence : "\(flow.pull.reason), \(flow.pull.sentence)"),
            "--peer-admin SOCKET, or a newer --evidence FILE")
    }

    // MARK: - Facts and cursors

    private var replay: Criterion {
        let name = "replay"
        let flows = evidence.flows
        guard !flows.isEmpty else {
            return open(
                name, "neither side pulls from the other", "add what is pulled to cursors.yaml")
        }
        for flow in flows where flow.pull.state == "blocked" && flow.isOfNow {
            if flow.isBlocked(by: Self.historyReasons) { continue }
            return failed(
                name, "\(flow.name) is blocked, \(flow.pull.reason): \(flow.pull.sentence)",
                "bsfg doctor peer \(evidence.peer)")
        }
        let silent = flows.filter {
            ($0.pull.state == "unavailable" || $0.pull.nextOffset == nil) && !$0.isBlocked(by: Self.historyReasons)
        }
        // Behind a closed gate nothing can come.
        if !silent.isEmpty, let closure = evidence.closure {
            return open(
                name, "\(silent.map(\.name).joined(separator: ", ")) is not pulled now: \(closure)", reopening)
        }
        if let flow = silent.first(where: \.isOfNow) {
            return failed(
                name, "\(flow.name) is \(flow.pull.state): \(flow.pull.sentence)",
                "bsfg doctor peer \(evidence.peer)")
        }
        if let flow = silent.first ?? flows.first(where: { $0.pull.state == "blocked" && !$0.isOfNow }) {
            return then(name, flow)
        }
        if let held = quarantined {
            return failed(
                name, "a fact of \(held.stream) of \(held.origin) is in quarantine at \(held.zone), "
                    + "\(held.reason): what its source served is not what its zone produced",
                "bsfg quarantine list, on \(held.zone)")
        }
        if let flow = flows.first(where: { !$0.receiver.hasWhole(.quarantined) }) {
            return open(
                name, "more is in quarantine at \(flow.receiver.zone) than was looked at",
                "bsfg quarantine list, on \(flow.receiver.zone)")
        }
        if let flow = flows.first(where: { $0.storedCount == 0 }) {
            return open(
                name,
                "\(flow.name) has brought nothing yet, its source has no facts behind where the pull began",
                "append a fact there and accept again")
        }
        let facts = flows.reduce(UInt64(0)) { sum, flow in
            // A file of evidence may say anything.
            let (facts, isBeyond) = sum.addingReportingOverflow(flow.storedCount)
            return isBeyond ? .max : facts
        }
        return passed(name, "\(flows.count) pulls brought facts, \(facts) are here durably")
    }

    /// What opens the gate again, on the side where it was closed.
    private var reopening: String {
        let isTheirs =
            evidence.latestOurs.closure(of: evidence.peer) == nil
            && evidence.theirsAfter?.closure(of: evidence.ours.zone) != nil
        return isTheirs
            ? "bsfg admin reconcile --peer \(evidence.ours.zone), on \(evidence.peer), when it may be open"
            : "bsfg admin reconcile --peer \(evidence.peer), when it may be open"
    }

    /// The first fact of a pull between the two that its receiver could not take.
    private var quarantined: (zone: String, stream: String, origin: String, reason: String)? {
        for flow in evidence.flows {
            let held = flow.receiver.quarantined?.first {
                $0.stream.utf8.elementsEqual(flow.pull.stream.utf8)
                    && $0.origin.utf8.elementsEqual(flow.pull.origin.utf8)
            }
            if let held { return (flow.receiver.zone, held.stream, held.origin, held.reason) }
        }
        return nil
    }

    // MARK: - Drills

    private var duplicateReplay: Criterion {
        let name = "duplicate_replay"
        if let broken = evidence.replays.first(where: { $0.problem != nil }) {
            return failed(
                name, "\(broken.stream) of \(broken.origin): \(broken.problem ?? "")")
        }
        let run = evidence.replays.filter { $0.fromOffset != nil }
        if run.isEmpty, let elsewhere = nothingPulledHere(name) { return elsewhere }
        guard !run.isEmpty else { return open(name, "no fact was there to be fetched again") }
        if let altered = run.first(where: { $0.alteredCount > 0 }) {
            return failed(
                name,
                "\(altered.alteredCount) facts of \(altered.stream) of \(altered.origin) from offset "
                    + "\(altered.fromOffset ?? 0) on came again with another id or other content than what is "
                    + "stored, which stays as it is",
                "journalctl -u bsfg, for the offsets: redelivery_altered")
        }
        if let grown = run.first(where: { $0.addedCount > 0 }) {
            return failed(
                name,
                "\(grown.stream) of \(grown.origin) grew by \(grown.addedCount) beyond what was new when "
                    + "offset \(grown.fromOffset ?? 0) and later came again")
        }
        if let unfinished = run.first(where: { !$0.isComplete }) {
            return failed(
                name,
                "\(unfinished.stream) of \(unfinished.origin): \(unfinished.againCount) of "
                    + "\(unfinished.askedCount) offsets from \(unfinished.fromOffset ?? 0) on came again in order "
                    + "within the time given")
        }
        if let partly = run.first(where: { $0.uncomparedCount > 0 }) {
            return open(
                name,
                "\(partly.stream) of \(partly.origin): \(partly.againCount) of \(partly.askedCount) offsets from "
                    + "\(partly.fromOffset ?? 0) on came again; for \(partly.uncomparedCount) of them nothing is "
                    + "stored here that they could be held against",
                "append facts at its source and accept again")
        }
        let again = run.reduce(UInt64(0)) { $0 &+ $1.recognisedCount }
        return passed(
            name, "\(again) facts came again with the id and the content that are stored, no log grew by them")
    }

    /// A replay is of pulls, and a source that is looked at alone has none.
    private func nothingPulledHere(_ name: String) -> Criterion? {
        guard evidence.latestOurs.pulls(from: evidence.peer).isEmpty else { return nil }
        return open(
            name, "nothing is pulled here from \(evidence.peer): what crosses comes again where it is pulled",
            "--peer-admin SOCKET, or bsfg federation drill --peer \(evidence.ours.zone), on \(evidence.peer)")
    }

    private var replayDrill: Criterion {
        let run = evidence.replays.filter { $0.fromOffset != nil }
        if run.isEmpty, let elsewhere = nothingPulledHere("replay_drill") { return elsewhere }
        guard !run.isEmpty else {
            return open(
                "replay_drill", "the duplicate replay was not performed",
                "bsfg federation drill --peer \(evidence.peer)")
        }
        if let unfinished = run.first(where: { !$0.isComplete && $0.alteredCount == 0 }) {
            return open(
                "replay_drill",
                "the duplicate replay of \(unfinished.stream) of \(unfinished.origin) did not come to its end: "
                    + "\(unfinished.againCount) of \(unfinished.askedCount) offsets came again",
                "bsfg federation drill --peer \(evidence.peer)")
        }
        return passed(
            "replay_drill",
            "performed on "
                + run.map {
                    "\($0.askedCount) offsets of \($0.stream) of \($0.origin) from \($0.fromOffset ?? 0) on"
                        + ($0.receiver.map { " at \($0)" } ?? "")
                }.joined(separator: ", "))
    }

    private var partitionRecovery: Criterion {
        let obstacle = evidence.partition.map(\.obstacle) ?? evidence.closure
        if let obstacle {
            return open(
                "partition_recovery", "no partition was made: \(obstacle)", reopening)
        }
        guard let record = evidence.partition else {
            return open(
                "partition_recovery", "no partition was made",
                "bsfg federation drill --peer \(evidence.peer)")
        }
        return PartitionCriterion(peer: evidence.peer, record: record).judge()
    }
}

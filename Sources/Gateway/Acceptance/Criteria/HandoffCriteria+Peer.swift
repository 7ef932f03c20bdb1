internal import RPC

/// Whom the peer lets in, and how it is itself.
extension HandoffCriteria {
    var denials: Criterion {
        let (name, section) = ("denials", "4.3")
        let command = "bsfg peer deny-test \(evidence.peer)"
        if let allowed = evidence.denials.first(where: { $0.verdict == .allowed && $0.isOfCaller }) {
            return .failed(
                name, section, "\(evidence.peer) did not refuse \(allowed.name): \(allowed.sentence)",
                command: command)
        }
        if let open = evidence.denials.notRefused(Denial.callerCases) {
            return .notChecked(
                name, section, "\(evidence.peer) was not seen to refuse \(open)", command: command)
        }
        return .passed(
            name, section, "\(evidence.peer) refused \(Denial.callerCases.joined(separator: ", "))")
    }

    /// Both zones are to be healthy, and to stay so for the time that the runbook asks for.
    var peerHealth: Criterion {
        let (name, section) = ("peer_health", "6.1")
        let command = "bsfg status and bsfg cert status, on \(evidence.peer)"
        let reach = evidence.reach
        if let reason = reach.notCalled {
            return .notChecked(
                name, section, "\(reason): what it says of itself was not heard",
                command: "bsfg federation accept --peer \(evidence.ours.zone), on \(evidence.peer)")
        }
        if let problem = reach.healthProblem(atSeconds: evidence.ours.takenAtUnixMs / 1_000)
            ?? evidence.latestTheirs?.logProblem
        {
            return .failed(name, section, "\(evidence.peer): \(problem)", command: command)
        }
        guard let until = reach.certificateNotAfter else {
            return .notChecked(
                name, section, "how long the certificate of \(evidence.peer) is valid is not known",
                command: command)
        }
        if let staleness = evidence.staleness {
            return .notChecked(
                name, section, staleness,
                command: "bsfg federation evidence --out FILE, on \(evidence.peer), then --evidence FILE here")
        }
        guard let theirs = evidence.latestTheirs else {
            return .notChecked(
                name, section, "\(evidence.peer) says that it is ok; its logs were not seen",
                command: "--peer-admin SOCKET, or --evidence FILE")
        }
        return .passed(
            name, section,
            "\(evidence.peer) says that it is ok, writes its \(theirs.logs.count) logs, and its certificate is "
                + "valid until \(UTCText.text(until))")
    }
}

extension NodeEvidence {
    /// A log that is not written, or was full; in words.
    var logProblem: String? {
        guard let log = logs.first(where: { $0.state != "writing" || $0.isAlarmed }) else { return nil }
        return "the log \(log.stream) of \(log.origin) "
            + (log.isAlarmed ? "was full and its alarm stands" : "is \(log.state)")
    }
}

extension PeerReach {
    /// Why a node that answers is not one to begin a federation with.
    func healthProblem(atSeconds now: Int64) -> String? {
        guard failedStep == nil, notCalled == nil else { return nil }
        guard state.utf8.elementsEqual("ok".utf8) else {
            return "it answers, and says of itself that it is '\(state)': one of its logs has stopped"
        }
        guard let until = certificateNotAfter else { return nil }
        // Both numbers are the other side's, or a clock's.
        let (left, isBeyond) = until.subtractingReportingOverflow(now)
        let days = (isBeyond ? (until < now ? .min : .max) : left) / 86_400
        guard days >= CertificateStatus.daysLeftMinimum else {
            return "its certificate expires in \(days) days, at \(UTCText.text(until)); the runbook asks for "
                + "\(CertificateStatus.daysLeftMinimum), so have a new one issued"
        }
        return nil
    }
}

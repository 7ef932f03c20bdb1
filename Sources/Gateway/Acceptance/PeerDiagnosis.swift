internal import RPC

/// One thing that is wrong between a node and a peer, what is likely behind it, and what to do next.
package struct PeerDiagnosis: Sendable, Equatable {
    package var finding: String
    package var cause: String
    package var next: String

    /// Everything that is wrong, the nearest cause first: what comes later is often its consequence.
    /// - Parameters:
    ///   - theirs: what the peer says of itself; nil where that is not known.
    ///   - isLive: whether it says so now, and not in a file: what an operator closed then may be open now.
    package static func diagnose(
        _ preflight: [Criterion], reach: PeerReach?, node: NodeEvidence?, theirs told: NodeEvidence? = nil,
        isLive: Bool = true, plan: FederationPlan
    ) -> [PeerDiagnosis] {
        var found = preflight.filter { $0.verdict == .failed && $0.name != "endpoint" }.map {
            PeerDiagnosis(
                finding: $0.sentence, cause: "a precondition of section \($0.section) is not met",
                next: $0.command ?? "bsfg federation preflight --peer \(plan.peer)")
        }
        if let reach { found += diagnose(reach, plan.peer, plan.zone) }
        if let reach, reach.failedStep == nil, reach.zone.utf8.elementsEqual(plan.peer.utf8),
            let endpoint = preflight.named("endpoint"), endpoint.verdict == .failed
        {
            found.append(
                PeerDiagnosis(
                    finding: endpoint.sentence, cause: "\(plan.peer) itself is not as it should be",
                    next: endpoint.command ?? "bsfg status, on \(plan.peer)"))
        }
        for problem in plan.problems where !problem.zone.utf8.elementsEqual(plan.zone.utf8) {
            found.append(
                PeerDiagnosis(
                    finding: problem.sentence, cause: "the configuration of \(problem.zone)",
                    next: problem.remedy))
        }
        guard let node else { return found }
        let theirs = told.flatMap { told in
            told.zone.utf8.elementsEqual(plan.peer.utf8)
                && (isLive || told.isOfNow(atMilliseconds: node.takenAtUnixMs)) ? told : nil
        }
        if let gate = node.gate(to: plan.peer), gate.isClosedByOperator {
            found.append(
                PeerDiagnosis(
                    finding: "the gate to \(plan.peer) is closed: \(gate.reason)",
                    cause: "an operator closed it", next: "bsfg admin reconcile --peer \(plan.peer)"))
        }
        if isLive, let closure = theirs?.closure(of: plan.zone) {
            found.append(
                PeerDiagnosis(
                    finding: closure, cause: "an operator closed it",
                    next: "on \(plan.peer): bsfg admin reconcile --peer \(plan.zone)"))
        }
        if let refusal = refusal(node, plan.peer) { found.append(refusal) }
        if let gate = node.gate(to: plan.peer), !gate.isClosedByOperator {
            found += diagnose(gate, node, theirs)
        }
        for pull in node.pulls(from: plan.peer) {
            if let diagnosis = diagnose(pull, plan.zone) { found.append(diagnosis) }
        }
        return found
    }

    /// Whom we refused under the peer's name while the gate to it is not what it should be.
    private static func refusal(_ node: NodeEvidence, _ peer: String) -> PeerDiagnosis? {
        guard let gate = node.gate(to: peer), !gate.mode.utf8.elementsEqual("normal".utf8),
            let entry = FederationSide(node).peer(peer),
            let refusal = node.lastRefusal(of: entry.identity)
        else { return nil }
        return PeerDiagnosis(
            finding: "we refused \(peer): \(refusal.text)",
            cause: "what it shows is not what its entry in peers.yaml says, or is out of date",
            next: "compare identity and ca of the entry \(peer) with bsfg cert status there")
    }

    private static func diagnose(_ reach: PeerReach, _ peer: String, _ zone: String) -> [PeerDiagnosis] {
        if let step = reach.failedStep {
            let (cause, next) = likely(step, reach.failure, peer, zone)
            return [PeerDiagnosis(finding: reach.obstacle ?? step.sentence, cause: cause, next: next)]
        }
        var found: [PeerDiagnosis] = []
        if !reach.zone.utf8.elementsEqual(peer.utf8) {
            found.append(
                PeerDiagnosis(
                    finding: "the node there is of the zone \(reach.zone)",
                    cause: "the endpoint or the id of \(peer) in peers.yaml is another node's",
                    next: "correct peers.yaml, then: bsfg config reload"))
        }
        if !reach.roles.contains(where: { $0.utf8.elementsEqual("peer".utf8) }) {
            found.append(
                PeerDiagnosis(
                    finding: "we are no peer of \(peer)",
                    cause: "its peers.yaml has no entry of us with authorized: true",
                    next: "on \(peer): add \(zone) to peers.yaml, then: bsfg config reload"))
        }
        if let difference = reach.clockMilliseconds,
            difference.magnitude > UInt64(HandoffCriteria.clockMillisecondsMaximum)
        {
            found.append(
                PeerDiagnosis(
                    finding: "the clocks differ by \(difference.magnitude / 1_000) s",
                    cause: "one of the two machines has no time service",
                    next: "timedatectl status, on both"))
        }
        return found
    }

    private static func likely(
        _ step: PeerReach.Step, _ failure: String?, _ peer: String, _ zone: String
    ) -> (cause: String, next: String) {
        // The reason for which we refused its certificate ends the sentence.
        let refusal = CertificateRefusal.Kind.allCases.first { step.sentence.hasSuffix("(\($0.rawValue))") }
        if let refusal { return likely(refusal, peer) }
        return switch step.name {
        case "dns": ("the name is not known to this machine", "getent hosts NAME, then correct the endpoint")
        case "tcp":
            failure == "refused"
                ? ("nothing listens there", "on \(peer): bsfg serve, or correct the endpoint in peers.yaml")
                : ("a firewall drops it, or the machine is down", "ping the host, then ask for the port")
        case "tls":
            (
                "one side does not trust the other's CA, or a certificate is out of date",
                "bsfg cert status --config DIR, here and on \(peer); exchange the ca.crt files"
            )
        case "identity":
            (
                "its certificate is not what its entry in peers.yaml says",
                "compare identity and ca of the entry \(peer) in peers.yaml with bsfg cert status there"
            )
        default:
            (
                "\(peer) does not accept us", "on \(peer): compare its entry of \(zone) with our certificate"
            )
        }
    }

    /// Why a server's certificate is not taken, by what we found wrong with it.
    private static func likely(
        _ refusal: CertificateRefusal.Kind, _ peer: String
    ) -> (cause: String, next: String) {
        let status = "on \(peer): bsfg cert status --config DIR"
        return switch refusal {
        case .revoked:
            (
                "the certificate that \(peer) shows was revoked by its CA",
                "on \(peer): issue a new certificate with bsfg cert issue --force, or bsfg cert csr and cert import"
            )
        case .revocationUnknown:
            (
                "there is no current CRL of its CA here, and 'crl: required' asks for one",
                "bsfg cert status --config DIR, then put the current CRL of the CA of \(peer) in place"
            )
        case .expired, .notYetValid:
            (
                "the certificate of \(peer) is out of date, or one of the two clocks is wrong",
                "timedatectl status, on both; \(status), and issue a new certificate there"
            )
        case .unknownIssuer, .untrusted, .chainTooLong:
            (
                "the certificate of \(peer) is of a CA that its entry does not have",
                "compare ca of the entry \(peer) in peers.yaml with the CA there; \(status)"
            )
        case .wrongUsage, .unsupportedKey, .malformed:
            ("the certificate of \(peer) is not one for a node", "\(status), and issue a new certificate there")
        case .noMatchingIdentity, .ambiguousIdentity, .identityMismatch:
            (
                "the certificate there has another name than the entry \(peer)",
                "compare identity and endpoint of the entry \(peer) in peers.yaml with bsfg cert status there"
            )
        case .notAuthorised:
            (
                "the entry \(peer) in peers.yaml says authorized: false",
                "say authorized: true there if it is to be pulled from, then: bsfg config reload"
            )
        }
    }

    /// Whether what is under way may be done with in a moment, so that a second look tells more.
    package static func isUnderWay(_ node: NodeEvidence, peer: String) -> Bool {
        node.gate(to: peer).map { !$0.isNormal && !$0.isClosedByOperator } == true
            || node.pulls(from: peer).contains { $0.state == "connecting" }
    }

    /// Each direction that is not as it should be.
    private static func diagnose(
        _ gate: NodeEvidence.Gate, _ node: NodeEvidence, _ theirs: NodeEvidence?
    ) -> [PeerDiagnosis] {
        guard !gate.isNormal else { return [] }
        var found: [PeerDiagnosis] = []
        func add(_ what: String, _ mode: String, _ reason: String, _ cause: String, _ next: String) {
            found.append(
                PeerDiagnosis(
                    finding: "\(what) is \(mode)" + (reason.isEmpty ? "" : ": \(reason)"), cause: cause, next: next))
        }
        if let inbound = gate.inbound, !inbound.isNormal {
            add(
                "the gate of our pulls from \(gate.peer)", inbound.mode, inbound.reason,
                "\(gate.peer) does not answer our pulls, or they are not caught up yet",
                "bsfg peer probe \(gate.peer), and bsfg status for each pull")
        }
        // Whoever takes nothing here never calls.
        let takesNothing = theirs.map { $0.pulls(from: node.zone).isEmpty } ?? false
        if let outbound = gate.outbound, !outbound.isNormal, !takesNothing {
            add(
                "the gate by which \(gate.peer) takes from us", outbound.mode, outbound.reason,
                "\(gate.peer) takes none of what it is granted, does not get through to us, or is not caught up yet",
                "on \(gate.peer): bsfg doctor peer \(node.zone)")
        }
        if gate.inbound == nil, gate.outbound == nil {
            add(
                "the gate to \(gate.peer)", gate.mode, gate.reason, "one of the two does not get through",
                "bsfg peer probe \(gate.peer)")
        }
        return found
    }

    private static func diagnose(_ pull: NodeEvidence.Pull, _ zone: String) -> PeerDiagnosis? {
        let name = "\(pull.stream) of \(pull.origin)"
        switch pull.state {
        case "unavailable":
            return PeerDiagnosis(
                finding: "\(name) is unavailable: \(pull.sentence)",
                cause: "\(pull.peer) does not answer this pull, or cannot serve it at the moment",
                next: "bsfg peer probe \(pull.peer); on \(pull.peer): bsfg doctor peer \(zone)")
        case "connecting", "stopped":
            return PeerDiagnosis(
                finding: "\(name) is \(pull.state)" + (pull.sentence.isEmpty ? "" : ": \(pull.sentence)"),
                cause: pull.state == "stopped"
                    ? "the node is about to end, or puts another configuration in force"
                    : "nothing came back of its first call",
                next: "bsfg status, and the log of this node")
        case "manual":
            return PeerDiagnosis(
                finding: "\(name) is not pulled", cause: "start: manual holds it",
                next: "bsfg peer start \(pull.peer)")
        case "blocked": break
        default: return nil
        }
        let finding = "\(name) is blocked, \(pull.reason): \(pull.sentence)"
        if HandoffCriteria.grantReasons.contains(pull.reason) {
            return PeerDiagnosis(
                finding: finding, cause: "\(pull.peer) does not grant it to \(zone)",
                next: "on \(pull.peer): add it to the entry \(zone) in peers.yaml, then: bsfg config reload")
        }
        if HandoffCriteria.historyReasons.contains(pull.reason) {
            return PeerDiagnosis(
                finding: finding, cause: "one side was restored, copied or replaced",
                next: "find out which one went back, then: bsfg peer accept-history --peer \(pull.peer) "
                    + "--reason WHY")
        }
        return PeerDiagnosis(
            finding: finding, cause: "the stream waits for an operator",
            next: "bsfg status, bsfg quarantine list")
    }
}

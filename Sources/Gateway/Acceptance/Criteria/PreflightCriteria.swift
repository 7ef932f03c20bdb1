internal import RPC

/// The preconditions of the bring-up runbook (sections 1 and 3) on this side. No I/O.
package struct PreflightCriteria {
    package static let names = [
        "certificate", "chain", "usage", "validity", "key_mode", "anchors", "crl", "ocsp", "clock",
        "configuration", "approval", "node", "disk", "disk_test", "endpoint",
    ]

    let evidence: PreflightEvidence

    package static func judge(_ evidence: PreflightEvidence) -> [Criterion] {
        let judge = PreflightCriteria(evidence: evidence)
        var found = [
            judge.credentials, judge.chain, judge.usage, judge.validity, judge.keyMode, judge.anchors,
            judge.revocation, judge.onlineRevocation, judge.clock, judge.configuration, judge.approval,
            judge.node, judge.room, judge.diskTest,
        ]
        found += judge.endpoint
        return found
    }

    private func missing(_ name: String, _ section: String) -> Criterion {
        .notChecked(name, section, "there is no certificate to look at", command: evidence.certificateCommand)
    }

    // MARK: - Certificates

    private var credentials: Criterion {
        if let problem = evidence.credentialsProblem {
            return .failed("certificate", "3.1", problem, command: evidence.credentialsCommand)
        }
        if let node = evidence.node, let difference = difference(from: node) { return difference }
        return .passed("certificate", "3.1", "certificate, key and identity belong together")
    }

    /// What is judged lies in the files, and what a peer is shown is the running node's.
    private func difference(from node: NodeEvidence) -> Criterion? {
        let (name, section) = ("certificate", "3.1")
        guard let shown = node.certificate else {
            return .notChecked(
                name, section, "the running node does not say which certificate it shows", command: "bsfg status")
        }
        let isOfRestart = evidence.restartKeys.contains { $0.utf8.starts(with: "tls.".utf8) }
        let reload = isOfRestart ? "bsfg config diff, then restart the node" : "bsfg config reload"
        let refused = shown.refusedFiles.isEmpty ? "" : "; it does not use what lies there: \(shown.refusedFiles)"
        if let certificate = evidence.certificate, !certificate.serial.utf8.elementsEqual(shown.serial.utf8) {
            return .failed(
                name, section,
                "the running node shows the certificate with the serial number \(shown.serial), \(certificate.file) "
                    + "has \(certificate.serial): what is accepted is what runs\(refused)", command: reload)
        }
        if !shown.refusedFiles.isEmpty {
            return .failed(
                name, section, "not all that lies in the certificate files is in force: \(shown.refusedFiles)",
                command: "put right what it names, then \(reload)")
        }
        if !shown.problem.isEmpty {
            return .failed(
                name, section, "others refuse the certificate that the running node shows: \(shown.problem)",
                command: evidence.renewalCommand)
        }
        return nil
    }

    private var chain: Criterion {
        guard let certificate = evidence.certificate else { return missing("chain", "3.1") }
        if let problem = certificate.chainProblem {
            return .failed(
                "chain", "3.1", problem,
                command: "put the root and every issuing CA into the files of tls.ca")
        }
        return .passed("chain", "3.1", "\(certificate.file) chains to our own anchors")
    }

    private var usage: Criterion {
        guard let certificate = evidence.certificate else { return missing("usage", "3.1") }
        let wanted = ["serverAuth", "clientAuth"]
        // A certificate that names no usage may be used for all.
        let lacking = wanted.filter { word in
            !certificate.usages.isEmpty && !certificate.usages.contains { $0.utf8.elementsEqual(word.utf8) }
        }
        guard lacking.isEmpty else {
            return .failed(
                "usage", "3.1",
                "\(certificate.file) may not be used as \(lacking.joined(separator: " and "))",
                command: evidence.renewalCommand)
        }
        return .passed("usage", "3.1", "it may be used by a server and by a client")
    }

    private var validity: Criterion {
        guard let certificate = evidence.certificate else { return missing("validity", "3.3") }
        let until = UTCText.text(certificate.notAfter)
        let clock = "this clock says \(UTCText.text(evidence.now))"
        let command = evidence.renewalCommand
        if evidence.now < certificate.notBefore {
            return .failed(
                "validity", "3.3",
                "\(certificate.file) is not valid before \(UTCText.text(certificate.notBefore)), \(clock)",
                command: "timedatectl status, and compare with the CA's clock")
        }
        if evidence.now >= certificate.notAfter {
            return .failed(
                "validity", "3.3", "\(certificate.file) expired at \(until), \(clock)", command: command)
        }
        let days = (certificate.notAfter - evidence.now) / 86_400
        guard days >= CertificateStatus.daysLeftMinimum else {
            return .failed(
                "validity", "3.3",
                "\(certificate.file) expires in \(days) days, at \(until); the runbook asks for "
                    + "\(CertificateStatus.daysLeftMinimum)", command: command)
        }
        return .passed("validity", "3.3", "\(certificate.file) is valid until \(until)")
    }

    private var keyMode: Criterion {
        if let exposure = evidence.keyExposure { return .failed("key_mode", "3.1", exposure) }
        return .passed("key_mode", "3.1", "the key can be read by its owner alone, or by one group where root owns it")
    }

    private var anchors: Criterion {
        guard !evidence.anchors.isEmpty else {
            return .failed(
                "anchors", "1", "no CA certificate can be read for \(evidence.peer)",
                command: "copy the peer's ca.crt to the file of ca in its entry of peers.yaml")
        }
        return .passed(
            "anchors", "1", "\(evidence.peer) is to chain to \(evidence.anchors.joined(separator: ", "))")
    }

    private var revocation: Criterion {
        if case .revoked(let sentence) = evidence.certificate?.revocation {
            return .failed(
                "crl", "3.3", sentence, command: evidence.renewalCommand)
        }
        guard !evidence.revocations.isEmpty else {
            return .notChecked(
                "crl", "3.3", "no CRL of the CAs is here, so nothing that was revoked is known",
                required: false)
        }
        if let stale = evidence.revocations.first(where: { $0.nextUpdate <= evidence.now }) {
            return .failed(
                "crl", "3.3",
                "\(stale.file) should have been replaced by \(UTCText.text(stale.nextUpdate))",
                command: "copy the CA's newest CRL there")
        }
        if let certificate = evidence.certificate, case .unknown(let sentence) = certificate.revocation {
            return .notChecked(
                "crl", "3.3", "whether \(certificate.file) was revoked is not known: \(sentence)",
                command: "copy the CRL of its CA beside the CA's file", required: false)
        }
        return .passed(
            "crl", "3.3",
            "\(evidence.revocations.count) CRLs are here and current, and our certificate is on none of them")
    }

    private var onlineRevocation: Criterion {
        .notChecked(
            "ocsp", "3.3", "this release asks no OCSP responder; CRL files are what revokes",
            required: false)
    }

    private var clock: Criterion {
        guard evidence.isClockSynchronised else {
            return .notChecked(
                "clock", "3.3", "the kernel does not say that the clock is synchronised",
                command: "timedatectl set-ntp true", required: false)
        }
        return .passed("clock", "3.3", "the kernel says that the clock is synchronised")
    }

    // MARK: - Configuration

    private var configuration: Criterion {
        if let key = evidence.changedKeys.first {
            let others = evidence.changedKeys.count - 1
            return .failed(
                "configuration", "4",
                "the files say another thing than the running node, of \(key)"
                    + (others > 0 ? " and \(others) other keys" : "")
                    + ": what is accepted is what runs",
                command: evidence.restartKeys.isEmpty
                    ? "bsfg config diff, then bsfg config reload"
                    : "bsfg config diff, then restart the node, or take back what it shows")
        }
        let own = evidence.plan.problems.first { $0.zone.utf8.elementsEqual(evidence.plan.zone.utf8) }
        if let own {
            return .failed("configuration", "4", own.sentence, command: own.remedy)
        }
        let grant = evidence.plan.grants.first { $0.from.utf8.elementsEqual(evidence.plan.zone.utf8) }
        let pulls = evidence.plan.flows.filter {
            $0.receiver.utf8.elementsEqual(evidence.plan.zone.utf8)
        }
        return .passed(
            "configuration", "4",
            "\(evidence.peer) may take \(list(grant?.streams)) of \(list(grant?.origins)), artifacts "
                + "\(list(grant?.artifacts)); we pull \(list(pulls.map { "\($0.stream) of \($0.origin)" }))")
    }

    private func list(_ names: [String]?) -> String {
        guard let names, !names.isEmpty else { return "nothing" }
        return names.joined(separator: ", ")
    }

    private var approval: Criterion {
        guard let approval = evidence.approval, !approval.isEmpty else {
            return .notChecked(
                "approval", "1", "nobody said where the authorization matrix is approved",
                command: "--approval TICKET", required: false)
        }
        return .passed("approval", "1", "approved by \(approval)")
    }

    // MARK: - The node and its disk

    private var node: Criterion {
        guard let node = evidence.node else {
            return .failed(
                "node", "1", evidence.nodeProblem ?? "the node does not answer",
                command: evidence.serveCommand)
        }
        if let problem = node.logProblem {
            return .failed("node", "1", problem, command: "bsfg status")
        }
        return .passed("node", "1", "the node runs, \(node.logs.count) logs are written")
    }

    private var room: Criterion {
        guard let free = evidence.freeBytes else {
            return .notChecked(
                "disk", "1", "the free space of \(evidence.dataDirectory) is not known")
        }
        guard free >= evidence.neededBytes else {
            return .failed(
                "disk", "1",
                "\(evidence.dataDirectory) has \(free >> 20) MiB free, the logs may still grow by "
                    + "\(evidence.neededBytes >> 20) MiB",
                command: "give it a larger file system, or the streams less capacity in bsfg.yaml")
        }
        return .passed(
            "disk", "1", "\(free >> 20) MiB are free, the logs may grow by \(evidence.neededBytes >> 20) MiB")
    }

    private var diskTest: Criterion {
        guard let suspicions = evidence.diskSuspicions else {
            return .notChecked(
                "disk_test", "1", "whether the disk keeps its word was not measured",
                command: "--disk-test", required: false)
        }
        if let first = suspicions.first {
            return .failed(
                "disk_test", "1", first,
                command: "bsfg log disk-test \(shellQuoted(evidence.dataDirectory))", required: false)
        }
        return .passed("disk_test", "1", "nothing speaks against the disk; only pulled power proves it")
    }

    // MARK: - The peer

    private var endpoint: [Criterion] {
        if let problem = evidence.reachProblem {
            return [.notChecked("endpoint", "1", problem)]
        }
        guard let reach = evidence.reach else { return [] }
        if let obstacle = reach.obstacle {
            return [
                .failed(
                    "endpoint", "1", obstacle,
                    command: "bsfg doctor peer \(evidence.peer)")
            ]
        }
        guard reach.zone.utf8.elementsEqual(evidence.peer.utf8) else {
            return [
                .failed(
                    "endpoint", "1",
                    "the node there is of the zone \(reach.zone), peers.yaml says \(evidence.peer)",
                    command: "correct the endpoint or the id in peers.yaml")
            ]
        }
        if let problem = reach.healthProblem(atSeconds: evidence.now) {
            return [
                .failed(
                    "endpoint", "1", "\(evidence.peer): \(problem)",
                    command: "bsfg status and bsfg cert status, on \(evidence.peer)")
            ]
        }
        return [
            .passed(
                "endpoint", "1", "\(reach.identity) answers that it is ok, its certificate is who it should be")
        ]
    }
}

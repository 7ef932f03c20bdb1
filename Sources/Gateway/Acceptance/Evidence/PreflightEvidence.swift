/// What was found on this side before a federation is brought up. Times are seconds since 1970.
package struct PreflightEvidence: Sendable, Codable, Equatable {
    package struct Certificate: Sendable, Codable, Equatable {
        package var file: String
        package var notBefore: Int64
        package var notAfter: Int64
        package var usages: [String]
        /// Why it does not verify against our own anchors as a server or client; dates aside.
        package var chainProblem: String?
        package var revocation: Revocation
        /// In hexadecimal.
        package var serial = ""
    }

    /// What the CRLs that are here say of our certificate and of what issued it.
    package enum Revocation: Sendable, Codable, Equatable {
        case good
        /// By whom and since when, in words.
        case revoked(String)
        /// Why no CRL of its CA says anything.
        case unknown(String)
    }

    package struct RevocationFile: Sendable, Codable, Equatable {
        package var file: String
        package var nextUpdate: Int64
    }

    package var peer: String
    package var now: Int64
    package var certificate: Certificate?
    /// Why certificate, key and trust files cannot be used together.
    package var credentialsProblem: String?
    /// What helps against it; nil where no command does.
    package var credentialsCommand: String?
    package var keyExposure: String?
    package var anchors: [String] = []
    package var revocations: [RevocationFile] = []
    /// What issues a new certificate.
    package var certificateCommand = ""
    /// What makes the next one in place of the one that is there.
    package var renewalCommand = ""
    /// Whether the kernel says so of the wall clock.
    package var isClockSynchronised = false
    package var dataDirectory = ""
    package var freeBytes: UInt64?
    /// What all logs may still grow by.
    package var neededBytes: UInt64 = 0
    /// What a measurement of the disk suspects; nil: it was not measured.
    package var diskSuspicions: [String]?
    /// What the running node says of itself; nil with the reason where it does not answer.
    package var node: NodeEvidence?
    package var nodeProblem: String?
    package var serveCommand = ""
    /// Keys of who the node is, its certificates, its artifacts, the peer, cursors and streams that the files have
    /// otherwise than the running node.
    package var changedKeys: [String] = []
    /// Of those, the ones that a running node does not take.
    package var restartKeys: [String] = []
    package var plan: FederationPlan
    /// Nil where the peer is not to be called.
    package var reach: PeerReach?
    package var reachProblem: String?
    /// The ticket or document that approves what is granted.
    package var approval: String?

    package init(peer: String, now: Int64, plan: FederationPlan) {
        self.peer = peer
        self.now = now
        self.plan = plan
    }
}

extension PreflightEvidence {
    /// Notes what the files would change of who the node is, of its certificates and artifacts, of the peer's entry,
    /// of what is pulled and of the streams.
    mutating func noteChanges(files: ConfigurationListing, running: [NodeEvidence.Line]) {
        let lines = running.map { ConfigurationListing.Line(key: $0.key, value: $0.value) }
        let names = ["zone", "identity"]
        let prefixes = ["tls.", "artifacts.", "peers.\(peer).", "cursors.", "streams."]
        let changes = ConfigurationChanges(from: lines, to: files.lines).changes.filter { change in
            names.contains { $0.utf8.elementsEqual(change.key.utf8) }
                || prefixes.contains { change.key.utf8.starts(with: $0.utf8) }
        }
        changedKeys = changes.map(\.key)
        restartKeys = changes.filter { !$0.isLive }.map(\.key)
    }
}

internal import Facts
internal import RPC

/// A node that refuses, asked why. To the refused side a handshake that fails has one alert, or none: what was
/// wrong stands in what the refuser noted, which its administration socket shows and its evidence holds.
package struct Refuser: Sendable {
    private static let patienceMilliseconds: Int64 = 2_000

    private enum Source: Sendable {
        case node(AdminClient)
        case file(NodeEvidence)
    }

    private let source: Source

    /// - Parameters:
    ///   - side: the node itself.
    ///   - evidence: written there by `bsfg federation evidence`: of an earlier refusal, as its time shows.
    /// - Returns: nil where neither was given.
    package init?(_ side: FederationDrill.Side?, or evidence: NodeEvidence?) {
        if let side {
            source = .node(side.admin)
        } else if let evidence {
            source = .file(evidence)
        } else {
            return nil
        }
    }

    /// Whether what it notes can be told from what it noted before.
    var isLive: Bool { if case .node = source { true } else { false } }

    /// What comes behind it is new; nil when the node does not say.
    func mark() async -> UInt64? {
        guard case .node(let admin) = source else { return 0 }
        var request = Bsfg_Admin_V1_ListRefusalsRequest()
        request.limit = 1
        return try? await admin.listRefusals(request).lastNumber
    }

    /// The first refusal of a certificate behind a mark; the last one in a file. A certificate is looked at once
    /// more after the handshake, so that the note may come later than the refusal.
    /// - Parameters:
    ///   - fingerprint: of the certificate; empty: whoever showed none.
    ///   - reason: only for this one; nil: whatever it was.
    func refusal(
        after mark: UInt64, fingerprint: String, reason: ErrorReason? = nil
    ) async -> NodeRefusal? {
        func isIt(_ refusal: NodeRefusal) -> Bool {
            guard refusal.fingerprint.utf8.elementsEqual(fingerprint.utf8) else { return false }
            if let reason { return refusal.reason.utf8.elementsEqual(reason.rawValue.utf8) }
            // Others may knock without a certificate at the same time, and speak no TLS.
            return !fingerprint.isEmpty || refusal.reason.utf8.elementsEqual("no_certificate".utf8)
        }
        switch source {
        case .file(let evidence):
            // Whoever had no certificate then need not be who has none now.
            return fingerprint.isEmpty ? nil : evidence.lastRefusals?.last(where: isIt)
        case .node(let admin):
            var request = Bsfg_Admin_V1_ListRefusalsRequest()
            request.after = mark
            request.fingerprint = fingerprint
            let deadline = PeerLink.nowMilliseconds() + Self.patienceMilliseconds
            while PeerLink.nowMilliseconds() < deadline {
                let found = try? await admin.listRefusals(request).refusals.lazy
                    .map { NodeRefusal($0) }.first(where: isIt)
                if let found { return found }
                try? await Task.sleep(for: .milliseconds(50))
            }
            return nil
        }
    }
}

internal import RPC

/// A node that refuses, asked why through its administration socket. To the refused side a handshake that fails has
/// one alert, or none: what was wrong stands in the refuser's audit.
struct Refuser: Sendable {
    private static let patienceMilliseconds: Int64 = 2_000

    let side: FederationDrill.Side

    /// How often it refused, by reason; nil when it does not say.
    func refusals() async -> [String: UInt64]? {
        guard let status = try? await side.admin.status() else { return nil }
        let counted = NodeEvidence.refusals(status.server).map { ($0.reason, $0.count) }
        return Dictionary(uniqueKeysWithValues: counted)
    }

    /// The reasons that were counted since, joined when others were refused meanwhile; nil for none. A certificate
    /// is looked at once more after the handshake, so that the count may come later than the refusal.
    func reason(since before: [String: UInt64]) async -> String? {
        let deadline = PeerLink.nowMilliseconds() + Self.patienceMilliseconds
        while PeerLink.nowMilliseconds() < deadline {
            let now = await refusals() ?? before
            let risen = now.filter { $0.value > before[$0.key] ?? 0 }.keys
            if !risen.isEmpty { return risen.sorted().joined(separator: ", ") }
            try? await Task.sleep(for: .milliseconds(50))
        }
        return nil
    }
}

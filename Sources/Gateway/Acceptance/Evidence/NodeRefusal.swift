internal import RPC

/// Somebody whom a node did not let in, or did not let have something, as it noted it itself.
package struct NodeRefusal: Sendable, Codable, Equatable {
    /// Rises by one with each since the node began.
    package var number: UInt64
    package var atUnixMs: Int64
    /// `handshake`, `certificate` or `request`.
    package var place: String
    package var reason: String
    package var sentence: String
    /// As configured there; empty where the certificate was nobody's.
    package var identity: String
    package var names: [String]
    /// SHA-256 of the certificate; empty where there was none.
    package var fingerprint: String
    package var address: String
    package var path: String

    /// In one line: the reason, when, whose, from where.
    package var text: String {
        var text = "\(reason) at \(UTCText.text(atUnixMs / 1_000))"
        text += names.isEmpty ? " of nobody named" : " of \(names.joined(separator: " "))"
        if !fingerprint.isEmpty { text += " (SHA-256 \(fingerprint))" }
        if !address.isEmpty { text += " from \(address)" }
        return "\(text): \(sentence)"
    }

    /// Whether its certificate was an identity's, or claimed to be.
    package func names(identity: String) -> Bool {
        let bytes = Array(identity.utf8)
        if self.identity.utf8.elementsEqual(bytes) { return true }
        return names.contains { name in
            name.utf8.elementsEqual(bytes)
                // As `kind:text`, from whom was not let in.
                || name.utf8.drop { $0 != UInt8(ascii: ":") }.dropFirst().elementsEqual(bytes)
        }
    }
}

extension NodeRefusal {
    package init(_ refusal: Bsfg_Admin_V1_Refusal) {
        self.init(
            number: refusal.number, atUnixMs: refusal.atUnixMs, place: refusal.place,
            reason: refusal.reason, sentence: refusal.sentence, identity: refusal.identity,
            names: refusal.names, fingerprint: refusal.fingerprint, address: refusal.address,
            path: refusal.path)
    }
}

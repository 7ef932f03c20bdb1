/// The kinds of names a certificate can carry an identity in (`tls.identity_from`).
package enum IdentityNameKind: String, Sendable, Hashable, CaseIterable {
    case uri
    case dns
    case commonName = "cn"
}

/// One name found in a certificate. A URI `bsfg://plant-a-bsfg` has the text `plant-a-bsfg`.
package struct CertificateName: Sendable, Hashable, CustomStringConvertible {
    package let kind: IdentityNameKind
    package let text: String

    package init(kind: IdentityNameKind, text: String) {
        self.kind = kind
        self.text = text
    }

    package var description: String { "\(kind.rawValue):\(text)" }

    /// Whether a configured identity is this name: bytes, and for DNS names without regard to ASCII
    /// case. There are no wildcards: `*` is not allowed in a configured identity.
    package func matches(identity: String) -> Bool {
        switch kind {
        case .dns:
            return text.utf8.lazy.map(asciiLowercase)
                .elementsEqual(identity.utf8.lazy.map(asciiLowercase))
        case .uri, .commonName:
            return text.utf8.elementsEqual(identity.utf8)
        }
    }
}

/// The grammar of a configured identity.
package enum IdentityGrammar {
    package static let bytesMaximum = 256

    /// What is wrong with an identity, nil when it can be configured.
    package static func problem(_ identity: String) -> String? {
        let bytes = Array(identity.utf8)
        if bytes.isEmpty { return "an identity must not be empty" }
        if bytes.count > bytesMaximum {
            return "an identity has at most \(bytesMaximum) bytes, this one has \(bytes.count)"
        }
        if bytes.contains(UInt8(ascii: "*")) {
            return "an identity must not contain '*': there are no wildcards, list every identity"
        }
        guard bytes.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) else {
            return "an identity consists of printable ASCII characters"
        }
        if bytes.first == 0x20 || bytes.last == 0x20 {
            return "an identity must not begin or end with a space"
        }
        return nil
    }

    /// The form two identities must differ in to be told apart in every kind of name.
    package static func folded(_ identity: String) -> [UInt8] {
        identity.utf8.map(asciiLowercase)
    }
}

func asciiLowercase(_ byte: UInt8) -> UInt8 {
    byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
}

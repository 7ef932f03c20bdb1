/// Why a certificate was refused after the handshake: what the refuser logs and audits as
/// `tls_refused`, and what the refused side is told.
package struct CertificateRefusal: Error, Sendable, CustomStringConvertible {
    /// A stable word for counters and the audit.
    package enum Kind: String, Sendable, CaseIterable {
        case malformed
        case expired
        case notYetValid = "not_yet_valid"
        case unknownIssuer = "unknown_issuer"
        case untrusted
        case revoked
        /// No current CRL where one is required.
        case revocationUnknown = "revocation_unknown"
        case wrongUsage = "wrong_usage"
        case unsupportedKey = "unsupported_key"
        case chainTooLong = "chain_too_long"
        case noMatchingIdentity = "no_matching_identity"
        case ambiguousIdentity = "ambiguous_identity"
        case notAuthorised = "not_authorised"
        case identityMismatch = "identity_mismatch"
    }

    package let kind: Kind
    package let sentence: String
    /// The names that were looked at.
    package let names: [CertificateName]
    /// SHA-256 of the certificate, in hexadecimal.
    package let fingerprint: String
    package let serial: String

    package var description: String { sentence }
}

/// An instant as both sides of a refusal can read it.
package enum UTCText {
    /// `2026-05-04T10:00:00Z` of seconds since 1970 (proleptic Gregorian calendar).
    package static func text(_ seconds: Int64) -> String {
        let days = Int64((Double(seconds) / 86_400).rounded(.down))
        let rest = seconds - days * 86_400
        // Days are counted from the first of March of year 0, so that leap days come last.
        let shifted = days + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let dayOfEra = shifted - era * 146_097
        let yearOfEra =
            (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthIndex = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthIndex + 2) / 5 + 1
        let month = monthIndex < 10 ? monthIndex + 3 : monthIndex - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
            + "T\(padded(rest / 3600, 2)):\(padded(rest / 60 % 60, 2)):\(padded(rest % 60, 2))Z"
    }

    private static func padded(_ number: Int64, _ digits: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
}

/// The last refusals of a server, in bounded memory: 256 of each place, and 256 of those without a
/// certificate, so that strangers who knock do not push out those whom somebody will ask for.
package struct RecentRefusals: Sendable {
    package static let countMaximum = 256

    private enum Kind: Hashable {
        case withoutCertificate
        case withCertificate(Refusal.Place)
    }

    /// The oldest is overwritten.
    private struct Ring {
        var refusals: [Refusal] = []
        var next = 0

        mutating func add(_ refusal: Refusal) {
            if refusals.count < RecentRefusals.countMaximum {
                refusals.append(refusal)
            } else {
                refusals[next] = refusal
                next = (next + 1) % refusals.count
            }
        }
    }

    private var rings: [Kind: Ring] = [:]
    /// Of the newest one; 0 before the first.
    package private(set) var lastNumber: UInt64 = 0

    package init() {}

    /// Keeps it under the next number.
    package mutating func note(_ refusal: Refusal) {
        lastNumber += 1
        var kept = refusal.bounded
        kept.number = lastNumber
        let kind =
            kept.fingerprint.isEmpty ? Kind.withoutCertificate : Kind.withCertificate(kept.place)
        rings[kind, default: Ring()].add(kept)
    }

    /// The newest that fit, the oldest of them first.
    /// - Parameters:
    ///   - number: only those that came after this one.
    ///   - fingerprint: only those of this certificate, lower-case hex; nil: of all.
    package func newest(
        _ limit: Int, after number: UInt64 = 0, fingerprint: String? = nil
    ) -> [Refusal] {
        precondition(limit >= 0, "a limit counts")
        let fitting = rings.values.flatMap(\.refusals).filter { refusal in
            guard refusal.number > number else { return false }
            guard let fingerprint else { return true }
            return refusal.fingerprint.utf8.elementsEqual(fingerprint.utf8)
        }
        return Array(fitting.sorted { $0.number < $1.number }.suffix(limit))
    }
}

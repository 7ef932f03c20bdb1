/// The last refusals of a server, in bounded memory: 256 of each place, and 256 of those without a
/// certificate, so that strangers who knock do not push out those whom somebody will ask for. Nor does one
/// certificate that is shown again and again: beyond a quarter of a place it pushes out its own.
package struct RecentRefusals: Sendable {
    package static let countMaximum = 256
    static let certificateCountMaximum = countMaximum / 4

    private enum Kind: Hashable {
        case withoutCertificate
        case withCertificate(Refusal.Place)
    }

    /// The oldest first.
    private var refusals: [Kind: [Refusal]] = [:]
    /// Of the newest one; 0 before the first.
    package private(set) var lastNumber: UInt64 = 0

    package init() {}

    /// Keeps it under the next number. O(kept of its kind).
    package mutating func note(_ refusal: Refusal) {
        lastNumber += 1
        var kept = refusal.bounded
        kept.number = lastNumber
        let kind =
            kept.fingerprint.isEmpty ? Kind.withoutCertificate : Kind.withCertificate(kept.place)
        RecentRefusals.add(kept, to: &refusals[kind, default: []])
    }

    private static func add(_ refusal: Refusal, to refusals: inout [Refusal]) {
        var own = 0
        var oldestOwn = 0
        if !refusal.fingerprint.isEmpty {
            for index in refusals.indices.reversed()
            where refusals[index].fingerprint.utf8.elementsEqual(refusal.fingerprint.utf8) {
                own += 1
                oldestOwn = index
            }
        }
        if own == certificateCountMaximum {
            refusals.remove(at: oldestOwn)
        } else if refusals.count == countMaximum {
            refusals.removeFirst()
        }
        refusals.append(refusal)
    }

    /// The newest that fit, the oldest of them first.
    /// - Parameters:
    ///   - number: only those that came after this one.
    ///   - fingerprint: only those of certificates whose own begins so, lower-case hex; nil: of all.
    package func newest(
        _ limit: Int, after number: UInt64 = 0, fingerprint: String? = nil
    ) -> [Refusal] {
        precondition(limit >= 0, "a limit counts")
        let fitting = refusals.values.joined().filter { refusal in
            guard refusal.number > number else { return false }
            guard let fingerprint else { return true }
            return refusal.fingerprint.utf8.starts(with: fingerprint.utf8)
        }
        return Array(fitting.sorted { $0.number < $1.number }.suffix(limit))
    }
}

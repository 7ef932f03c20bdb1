/// A stream of an origin that a node has and does not grant to a zone, by the node's own evidence.
struct WithheldStream: Sendable, Equatable {
    /// How many are tried: a file of evidence may say anything.
    static let countMaximum = 64

    var stream: String
    var origin: String

    /// Of the denial.
    var name: String { "stream:\(stream)/\(origin)" }

    static func all(in evidence: NodeEvidence, from zone: String) -> [WithheldStream] {
        let entry = FederationSide(evidence).peer(zone)
        func isGranted(_ log: NodeEvidence.Log) -> Bool {
            guard let entry, entry.isAuthorised else { return false }
            return entry.streams.contains { $0.utf8.elementsEqual(log.stream.utf8) }
                && entry.origins.contains { $0.utf8.elementsEqual(log.origin.utf8) }
        }
        return evidence.logs.filter { !isGranted($0) }
            .map { WithheldStream(stream: $0.stream, origin: $0.origin) }
    }
}

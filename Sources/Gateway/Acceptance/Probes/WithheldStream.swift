/// A stream of an origin that a node has and does not grant to a zone, by the node's own evidence.
struct WithheldStream: Sendable, Equatable {
    /// How many are tried of a file of evidence, which may say anything.
    static let countMaximum = 64
    static let namePrefix = "stream:"

    var stream: String
    var origin: String

    /// Of the denial.
    var name: String { "\(Self.namePrefix)\(stream)/\(origin)" }

    /// Where a real stream could not be tried, the one that nobody has says nothing of it.
    static func weigh(_ denials: inout [Denial]) {
        guard
            let open = denials.first(where: {
                $0.verdict == .notChecked && $0.name.utf8.starts(with: namePrefix.utf8)
            }),
            let index = denials.firstIndex(where: {
                $0.verdict == .refused && $0.name.utf8.elementsEqual("ungranted_stream".utf8)
            })
        else { return }
        denials[index].verdict = .notChecked
        denials[index].sentence = "not all that is there could be tried: \(open.sentence)"
    }

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

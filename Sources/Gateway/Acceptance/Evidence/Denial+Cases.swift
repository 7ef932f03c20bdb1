/// What has to be seen refused.
extension Denial {
    /// Callers who are nobody to the peer.
    package static let callerCases = ["no_certificate", "wrong_authority", "unlisted_identity"]

    /// What the peer does not give us. A peer that grants no stream has no origin of one to refuse.
    package static func grantCases(isPulling: Bool) -> [String] {
        ["ungranted_stream", "append_as_peer", "administration"] + (isPulling ? ["ungranted_origin"] : [])
    }

    var isOfCaller: Bool { Self.callerCases.contains { $0.utf8.elementsEqual(name.utf8) } }
}

extension [Denial] {
    /// The first of some cases that was not refused, with why; nil where all were.
    package func notRefused(_ names: [String]) -> String? {
        for name in names {
            let denial = first { $0.name.utf8.elementsEqual(name.utf8) }
            if denial?.verdict != .refused {
                return "\(name): \(denial?.sentence ?? "it was not tried")"
            }
        }
        return nil
    }
}

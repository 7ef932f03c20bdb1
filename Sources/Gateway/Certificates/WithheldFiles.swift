/// What lies in certificate files and is not in force, while all the rest of them is.
struct WithheldFiles: Sendable, Equatable {
    /// Why our own pair is not.
    let pair: String?
    /// Why trusts are not what their files are.
    let trusts: [String]

    /// Nil when everything is in force.
    init?(pair: String?, trusts: [String]) {
        guard pair != nil || !trusts.isEmpty else { return nil }
        self.pair = pair
        self.trusts = trusts
    }

    /// Why, naming the files.
    var sentence: String {
        var parts = pair.map { ["\($0); the pair in force stays until there is a better one"] } ?? []
        if !trusts.isEmpty {
            parts.append(
                "\(trusts.joined(separator: "; ")); the CAs and CRLs in force of that trust stay until its "
                    + "files can be used")
        }
        return parts.joined(separator: "; ")
    }

    /// What keeps files out, by names that stay the same while it lasts.
    var causes: Set<String> { Set(trusts + (pair == nil ? [] : [Self.pairCause])) }

    private static let pairCause = "pair"

    /// What it is, to stand before the sentence.
    var summary: String {
        switch (pair, trusts.isEmpty) {
        case (_?, true): "the certificate and key in the files are not in force, everything else in the files is"
        case (_?, false): "the certificate, the key and some CA or CRL files are not in force, all other files are"
        case (nil, _): "some CA or CRL files are not in force, all other certificate files are"
        }
    }
}

internal import RPC

/// The kinds of values that several sections share.
extension MappingReader {
    mutating func zoneName(
        _ key: String, required: Bool = false, kind: String = "zone"
    ) -> Located<String>? {
        guard let text = text(key, required: required) else { return nil }
        guard ZoneName.isValid(text.value) else {
            problem(text.position, "'\(text.value)' is no \(kind) name: use \(ZoneName.rule)")
            return nil
        }
        return text
    }

    mutating func zoneNames(_ key: String) -> [Located<String>]? {
        texts(key)?.filter { text in
            if ZoneName.isValid(text.value) { return true }
            problem(text.position, "'\(text.value)' is no zone name: use \(ZoneName.rule)")
            return false
        }
    }

    mutating func identity(_ key: String) -> Located<String>? {
        guard let text = text(key, required: true) else { return nil }
        if let sentence = IdentityGrammar.problem(text.value) {
            problem(text.position, sentence)
            return nil
        }
        return text
    }

    mutating func hostPort(
        _ key: String, required: Bool = false, allowsPortZero: Bool = false
    ) -> Located<HostPort>? {
        guard let text = text(key, required: required) else { return nil }
        guard let address = HostPort(text.value, allowsPortZero: allowsPortZero) else {
            problem(
                text.position,
                "'\(text.value)' is no host:port; write 192.0.2.10:9443, plant-a.example:9443 or "
                    + "\"[2001:db8::1]:9443\"")
            return nil
        }
        return Located(value: address, position: text.position)
    }

    /// A share of a whole: `80%` or `0.8`.
    mutating func share(_ key: String, _ range: ClosedRange<Double>) -> Located<Double>? {
        let least = Quantity.percentText(range.lowerBound)
        let most = Quantity.percentText(range.upperBound)
        return value(key, expected: "a share from \(least) to \(most) such as 80% or 0.8") { text in
            Quantity.share(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    /// One of an enumeration's words.
    mutating func word<Word: RawRepresentable & CaseIterable>(
        _ key: String, _ type: Word.Type
    ) -> Located<Word>? where Word.RawValue == String {
        guard let text = choice(key, Word.allCases.map(\.rawValue)),
            let word = Word(rawValue: text.value)
        else { return nil }
        return Located(value: word, position: text.position)
    }

    /// One CA file or a list of them, absolute.
    mutating func authorityFiles(_ key: String, _ paths: ConfigurationPaths) -> [String]? {
        guard let files = oneOrMore(key) else { return nil }
        guard !files.isEmpty else {
            problem(keyPosition(key), "'\(key)' names at least one file")
            return nil
        }
        return files.map { paths.absolute($0.value) }
    }
}

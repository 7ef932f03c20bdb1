/// Collects what is wrong, so that one run names everything.
final class ProblemList {
    static let countMaximum = 50

    private(set) var problems: [ConfigurationProblem] = []

    func add(_ file: String, _ position: YAMLPosition?, _ sentence: String) {
        guard problems.count < Self.countMaximum else { return }
        problems.append(
            ConfigurationProblem(file: file, position: position, sentence: sentence))
    }

    func throwIfAny() throws(ConfigurationError) {
        if !problems.isEmpty { throw ConfigurationError(problems: problems) }
    }
}

/// A value and where it stands, for the checks that compare entries.
struct Located<Value> {
    var value: Value
    var position: YAMLPosition
}

/// Walks one mapping key by key. What was never asked for is unknown: `finish` says so, so every
/// mapping that is opened is also finished.
struct MappingReader {
    let file: String
    let position: YAMLPosition
    private let what: String
    private let entries: [(key: String, position: YAMLPosition, value: YAMLTree)]
    private var asked: [String] = []
    private let problems: ProblemList

    /// `what` names the mapping in sentences: "peers.yaml", "a peer", "tls".
    init?(_ tree: YAMLTree, file: String, what: String, problems: ProblemList) {
        self.file = file
        self.what = what
        self.problems = problems
        position = tree.position
        switch tree {
        case .mapping(let entries, _):
            self.entries = entries
        case .scalar, .sequence:
            problems.add(file, tree.position, "\(what) must consist of 'key: value' lines")
            return nil
        }
    }

    func problem(_ position: YAMLPosition?, _ sentence: String) {
        problems.add(file, position ?? self.position, sentence)
    }

    mutating func tree(_ key: String) -> YAMLTree? {
        asked.append(key)
        return entries.first { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }

    /// Where the key stands, for sentences about the whole entry.
    func keyPosition(_ key: String) -> YAMLPosition? {
        entries.first { $0.key.utf8.elementsEqual(key.utf8) }?.position
    }

    /// A scalar as its text; one that is missing is a problem only when required.
    mutating func text(_ key: String, required: Bool = false) -> Located<String>? {
        guard let tree = tree(key) else {
            if required { problem(nil, "\(what) needs the key '\(key)'") }
            return nil
        }
        return scalar(tree, key)
    }

    private func scalar(_ tree: YAMLTree, _ key: String) -> Located<String>? {
        guard case .scalar(let text, let position) = tree else {
            problem(tree.position, "'\(key)' is one value, not a list or a group of keys")
            return nil
        }
        guard !text.isEmpty else {
            problem(position, "'\(key)' has no value")
            return nil
        }
        return Located(value: text, position: position)
    }

    /// A scalar that `convert` understands; else the problem is `expected`.
    mutating func value<Value>(
        _ key: String, expected: String, _ convert: (String) -> Value?
    ) -> Located<Value>? {
        guard let text = text(key) else { return nil }
        guard let value = convert(text.value) else {
            problem(text.position, "'\(key)' is \(expected), not '\(text.value)'")
            return nil
        }
        return Located(value: value, position: text.position)
    }

    mutating func flag(_ key: String) -> Located<Bool>? {
        value(key, expected: "true or false") { text in
            text == "true" ? true : text == "false" ? false : nil
        }
    }

    mutating func number(_ key: String, _ range: ClosedRange<Int>) -> Int? {
        value(key, expected: "a number from \(range.lowerBound) to \(range.upperBound)") { text in
            Quantity.number(text).flatMap { range.contains($0) ? $0 : nil }
        }?.value
    }

    mutating func bytes(_ key: String, _ range: ClosedRange<Int>) -> Located<Int>? {
        let least = Quantity.bytesText(range.lowerBound)
        let most = Quantity.bytesText(range.upperBound)
        return value(key, expected: "a size from \(least) to \(most) such as 64MiB or 1GiB") { text in
            Quantity.bytes(text).flatMap { range.contains($0) ? $0 : nil }
        }
    }

    mutating func milliseconds(_ key: String, _ range: ClosedRange<Int>) -> Int? {
        let least = Quantity.millisecondsText(range.lowerBound)
        let most = Quantity.millisecondsText(range.upperBound)
        return value(key, expected: "a duration from \(least) to \(most) such as 30s or 7d") { text in
            Quantity.milliseconds(text).flatMap { range.contains($0) ? $0 : nil }
        }?.value
    }

    mutating func choice(_ key: String, _ words: [String]) -> Located<String>? {
        guard let text = text(key) else { return nil }
        guard words.contains(where: { $0.utf8.elementsEqual(text.value.utf8) }) else {
            problem(
                text.position,
                "'\(text.value)' is not a value of '\(key)'; "
                    + NearestName.hint(for: text.value, among: words))
            return nil
        }
        return text
    }

    /// A list of scalars; nil when the key is missing.
    mutating func texts(_ key: String, countMaximum: Int = 1024) -> [Located<String>]? {
        guard let tree = tree(key) else { return nil }
        guard case .sequence(let items, _) = tree else {
            problem(tree.position, "'\(key)' is a list, as in \(key): [first, second]")
            return nil
        }
        guard items.count <= countMaximum else {
            problem(tree.position, "'\(key)' has \(items.count) entries, at most \(countMaximum)")
            return nil
        }
        var found: [Located<String>] = []
        for item in items {
            guard let text = scalar(item, key) else { continue }
            if found.contains(where: { $0.value.utf8.elementsEqual(text.value.utf8) }) {
                problem(text.position, "'\(text.value)' is listed twice in '\(key)'; keep one")
                continue
            }
            found.append(text)
        }
        return found
    }

    /// One value or a list of them.
    mutating func oneOrMore(_ key: String) -> [Located<String>]? {
        if case .scalar? = entries.first(where: { $0.key.utf8.elementsEqual(key.utf8) })?.value {
            return text(key).map { [$0] }
        }
        return texts(key)
    }

    mutating func mapping(_ key: String) -> MappingReader? {
        guard let tree = tree(key) else { return nil }
        return MappingReader(tree, file: file, what: "'\(key)'", problems: problems)
    }

    /// A list of mappings, each with the name `what` in sentences; nil when the key is missing.
    mutating func mappings(
        _ key: String, what: String, countMaximum: Int = 1024
    ) -> [MappingReader]? {
        guard let tree = tree(key) else { return nil }
        guard case .sequence(let items, _) = tree else {
            // `peers:` with nothing below it is how an empty list looks after editing.
            if case .scalar("", _) = tree { return [] }
            problem(tree.position, "'\(key)' is a list of entries that begin with '- '")
            return nil
        }
        guard items.count <= countMaximum else {
            problem(tree.position, "'\(key)' has \(items.count) entries, at most \(countMaximum)")
            return nil
        }
        return items.compactMap {
            MappingReader($0, file: file, what: what, problems: problems)
        }
    }

    func finish() {
        for entry in entries where !asked.contains(where: { $0.utf8.elementsEqual(entry.key.utf8) }) {
            problem(
                entry.position,
                "\(what) has no key '\(entry.key)'; "
                    + NearestName.hint(for: entry.key, among: asked))
        }
    }
}
